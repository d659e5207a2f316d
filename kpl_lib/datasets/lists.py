"""Text lists and tables of datasets, read strictly: every fault names the file and the line."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import read_text

MAX_BYTES = 128_000_000


def read_lines(path: str | Path, fields: int) -> list[tuple[int, list[str]]]:
    """The lines of a list whose last field may hold blanks; empty lines are left out.

    Gives (line number, fields) of each line; the fields stand between blanks, as in CUB's `images.txt`.

    Raises:
        InputError: if the file is missing or not UTF-8, or a line has fewer fields.
    """
    rows = []
    for number, line in enumerate(read_text(path, MAX_BYTES, "list", bom=True).split("\n"), 1):
        parts = line.strip().split(None, fields - 1)
        if not parts:
            continue
        if len(parts) != fields:
            raise InputError(f"{path}: line {number} has {len(parts)} of {fields} fields; mend it")
        rows.append((number, parts))
    if not rows:
        raise InputError(f"{path}: empty; copy it again from its source")
    return rows


def read_table(path: str | Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file that has a header.

    Blanks around names and values are stripped, case in the header is ignored, empty columns and empty rows
    (which IDRiD's tables have) are left out. Columns beyond those that the header must have are kept.
    Gives (line number, column -> value) of each row; keys are lower case.

    Raises:
        InputError: if the file is missing, a column is missing or stands twice, or a row is longer than the header.
    """
    reader = csv.reader(io.StringIO(read_text(path, MAX_BYTES, "list", bom=True), newline=""), strict=True)
    try:
        header = [name.strip().casefold() for name in next(reader, [])]
        rows = [(reader.line_num, [value.strip() for value in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: {error}; mend the table") from None
    for column in columns:
        if header.count(column.casefold()) != 1:
            how = "no" if column.casefold() not in header else "more than one"
            raise InputError(f"{path}: {how} column {column!r} in its header ({', '.join(header)[:80]})")
    for number, row in rows:
        if any(row[len(header) :]):
            raise InputError(f"{path}: line {number} has more values than the header has columns; mend it")
    empty = dict.fromkeys(header, "")
    rows = [(line, empty | dict(zip(header, row, strict=False))) for line, row in rows if any(row)]
    if not rows:
        raise InputError(f"{path}: no rows below its header; copy it again from its source")
    return rows


def whole_number(path: str | Path, line: int, text: str, low: int, high: int) -> int:
    """A number of a list, within bounds."""
    if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise InputError(f"{path}: line {line}: {text[:20]!r} is no number from {low} to {high}; mend it")
    return int(text)


def need_files(path: str | Path, files: Sequence[tuple[int, Path]]) -> None:
    """Refuse a list whose lines, (number, file), name files that are not there, or one file twice."""
    missing = [(line, file) for line, file in files if not os.path.lexists(file)]
    if missing:
        line, file = missing[0]
        more = f", and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(f"{path}: line {line} names {file}, which is missing{more}; copy what is missing")
    seen: dict[Path, int] = {}
    for line, file in files:
        if file in seen:
            raise InputError(f"{path}: lines {seen[file]} and {line} name the same file {file}; keep one")
        seen[file] = line


def listed_files(path: str | Path, root: Path, names: Sequence[tuple[int, str]]) -> list[Path]:
    """The files below `root` that the lines of a list, (number, name), mean.

    Raises:
        InputError: as `need_files`, and for a name that leaves `root`.
    """
    files = []
    for line, name in names:
        parts = name.replace("\\", "/").lstrip("/").split("/")
        if ".." in parts or "\0" in name or not name.strip("/"):
            raise InputError(f"{path}: line {line} names {name!r}, which is outside {root}; mend it")
        files.append((line, root.joinpath(*parts)))
    need_files(path, files)
    return [file for _, file in files]
