"""Class names of large public datasets, as names alone, in the order of their labels."""

from kpl_lib.descriptions import nearest
from kpl_lib.errors import InputError
from kpl_lib.paths import data_dir
from kpl_lib.strict_files import read_json


def known_lists() -> tuple[str, ...]:
    """Names of the lists that ship with the library.

    Chapter: ch-scaling
    """
    return tuple(sorted(path.stem for path in (data_dir() / "class_names").glob("*.json")))


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
        hint = nearest(str(name), known)
        raise InputError(f"unknown list of class names {name!r}: {hint}known: {', '.join(known)}")
    return tuple(read_json(data_dir() / "class_names" / f"{name}.json")["classes"])
