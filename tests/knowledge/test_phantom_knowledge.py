"""The knowledge bases of the phantoms: shape, honesty, and distance from the pretraining captions."""

import itertools
import json
import re
from pathlib import Path

import pytest

from kpl_lib.phantoms.attributes import CLASSES
from kpl_lib.phantoms.phrases import FINDINGS, NOTHING, SAID

FOLDER = Path(__file__).resolve().parents[2] / "data" / "knowledge"
SIGNS = {"location", "colour", "shape", "texture", "count", "absence"}
UNSEEN = {"symptom", "cause", "treatment", "off-modality", "generic"}
WORDS = SAID["details"]
SLOTS = {
    "side": ("right", "left"),
    "zone": WORDS["upper"] + WORDS["middle"] + WORDS["lower"],
    "level": WORDS["few"] + WORDS["many"],
    "depth": WORDS["moderate"] + WORDS["dense"],
}

pytestmark = pytest.mark.parametrize("task", CLASSES)


def read(task):
    return json.loads((FOLDER / f"phantom-{task}.json").read_text(encoding="utf-8"))


def records(task):
    """Yield (class name, description) pairs."""
    for name, entry in read(task)["classes"].items():
        for description in entry["descriptions"]:
            yield name, description


def plain(text):
    """Lower-case words only, so that a comma or a capital does not hide a copy."""
    return " ".join(re.findall(r"[a-z]+", text.casefold()))


def caption_phrases():
    """Every phrase that a pretraining caption can contain, with its slots filled in every way."""
    leaflets = [lines for kinds in SAID["leaflets"].values() for lines in kinds.values()]
    groups = itertools.chain(FINDINGS.values(), NOTHING.values(), leaflets)
    for phrase in itertools.chain.from_iterable(groups):
        slots = [slot for slot in SLOTS if "{" + slot + "}" in phrase]
        for words in itertools.product(*(SLOTS[slot] for slot in slots)):
            yield plain(phrase.format(**dict(zip(slots, words, strict=True))))


def test_header_says_what_this_is(task):
    base = read(task)
    assert base["name"] == f"phantom-{task}"
    assert base["modality"]
    assert "synthetic" in base["origin"]
    assert "not reviewed by a clinician" in base["origin"]
    assert base["template"] == "a photo of a {class}, which has {description}"


def test_classes_stand_in_the_order_of_the_data(task):
    assert tuple(read(task)["classes"]) == CLASSES[task]


def test_each_class_has_its_number_of_descriptions(task):
    for name, entry in read(task)["classes"].items():
        assert 38 <= len(entry["descriptions"]) <= 46, name
        assert entry["references"] == [], name


def test_no_description_stands_twice(task):
    texts = [plain(description["text"]) for _, description in records(task)]
    assert sorted(texts) == sorted(set(texts))


def test_descriptions_are_short_and_fit_the_template(task):
    for _, description in records(task):
        text = description["text"]
        assert 3 <= len(text.split()) <= 14, text
        assert text[0].islower() and text == text.strip() and text[-1] not in ".,;", text


# Lines that cannot be seen and that a leaflet of the corpus also says, as web pages do. data/README.md tells it.
SHARED_WITH_LEAFLETS = {
    "a positive skin test on the arm",
    "laser treatment by a specialist",
    "long use of steroid tablets",
    "fluid that cannot drain from the eye",
    "bumping into things at the side",
    "gaps in the visual field test",
    "a tear in short sighted people",
}


def test_no_description_copies_a_caption_phrase(task):
    phrases = set(caption_phrases())
    long = {phrase for phrase in phrases if len(phrase.split()) >= 4}
    for _, description in records(task):
        text = plain(description["text"])
        copied = text in phrases or any(f" {phrase} " in f" {text} " for phrase in long)
        assert copied == (text in SHARED_WITH_LEAFLETS), text
        assert not (copied and description["visual"]), text


def test_no_description_names_a_class(task):
    names = [name.casefold() for names in CLASSES.values() for name in names]
    for _, description in records(task):
        assert not [name for name in names if name in description["text"].casefold()], description["text"]


def test_tags_say_what_an_image_can_show(task):
    for _, description in records(task):
        tags, text = set(description["tags"]), description["text"]
        assert tags and tags <= SIGNS | UNSEEN | {"stolen"}, text
        assert description["visual"] is bool(tags & SIGNS), text
        assert description["visual"] or len(tags) == 1, f"{text}: one reason why it cannot be seen"
        assert not description["visual"] or not tags & UNSEEN, text


def test_each_class_has_its_planned_mistakes(task):
    for name, entry in read(task)["classes"].items():
        tags = [tag for description in entry["descriptions"] for tag in description["tags"]]
        assert tags.count("stolen") in (3, 4), name
        assert tags.count("off-modality") in (3, 4), name
        assert tags.count("generic") in (2, 3), name
        assert all(tags.count(tag) >= 2 for tag in ("symptom", "cause", "treatment")), name


def test_visual_shares_differ_between_classes(task):
    shares = []
    for entry in read(task)["classes"].values():
        flags = [item["visual"] and "stolen" not in item["tags"] for item in entry["descriptions"]]
        shares.append(sum(flags) / len(flags))
    assert max(shares) - min(shares) >= 0.2
