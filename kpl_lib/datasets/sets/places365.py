"""`places365`: photographs of 365 kinds of scenes, validation images.

Where: http://places2.csail.mit.edu (Zhou et al. 2017, IEEE TPAMI 40(6), 1452-1464). The validation images at 256 x 256
pixels, 36,500 (100 a class), 0.5 GB, and the lists, 0.07 GB. Licence: the images belong to their owners;
non-commercial research and education. `kpl datasets get places365` downloads both from the addresses that torchvision
uses and checks its MD5s. The layout is torchvision's: `torchvision.datasets.Places365(root, "val", small=True)`.

The paper evaluates the validation images; the test labels are not public.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import listed_files, read_lines, whole_number
from kpl_lib.datasets.names import our_names

LISTS = (".", "filelist_places365-standard")


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the validation images by their list.

    Args:
        card: what is known about the set.
        root: the folder that holds the lists and `val_256`; the lists may lie in `filelist_places365-standard`.
        split: None, `val` and `all` are the validation images.

    Returns:
        Images in the order of the list; names as in `data/class_names/places365.json`.

    Raises:
        InputError: for a list that is missing or broken, and an image that is missing.
    """
    base = Path(root)
    folder = find_folder(base, ("val_256", "val_large"), card.layout)
    names = _classes(_list(base, "categories_places365.txt"))
    listed = _list(base, "places365_val.txt")
    rows = read_lines(listed, 2)
    labels = [whole_number(listed, line, label, 0, len(names) - 1) for line, (_, label) in rows]
    paths = listed_files(listed, folder, [(line, file) for line, (file, _) in rows])
    return file_dataset(card.name, base, paths, names, labels)


def _list(base: Path, name: str) -> Path:
    """Where a list lies."""
    return next((base / place / name for place in LISTS if (base / place / name).exists()), base / name)


def _classes(path: Path) -> tuple[str, ...]:
    """Names by number of `categories_places365.txt`, whose lines read `/a/airfield 0`."""
    rows = read_lines(path, 2)
    numbers = [whole_number(path, line, number, 0, 10_000) for line, (_, number) in rows]
    if sorted(numbers) != list(range(len(rows))):
        raise InputError(f"{path}: its classes are not numbered 0, 1, 2, ...; copy it again from its source")
    theirs = [name for _, name in sorted((n, row[0]) for n, (_, row) in zip(numbers, rows, strict=True))]
    return our_names("places365", [name[3:] if name[:1] == name[2:3] == "/" else name for name in theirs])
