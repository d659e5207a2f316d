"""Where things lie, files that are never half-written, and text and JSON read strictly.

Every fault is one line with the file and the place.
"""

import gc
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from kpl_lib.common.errors import InputError, among


def data_dir() -> Path:
    """Folder of the data that ships: `data/` of a checkout, or `kpl_lib/data` of an installed wheel.

    Chapter: ch-how-to-use
    """
    here = Path(__file__).resolve().parents[1]
    for candidate in (here / "data", here.parent / "data"):
        if (candidate / "knowledge").is_dir():
            return candidate
    raise InputError(f"the data folder is missing beside {here}: reinstall kpl_lib, or clone it again")


def shipped(folder: str) -> tuple[str, ...]:
    """Names of the JSON files that ship in a folder of the data.

    Example:
        >>> shipped("prompts")
        ('cupl-like', 'kpl-like', 'visual')
    """
    return tuple(sorted(path.stem for path in (data_dir() / folder).glob("*.json")))


def find_shipped(folder: str, name_or_path: str | Path, what: str) -> Path:
    """The file of a name that ships in a folder of the data, or of a path, which need not exist.

    Raises:
        InputError: for a name that does not ship; the nearest is said, and `what` it should name.
    """
    path = Path(name_or_path).expanduser()
    if str(name_or_path) in shipped(folder):
        return data_dir() / folder / f"{name_or_path}.json"
    if path.suffix or path.parent != Path(".") or path.is_file():
        return path
    known = among(name_or_path, shipped(folder), 0.4)
    raise InputError(f"unknown {what} {str(name_or_path)!r}: {known}; or name a .json file")


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are missing; an InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose a folder that you may write to") from None


_UMASK = Lock()


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; move it onto `target` only if the block ends well.

    Raises:
        InputError: if the folder of `target` does not exist or cannot be written.
    """
    target = Path(target)
    folder = target.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; name a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=folder)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}; choose a folder that you may write to"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with _UMASK:  # it can only be read by setting it, and all threads share it
            umask = os.umask(0)
            os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # a temporary file is private; the finished one an ordinary file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


MAX_BYTES = 64_000_000
BOM = b"\xef\xbb\xbf"  # a byte order mark


def read_json(path: str | Path) -> dict:
    """Read a JSON object; a key that stands twice is an error, as it would hide the first one.

    Raises:
        InputError: if the file is missing, too large, not UTF-8, not JSON, or no object; says where.

    Example:
        >>> read_json("nowhere.json")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.json: no such file; correct the path
    """
    text = read_text(path)
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as twice:
        key = twice.args[0]
        said = f"{key!r} stands twice{_again(text, key)}"
        raise InputError(f"{path}: {said}; merge the two, or rename one") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path}: broken JSON at {place}: {error.msg}; correct it there") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: broken JSON ({str(error)[:80]}); correct it") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold one JSON object, {{...}}, not a {type(content).__name__}")
    if "\\u" in text:
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:  # nothing could write or encode it later
            half = ascii(error.object[error.start])
            raise InputError(f"{path}: holds half a character, {half}; write it whole") from None
    return content


def read_text(
    path: str | Path, most: int | None = None, what: str = "knowledge base", bom: bool = False
) -> str:
    """The text of a UTF-8 file, with line ends as they are; with `bom`, a byte order mark is left out.

    Raises:
        InputError: if it is missing, too large, not UTF-8, or begins with a byte order mark; says where.
    """
    path, most = Path(path), MAX_BYTES if most is None else most
    try:
        if path.exists() and not path.is_file():
            raise OSError(f"a {'folder' if path.is_dir() else 'device or pipe'}, not a file")
        raw = path.read_bytes() if path.stat().st_size <= most else None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct the path") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({why}); name a file that you may read") from None
    if raw is None:
        raise InputError(f"{path}: larger than {most // 1_000_000} MB, no {what}; name another file")
    if raw.startswith(BOM) and not bom:
        raise InputError(f"{path}: line 1, column 1 is a byte order mark; save the file as UTF-8 without BOM")
    try:
        return raw.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        raise InputError(f"{path}: line {line}, byte {column} is not UTF-8; save the file as UTF-8") from None


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


def write_json(path: str | Path, content: Mapping) -> None:
    """Write JSON as people read it, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


class _TwiceError(Exception):
    """A key stands twice in one object; the argument is the key."""


def _unique(pairs: list[tuple[str, object]]) -> dict:
    """Make the object; refuse a key that stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        raise _TwiceError(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return made


def _again(text: str, key: str) -> str:
    """The line of the second one, if the key stands exactly twice in the file."""
    spelled = (json.dumps(key, ensure_ascii=False), json.dumps(key))
    found = [m.start() for m in re.finditer("|".join(rf"{re.escape(s)}\s*:" for s in set(spelled)), text)]
    return f" (again in line {text.count(chr(10), 0, found[1]) + 1})" if len(found) == 2 else ""


def default_folder() -> Path:
    """Where chapters keep features: `KPL_CACHE`, else `.cache/kpl` in the home folder."""
    return Path(os.environ.get("KPL_CACHE") or Path.home() / ".cache" / "kpl")


def check_writable(path: str | Path) -> None:
    """Raise an InputError now if a file could not be written there later."""
    with suppress(_TriedError), atomic_path(path):
        raise _TriedError


class _TriedError(Exception):
    """Leaves `atomic_path` without writing."""
