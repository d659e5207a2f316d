"""`cub`: photographs of 200 kinds of birds (Caltech-UCSD Birds-200-2011).

Where: CaltechDATA, https://data.caltech.edu/records/65de6-vp158 (Wah et al. 2011, technical report CNS-TR-2011-001).
11,788 images, 5,994 for training and 5,794 for test; 1.15 GB. Licence: the images belong to their photographers; for
non-commercial research and education. `kpl datasets get cub` downloads it and checks the MD5 that goes with it.

The paper evaluates the test images.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import listed_files, read_lines, whole_number
from kpl_lib.datasets.names import our_names

OUTER = "CUB_200_2011"
MANY = 1_000_000


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the birds by the index files.

    Args:
        card: what is known about the set.
        root: the folder that holds `CUB_200_2011`, or that folder.
        split: None and `test` are the test images; `train`; `all`.

    Returns:
        Images in the order of `images.txt`; names as in `data/class_names/cub.json`.

    Raises:
        InputError: if the index files do not fit each other, or name an image that is missing.
    """
    part = split or "test"
    base = find_folder(root, (OUTER, f"{OUTER}/{OUTER}", "."), card.layout)
    files = _index(base / "images.txt")
    names = _classes(base / "classes.txt")
    labels = _numbers(base / "image_class_labels.txt", files, 1, len(names))
    training = _numbers(base / "train_test_split.txt", files, 0, 1)
    kept = [image for image in files if part == "all" or training[image] == (part == "train")]
    if not kept:
        raise InputError(f"{base / 'train_test_split.txt'}: it names no {part} image; name another split")
    paths = listed_files(base / "images.txt", base / "images", [files[image] for image in kept])
    full = card.name if part == "test" else f"{card.name}/{part}"
    return file_dataset(full, base, paths, names, [labels[image] - 1 for image in kept])


def _index(path: Path) -> dict[int, tuple[int, str]]:
    """Image number -> (line, relative file) of `images.txt`."""
    index = {}
    for line, (number, file) in read_lines(path, 2):
        image = whole_number(path, line, number, 1, MANY)
        if image in index:
            raise InputError(f"{path}: line {line}: image {image} stands twice; keep one")
        index[image] = (line, file)
    return index


def _numbers(path: Path, images: dict, low: int, high: int) -> dict[int, int]:
    """Image number -> number, one for each image and no other."""
    numbers = {
        whole_number(path, line, image, 1, MANY): whole_number(path, line, value, low, high)
        for line, (image, value) in read_lines(path, 2)
    }
    odd = sorted(numbers.keys() ^ images.keys())
    if odd:
        raise InputError(
            f"{path}: image {odd[0]} stands in it or in images.txt, not in both; copy both again"
        )
    return numbers


def _classes(path: Path) -> tuple[str, ...]:
    """Names of the classes 1, 2, 3, ... of `classes.txt`."""
    rows = read_lines(path, 2)
    numbers = [whole_number(path, line, number, 1, MANY) for line, (number, _) in rows]
    if numbers != list(range(1, len(rows) + 1)):
        raise InputError(f"{path}: its classes are not numbered 1, 2, 3, ...; copy it again from its source")
    return our_names("cub", [name.partition(".")[2] or name for _, (_, name) in rows])
