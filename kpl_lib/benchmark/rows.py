"""Results on disk: one JSON line a run, appended whole, safe against a kill and against a second runner."""

import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import pandas as pd
from kpl_lib.common.files import atomic_path, check_writable

NEEDED = ("key", "checksum", "dataset", "classifier", "metrics")


class ResultsFile:
    """The rows of a results file, by key.

    Every change is made under a lock beside the file, after the file was read again. A new row is appended in one
    write and brought to the disk; a row in the place of an old one makes a new file, which is then moved there.
    So a kill leaves whole rows, at worst without the last, and two runners add to the same file.

    Args:
        path: the file; it is made with the first row, its folder must exist.

    Raises:
        InputError: if the folder is missing, or the file holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_writable(path)
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        self._seen: tuple | None = None
        self._rows: dict[str, dict] = {}

    def rows(self) -> dict[str, dict]:
        """All rows by key, read again if the file has changed; a torn last line is cut off with a warning."""
        with self._lock:
            return dict(self._read())

    def add(self, row: dict) -> bool:
        """Write a row, in the place of the one with its key if there is one.

        Returns:
            False if the file has the row already, from another runner.
        """
        with self._lock:
            old = self._read().get(row["key"])
            if old is not None and old["checksum"] == row["checksum"]:
                return False
            if old is None:
                self._append(to_line(row))
            else:
                kept = [other for key, other in self._rows.items() if key != row["key"]]
                self._replace([*kept, row])
            self._rows[row["key"]] = row
            self._seen = self._state()
            return True

    def _read(self) -> dict[str, dict]:
        if not self.path.exists():
            self._rows, self._seen = {}, None
        elif self._seen != self._state():
            rows, torn = parse(self.path)
            if torn is not None:
                said = f"{self.path}: {torn}; cut off, its run is done again"
                warnings.warn(said, UserWarning, stacklevel=3)
            if torn is not None or not self.path.read_bytes().endswith(b"\n"):
                self._replace(rows)
            self._rows, self._seen = {row["key"]: row for row in rows}, self._state()
        return self._rows

    def _state(self) -> tuple:
        stat = os.stat(self.path)
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(handle).st_size
            if os.write(handle, line) != len(line):
                os.ftruncate(handle, size)
                raise InputError(f"cannot write {self.path}: the disk is full; free some space and run again")
            os.fsync(handle)
        finally:
            os.close(handle)

    def _replace(self, rows: Iterable[dict]) -> None:
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            file.writelines(map(to_line, rows))
            file.flush()
            os.fsync(file.fileno())


def to_line(row: dict) -> bytes:
    """A row as one line of JSON, UTF-8."""
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse(path: str | Path) -> tuple[list[dict], str | None]:
    """The rows of a results file, the last one of each key; and what is wrong with the last line, or None.

    Raises:
        InputError: if the file is missing, or a line that is not the last is broken.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it with `kpl benchmark run`") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, not a file; name a results file (.jsonl)") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    rows: dict[str, dict] = {}
    for place, (number, line) in enumerate(numbered, start=1):
        problem = _problem(line)
        if problem is None:
            row = json.loads(line)
            rows.pop(row["key"], None)
            rows[row["key"]] = row
        elif place == len(numbered) and (place > 1 or line[:1] in (b"{", b"\0")):
            return list(rows.values()), f"line {number} is torn"
        else:
            raise InputError(f"{path}: line {number} is {problem}; delete that line, or name a results file")
    return list(rows.values()), None


def _problem(line: bytes) -> str | None:
    try:
        row = json.loads(line)
    except ValueError:
        return "broken"
    missing = [key for key in NEEDED if not isinstance(row, dict) or key not in row]
    return f"no benchmark row (it has no {missing[0]!r})" if missing else None


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read a results file as a tidy table, one row a run.

    Metrics become columns `accuracy`, `accuracy_low`, `accuracy_high`, ...; differences against the plain text proxy
    `difference_accuracy`, ... . A torn last line is left out with a warning; the file stays as it is.

    Args:
        path: what `kpl benchmark run` wrote.

    Returns:
        The table, in the order of the file.

    Raises:
        InputError: if the file is missing, empty or broken.

    Example:
        >>> read_rows("nowhere.jsonl")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.jsonl: no such file; make it with `kpl benchmark run`

    Chapter: ch-benchmark
    """
    rows, torn = parse(path)
    if torn is not None:
        warnings.warn(f"{path}: {torn}; it is left out", UserWarning, stacklevel=2)
    if not rows:
        raise InputError(f"{path}: no rows in it; run the benchmark first")
    return pd.DataFrame([_flat(row) for row in rows])


def _flat(row: dict) -> dict:
    flat = {key: value for key, value in row.items() if key not in ("metrics", "difference")}
    for prefix, found in (("", row["metrics"]), ("difference_", row.get("difference") or {})):
        for name, (value, low, high) in found.items():
            flat |= {
                f"{prefix}{name}{end}": float("nan") if x is None else x
                for end, x in (("", value), ("_low", low), ("_high", high))
            }
    return flat
