"""A description, and how one class of them is read: every fault is one line with the file and the place."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from kpl_lib.errors import InputError

CLASS_KEYS = ("references", "descriptions")
ROW_KEYS = ("text", "tags", "visual")


@dataclass(frozen=True, slots=True)
class Description:
    """One short phrase that describes a class.

    Args:
        text: the phrase, such as `a cavity with a thick wall`.
        tags: what it describes, such as `location` or `shape`.
        visual: True if it can be seen in the image, False if not, None where nobody said.

    Chapter: ch-knowledge
    """

    text: str
    tags: tuple[str, ...] = ()
    visual: bool | None = None


def parse_class(
    path: str | Path, name: str, value: object, key: str = "text"
) -> tuple[list[Description], list[str]]:
    """Read one class: its descriptions and references.

    Args:
        path: the file, for messages.
        name: the class.
        value: a list of descriptions, or an object with `descriptions` and `references`.
        key: where an object keeps its text.

    Returns:
        The descriptions, and the references.

    Raises:
        InputError: for no descriptions, empty or other than text, and unknown keys.

    Example:
        >>> parse_class("pets.json", "cat", ["whiskers"])
        ([Description(text='whiskers', tags=(), visual=None)], [])
    """
    place = f"class {name!r}"
    if not name.strip():
        raise InputError(f"{path}: a class has an empty name; name it")
    references: object = []
    if isinstance(value, dict):
        refuse_unknown_keys(path, place, value, CLASS_KEYS)
        references, value = value.get("references", []), value.get("descriptions")
    if not isinstance(value, list):
        raise InputError(f"{path}: {place} must hold a list of descriptions, not {short(value)}")
    if not value:
        raise InputError(f"{path}: {place} has no descriptions; add some, or drop the class")
    if not _texts(references):
        raise InputError(f"{path}: {place}: 'references' must be a list of texts, not {short(references)}")
    found, keys = [], frozenset((key, *ROW_KEYS[1:]))
    for number, item in enumerate(value, 1):
        try:
            found.append(_read(item, key, keys))
        except _FaultError as fault:
            raise InputError(f"{path}: {place}, description {number} {fault}") from None
    return found, list(references)


class _FaultError(Exception):
    """What is wrong with one description."""


def _read(item: object, key: str, keys: frozenset[str]) -> Description:
    """Read one description."""
    tags, visual = (), None
    if isinstance(item, dict):
        if not item.keys() <= keys:
            raise _FaultError(_unknown_key(item, tuple(keys)))
        tags, visual, item = item.get("tags", ()), item.get("visual"), item.get(key)
        if tags != () and not _texts(tags):
            raise _FaultError(f"has 'tags' that are no list of texts: {short(tags)}")
        if visual is not None and not isinstance(visual, bool):
            raise _FaultError(f"has a 'visual' that is neither true nor false: {short(visual)}")
    if not isinstance(item, str):
        raise _FaultError(f"must be text, not {short(item)}")
    item = item.strip()
    if not item:
        raise _FaultError("is empty; write it, or drop it")
    return Description(item, tuple(tags), visual)


def refuse_unknown_keys(path: str | Path, place: str, found: dict, known: tuple[str, ...]) -> None:
    """Refuse a key that would be ignored; say the nearest one."""
    problem = _unknown_key(found, known)
    if problem:
        raise InputError(f"{path}: {place} {problem}")


def _unknown_key(found: dict, known: tuple[str, ...]) -> str:
    """Say which key would be ignored, and the nearest known one; empty if there is none."""
    for key in found:
        if key not in known:
            return f"has the unknown key {key!r}: {nearest(key, known)}known: {', '.join(sorted(known))}"
    return ""


def nearest(word: str, known: tuple[str, ...]) -> str:
    """`did you mean ...? ` with the nearest known word; empty if none is near."""
    near = difflib.get_close_matches(word, known, 1, 0.4)
    return f"did you mean {near[0]!r}? " if near else ""


def _texts(value: object) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
