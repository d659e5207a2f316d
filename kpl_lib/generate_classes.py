"""The classes to describe: a list that ships, a text or JSON file of names, or a knowledge base."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kpl_lib.class_names import class_names, known_lists
from kpl_lib.descriptions import nearest
from kpl_lib.errors import InputError
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge_files import known_names
from kpl_lib.strict_files import read_text

MAX_LETTERS = 200


@dataclass(frozen=True)
class ClassList:
    """Names of classes.

    Args:
        name: what the list is called.
        names: the classes, in order.
        modality: the kind of picture, empty where nobody said.
    """

    name: str
    names: tuple[str, ...]
    modality: str = ""


def read_classes(name_or_path: str | Path) -> ClassList:
    """Read the classes to describe.

    Args:
        name_or_path: a class list or knowledge base that ships with the library; or a file: JSON with a list of
            names, a knowledge base, or text with one name a line (empty lines do not count).

    Returns:
        The classes.

    Raises:
        InputError: if there is no such list or file, or a name is empty, too long, or stands twice; says where.

    Example:
        >>> len(read_classes("cub").names)
        200
    """
    wanted, path = str(name_or_path), Path(name_or_path).expanduser()
    if wanted in known_lists():
        return ClassList(wanted, class_names(wanted))
    if wanted in known_names():
        return _of_base(KnowledgeBase.load(wanted))
    if not path.suffix and path.parent == Path(".") and not path.is_file():
        known = (*known_lists(), *known_names())
        raise InputError(
            f"unknown classes {wanted!r}: {nearest(wanted, known)}known: {', '.join(known)}; or name a file"
        )
    text = read_text(path)
    if path.suffix != ".json":
        lines = [(f"line {i}", line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
        return ClassList(path.stem, checked(path, lines))
    if not text.lstrip().startswith("["):
        return _of_base(KnowledgeBase.load(path))
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({str(error)[:80]}); correct it there") from None
    return ClassList(path.stem, checked(path, [(f"item {i}", name) for i, name in enumerate(found, 1)]))


def _of_base(base: KnowledgeBase) -> ClassList:
    return ClassList(base.name, base.class_names, base.modality)


def checked(source: object, named: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    """The names, if each is text, stands once and is neither empty nor too long.

    Args:
        source: where they come from, for messages.
        named: pairs of place and name.

    Returns:
        The names with single spaces.

    Raises:
        InputError: otherwise; says where.

    Example:
        >>> checked("pets.txt", [("line 1", "cat"), ("line 2", "Cat")])
        Traceback (most recent call last):
        kpl_lib.errors.InputError: pets.txt: line 2: class 'Cat' stands in line 1 already; drop one of them
    """
    if not named:
        raise InputError(f"{source}: no classes; give one name at least")
    places: dict[str, str] = {}
    names = []
    for place, name in named:
        if not isinstance(name, str):
            raise InputError(f"{source}: {place} must be a class name, not {name!r:.60}")
        name = " ".join(name.split())
        if not name or not name.isprintable():
            raise InputError(f"{source}: {place} is no class name ({name!r}); write it in letters")
        if len(name) > MAX_LETTERS:
            raise InputError(f"{source}: {place} has {len(name)} letters, at most {MAX_LETTERS}; shorten it")
        first = places.setdefault(name.casefold(), place)
        if first != place:
            raise InputError(f"{source}: {place}: class {name!r} stands in {first} already; drop one of them")
        names.append(name)
    return tuple(names)
