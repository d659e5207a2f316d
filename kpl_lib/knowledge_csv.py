"""A knowledge base as a plain table: one row a description."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from kpl_lib.descriptions import Description
from kpl_lib.errors import InputError
from kpl_lib.knowledge_files import refuse_twins
from kpl_lib.paths import atomic_path
from kpl_lib.strict_files import read_text

COLUMNS = ("class", "description", "tags", "visual")
VISUAL = {"": None, "true": True, "false": False}


def read_csv(path: Path) -> dict[str, list[Description]]:
    """Read a table `class,description[,tags,visual]`: one row a description, tags separated by `;`.

    Args:
        path: the file, UTF-8; its first line names the columns.

    Returns:
        For each class its descriptions, in the order of the file.

    Raises:
        InputError: for anything wrong; says the line.
    """
    lines = _lines(path, read_text(path))
    header = _header(path, next(lines, (1, []))[1])
    records: dict[str, list[Description]] = {}
    for line, cells in lines:
        place = f"{path}: line {line}"
        if len(cells) != len(header):
            raise InputError(f"{place} has {len(cells)} fields, the header has {len(header)}; quote commas")
        found = dict(zip(header, map(str.strip, cells), strict=True))
        for column in COLUMNS[:2]:
            if not found[column]:
                raise InputError(f"{place} has no {column}; write it, or drop the line")
        visual = found.get("visual", "").casefold()
        if visual not in VISUAL:
            raise InputError(f"{place}: 'visual' must be true, false or empty, not {found['visual']!r}")
        tags = tuple(tag.strip() for tag in found.get("tags", "").split(";") if tag.strip())
        records.setdefault(found["class"], []).append(Description(found["description"], tags, VISUAL[visual]))
    refuse_twins(path, records)
    return records


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a table, each with the number of its first line; empty lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{path}: broken CSV in the record that begins in line {line}: {error}; check its quotes"
            ) from None
        if cells is None:
            return
        if cells:
            yield line, cells


def _header(path: Path, cells: list[str]) -> list[str]:
    """The columns, from the first line."""
    header = [cell.strip().casefold() for cell in cells]
    example = f"write {','.join(COLUMNS)} (the last two may be left out)"
    if len(header) == 1 and {";", "\t"} & set(header[0]):
        raise InputError(f"{path}: line 1 has no commas; separate the columns by commas, not ; or tabs")
    for column in COLUMNS[:2]:
        if column not in header:
            raise InputError(f"{path}: line 1 must name the column {column!r}; {example}")
    for number, column in enumerate(header):
        if column not in COLUMNS or column in header[:number]:
            problem = "twice" if column in COLUMNS else "unknown"
            raise InputError(f"{path}: line 1, column {number + 1} {column!r} is {problem}; {example}")
    return header


def write_csv(path: Path, records: Mapping[str, list[Description]]) -> None:
    """Write the table, whole or not at all.

    Raises:
        InputError: if a tag holds `;`, or the file cannot be written.
    """
    spelled = {value: word for word, value in VISUAL.items()}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, found in records.items():
            for number, d in enumerate(found, 1):
                if any(";" in tag for tag in d.tags):
                    raise InputError(
                        f"class {name!r}, description {number}: a tag holds ';'; rename it for CSV"
                    )
                table.writerow((name, d.text, ";".join(d.tags), spelled[d.visual]))
