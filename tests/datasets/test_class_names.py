"""Class-name lists, and classes matched by name."""

import json
import zlib

import pytest
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.datasets.names import class_names, known_lists
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.match import match_classes


def base(*names):
    return KnowledgeBase(
        "pets", {n: [Description(f"the look of {n}")] for n in names}, references={names[0]: ["R"]}
    )


def test_classes_are_matched_by_name_whatever_their_order():
    found = match_classes(
        base("pug_", "American-Bulldog.", "Shiba  Inu"), ["shiba inu", "american bulldog", "Pug"]
    )
    assert found.complete and found.knowledge.classes == {
        "shiba inu": ["the look of Shiba  Inu"],
        "american bulldog": ["the look of American-Bulldog."],
        "Pug": ["the look of pug_"],
    }
    assert found.knowledge.references == {"Pug": ["R"]}
    assert found.renamed == {
        "Shiba  Inu": "shiba inu",
        "American-Bulldog.": "american bulldog",
        "pug_": "Pug",
    }


def test_what_does_not_match_is_reported_with_the_nearest_and_not_guessed():
    found = match_classes(base("Pug", "Wheaten Terier", "Cat"), ["Pug", "Wheaten Terrier", "Zebra"])
    assert (found.missing, found.left_over) == (("Wheaten Terrier", "Zebra"), ("Wheaten Terier", "Cat"))
    assert found.nearest == {"Wheaten Terrier": "Wheaten Terier"} and not found.complete
    assert list(found.knowledge.records) == ["Pug"]
    assert "1 of 3 classes found" in str(found) and "is it 'Wheaten Terier'?" in str(found)


def test_two_ways_to_match_are_no_match():
    found = match_classes(base("sea_lion", "Sea-Lion", "Pug"), ["sea lion", "Pug"])
    assert found.missing == ("sea lion",) and found.left_over == ("sea_lion", "Sea-Lion")
    found = match_classes(base("sea_lion", "Pug"), ["sea lion", "Sea Lion", "Pug"])
    assert found.missing == ("sea lion", "Sea Lion") and found.left_over == ("sea_lion",)
    found = match_classes(base("sea_lion", "sea lion"), ["sea lion"])  # spelled alike: certain
    assert found.knowledge.classes == {"sea lion": ["the look of sea lion"]} and found.left_over == (
        "sea_lion",
    )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pug", "pug"], "'pug' twice"),
        ("pug", "must be a list of names"),
        ([], "must be a list of names"),
        ([1], "must be a list of names"),
        (["Pugs"], "describes none of the 1 classes of the dataset; is 'Pugs' called 'pug'"),
    ],
)
def test_class_names_that_cannot_be_matched(names, said):
    with pytest.raises(InputError, match=said):
        match_classes(base("pug"), names)


# Entries at their labels, counted from 0, and a sum over all names that changes with any name or order.
KNOWN = {
    "cub": {
        0: "Black-footed Albatross",
        1: "Laysan Albatross",
        19: "Yellow-breasted Chat",
        39: "Olive-sided Flycatcher",
        59: "Glaucous-winged Gull",
        72: "Blue Jay",
        79: "Green Kingfisher",
        99: "Brown Pelican",
        119: "Fox Sparrow",
        140: "Arctic Tern",
        159: "Black-throated Blue Warbler",
        179: "Wilson Warbler",
        199: "Common Yellowthroat",
    },
    "imagenet": {
        0: "tench",
        1: "goldfish",
        134: "crane bird",
        517: "construction crane",
        999: "toilet paper",
    },
    "places365": {
        0: "airfield",
        8: "outdoor apartment building",
        50: "beauty salon",
        66: "bridge",
        100: "computer room",
        150: "broadleaf forest",
        200: "kasbah",
        243: "ocean",
        300: "shoe shop",
        350: "volcano",
        364: "zen garden",
    },
}
SIZES = {"cub": (200, 1191531915), "imagenet": (1000, 790633460), "places365": (365, 2796691737)}


@pytest.mark.parametrize("name", KNOWN)
def test_lists_of_class_names(name):
    names, known, (count, total) = class_names(name), KNOWN[name], SIZES[name]
    assert len(names) == count and {i: names[i] for i in known} == known
    assert zlib.crc32("\n".join(names).encode()) == total
    plain = {n.casefold().replace("-", " ") for n in names}
    assert len(plain) == count  # so that matching by name is certain
    assert not [n for n in names if n != n.strip() or "_" in n or n[0].isdigit()]


def stored(name):
    return json.loads((data_dir() / "class_names" / f"{name}.json").read_text(encoding="utf-8"))


def test_lists_stand_in_the_order_of_their_datasets():
    pairs = zip(class_names("imagenet"), IMAGENET_CLASSNAMES, strict=True)
    assert [i for i, (ours, theirs) in enumerate(pairs) if ours != theirs] == [744, 836]
    kinds = ("Pileated", "Red-bellied", "Red-cockaded", "Red-headed", "Downy")
    assert class_names("cub")[187:192] == tuple(f"{kind} Woodpecker" for kind in kinds)
    assert class_names("cub")[199] == "Common Yellowthroat"
    theirs = [stored("places365")["changed"].get(name, name) for name in class_names("places365")]
    letters = [name[0].casefold() for name in theirs]
    assert letters == sorted(letters)


def test_lists_say_where_they_come_from_and_unknown_ones_the_nearest():
    assert known_lists() == tuple(KNOWN)
    with pytest.raises(InputError, match="did you mean 'imagenet'"):
        class_names("image-net")
    for name in KNOWN:
        content = stored(name)
        assert "names only" in content["origin"] and content["licence"]
        assert set(content["changed"]) <= set(content["classes"])
