"""Class names of large public datasets, in the order of their labels and in the spelling of `data/class_names`."""

import re
from collections.abc import Sequence

from kpl_lib.common.errors import InputError, among
from kpl_lib.common.files import data_dir, read_json, shipped


def known_lists() -> tuple[str, ...]:
    """Names of the lists that ship with the library.

    Chapter: ch-scaling
    """
    return shipped("class_names")


def class_names(name: str) -> tuple[str, ...]:
    """The class names of a dataset; no image, no description.

    Args:
        name: `cub` (200 birds), `imagenet` (1000 things) or `places365` (365 scenes).

    Returns:
        The names, all different; the i-th one belongs to label i of the dataset, counted from 0. Where a
        name differs from the spelling of the dataset by more than case, hyphens and underscores, the
        file in `data/class_names` says how.

    Raises:
        InputError: if there is no such list; says the nearest one.

    Example:
        >>> names = class_names("places365")
        >>> len(names), names[0], names[-1]
        (365, 'airfield', 'zen garden')

    Chapter: ch-real-data
    """
    known = known_lists()
    if name not in known:
        raise InputError(f"unknown list of class names {name!r}: {among(name, known, 0.4)}")
    return tuple(read_json(data_dir() / "class_names" / f"{name}.json")["classes"])


def our_names(name: str, theirs: Sequence[str]) -> tuple[str, ...]:
    """Turn names such as `Black_footed_Albatross` into ours; one that we do not list keeps its words.

    Example:
        >>> our_names("cub", ["Black_footed_Albatross", "Artic_Tern", "Dodo_bird"])
        ('Black-footed Albatross', 'Arctic Tern', 'Dodo bird')
    """
    changed = read_json(data_dir() / "class_names" / f"{name}.json").get("changed", {})
    known = {_key(ours): ours for ours in class_names(name)}
    known |= {_key(source): ours for ours, source in changed.items()}
    return tuple(known.get(_key(source), " ".join(re.split(r"[_/\s]+", source))) for source in theirs)


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
