"""`csv`: your own table of images: `path`, `label`, and `group` where patients are known."""

from collections.abc import Sequence
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.files import file_dataset
from kpl_lib.datasets.lists import need_files, read_table


def load(root: str | Path, classes: Sequence[str] | None = None) -> ImageDataset:
    """Read the images that a table names, in its order; without labels or groups where it has no such column.

    Args:
        root: the CSV file. Its header has `path`, and `label` and `group` if you know them. A relative path starts
            at the folder of the table.
        classes: the classes in the order that you want; None sorts the labels by name, whole numbers by size.

    Raises:
        InputError: for a missing file, a file that stands twice, a label or group that is empty or unknown; names
            the line.
    """
    root = Path(root)
    rows = read_table(root, ("path",))
    for line, row in rows:
        if not row["path"] or "\0" in row["path"]:
            raise InputError(f"{root}: line {line} has no path; fill it in")
    files = [(line, root.parent / row["path"]) for line, row in rows]
    need_files(root, files)
    told, groups = (_column(root, rows, column) for column in ("label", "group"))
    if told is None:
        names, labels = (), None
    else:
        numbers = all(label.isascii() and label.isdigit() for label in told)
        names = tuple(classes or sorted(set(told), key=int if numbers else None))
        number = {name: i for i, name in enumerate(names)}
        for (line, _), label in zip(rows, told, strict=True):
            if label not in number:
                known = ", ".join(names)[:80]
                raise InputError(f"{root}: line {line}: label {label!r} is none of {known}; correct it")
        labels = [number[label] for label in told]
    return file_dataset(f"csv {root.stem}", root.parent, [path for _, path in files], names, labels, groups)


def _column(root: Path, rows: list, column: str) -> list[str] | None:
    """The values of a column, all filled in; None where the table has no such column."""
    if column not in rows[0][1]:
        return None
    for line, row in rows:
        if not row[column]:
            raise InputError(f"{root}: line {line} has no {column}; fill it in, or drop the column")
    return [row[column] for _, row in rows]
