"""Read the JSON of a knowledge base strictly: every fault is one line with the file and the place."""

import difflib
import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kpl_lib.errors import InputError
from kpl_lib.paths import data_dir

MAX_BYTES = 64_000_000
DESCRIPTION_KEYS = ("text", "tags", "visual")
CLASS_KEYS = ("references", "descriptions")

Row = tuple[str, tuple[str, ...], bool | None]


def known_names() -> tuple[str, ...]:
    """Names of the knowledge bases that ship with the library."""
    return tuple(sorted(path.stem for path in (data_dir() / "knowledge").glob("*.json")))


def find_file(name_or_path: str | Path) -> Path:
    """The file of this name or path."""
    path = Path(name_or_path).expanduser()
    if path.suffix or path.parent != Path("."):
        return path
    if str(name_or_path) in known_names():
        return data_dir() / "knowledge" / f"{name_or_path}.json"
    if path.is_file():
        return path
    near = difflib.get_close_matches(str(name_or_path), known_names(), 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    known = ", ".join(known_names()) or "none"
    raise InputError(
        f"unknown knowledge base {str(name_or_path)!r}: {hint}known: {known}; or name a .json file"
    )


def read_json(path: str | Path) -> dict:
    """Read a JSON object; a key that stands twice is an error, as it would hide the first one.

    Args:
        path: the file, UTF-8.

    Returns:
        The object.

    Raises:
        InputError: if the file is missing, too large, not UTF-8, not JSON, or no object; says where.

    Example:
        >>> read_json("nowhere.json")
        Traceback (most recent call last):
        kpl_lib.errors.InputError: nowhere.json: no such file; name a knowledge base or a .json file
    """
    text = _read_text(Path(path))
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as twice:
        raise InputError(
            f"{path}: {twice.key!r} stands twice{_where(text, twice.key)}; merge the two, or rename one"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}; correct it there"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({str(error)[:80]}); correct it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold one JSON object, {{...}}, not a {type(content).__name__}")
    return content


def _read_text(path: Path) -> str:
    """The file as text."""
    try:
        if path.is_dir():
            raise IsADirectoryError("a folder, not a file")
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path}: larger than {MAX_BYTES // 1_000_000} MB, no knowledge base; name another file"
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a knowledge base or a .json file") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); name a .json file that you may read"
        ) from None
    if raw.startswith(b"\xef\xbb\xbf"):
        raise InputError(f"{path}: line 1 begins with a byte order mark; save it as UTF-8 without BOM")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector wait: among many small new objects it would search all old ones over and over."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _TwiceError(Exception):
    """A key stands twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _unique(pairs: list[tuple[str, object]]) -> dict:
    """Make the object; refuse a key that stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return made


def _where(text: str, key: str) -> str:
    """The line of the second one, if the key stands exactly twice in the file."""
    spelled = (json.dumps(key, ensure_ascii=False), json.dumps(key))
    found = [m.start() for m in re.finditer("|".join(rf"{re.escape(s)}\s*:" for s in set(spelled)), text)]
    return f" (again in line {text.count(chr(10), 0, found[1]) + 1})" if len(found) == 2 else ""


def parse_class(path: str | Path, name: str, value: object, key: str = "text") -> tuple[list[Row], list[str]]:
    """Read one class: its descriptions and references.

    Args:
        path: the file, for messages.
        name: the class.
        value: a list of descriptions, or an object with `descriptions` and `references`.
        key: where an object keeps its text.

    Returns:
        Rows of (text, tags, visual), and the references.

    Raises:
        InputError: for no descriptions, empty or other than text, and unknown keys.

    Example:
        >>> parse_class("pets.json", "cat", ["whiskers"])
        ([('whiskers', (), None)], [])
    """
    place = f"class {name!r}"
    if not name.strip():
        raise InputError(f"{path}: a class has an empty name; name it")
    references: object = []
    if isinstance(value, dict):
        refuse_unknown_keys(path, place, value, CLASS_KEYS)
        references, value = value.get("references", []), value.get("descriptions")
    if not isinstance(value, list):
        raise InputError(f"{path}: {place} must hold a list of descriptions, not {_short(value)}")
    if not value:
        raise InputError(f"{path}: {place} has no descriptions; add some, or drop the class")
    if not _texts(references):
        raise InputError(f"{path}: {place}: 'references' must be a list of texts, not {_short(references)}")
    rows, keys = [], frozenset((key, *DESCRIPTION_KEYS[1:]))
    for number, item in enumerate(value, 1):
        try:
            rows.append(_row(item, key, keys))
        except _FaultError as fault:
            raise InputError(f"{path}: {place}, description {number} {fault}") from None
    return rows, list(references)


class _FaultError(Exception):
    """What is wrong with one description."""


def _row(item: object, key: str, keys: frozenset[str]) -> Row:
    """Read one description."""
    tags, visual = (), None
    if isinstance(item, dict):
        if not item.keys() <= keys:
            raise _FaultError(unknown_key(item, tuple(keys)))
        tags, visual, item = item.get("tags", ()), item.get("visual"), item.get(key)
        if tags != () and not _texts(tags):
            raise _FaultError(f"has 'tags' that are no list of texts: {_short(tags)}")
        if visual is not None and not isinstance(visual, bool):
            raise _FaultError(f"has a 'visual' that is neither true nor false: {_short(visual)}")
    if not isinstance(item, str):
        raise _FaultError(f"must be text, not {_short(item)}")
    item = item.strip()
    if not item:
        raise _FaultError("is empty; write it, or drop it")
    return item, tuple(tags), visual


def refuse_unknown_keys(path: str | Path, place: str, found: dict, known: tuple[str, ...]) -> None:
    """Refuse a key that would be ignored; say the nearest one."""
    problem = unknown_key(found, known)
    if problem:
        raise InputError(f"{path}: {place} {problem}")


def unknown_key(found: dict, known: tuple[str, ...]) -> str:
    """Say which key would be ignored, and the nearest known one; empty if there is none."""
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return f"has the unknown key {key!r}: {hint}known: {', '.join(sorted(known))}"
    return ""


def _texts(value: object) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _short(value: object) -> str:
    """A value as it stands in a message."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
