"""Class names of a dataset's own list, in the spelling of `data/class_names`."""

import re
from collections.abc import Sequence

from kpl_lib.class_names import class_names
from kpl_lib.paths import data_dir
from kpl_lib.strict_files import read_json


def our_names(name: str, theirs: Sequence[str]) -> tuple[str, ...]:
    """Turn names such as `Black_footed_Albatross` into ours; one that we do not list keeps its words.

    Args:
        name: `cub`, `places365` or `imagenet`.
        theirs: names as the dataset's own list has them.

    Returns:
        One name each, in the same order.

    Example:
        >>> our_names("cub", ["Black_footed_Albatross", "Artic_Tern", "Dodo_bird"])
        ('Black-footed Albatross', 'Arctic Tern', 'Dodo bird')
    """
    changed = read_json(data_dir() / "class_names" / f"{name}.json").get("changed", {})
    known = {_key(ours): ours for ours in class_names(name)}
    known |= {_key(source): ours for ours, source in changed.items()}
    return tuple(known.get(_key(source), " ".join(re.split(r"[_/\s]+", source))) for source in theirs)


def _key(name: str) -> str:
    """What two spellings of one name share."""
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
