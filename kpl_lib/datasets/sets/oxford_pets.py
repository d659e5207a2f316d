"""`oxford-pets`: photographs of 37 breeds of cats and dogs (Oxford-IIIT Pet).

Where: https://www.robots.ox.ac.uk/~vgg/data/pets/ (Parkhi et al. 2012, CVPR). 3,680 images for training and 3,669 for
test; 0.8 GB. Licence: CC BY-SA 4.0. `kpl datasets get oxford-pets` downloads the two archives from the addresses that
torchvision uses and checks its MD5s. The layout is that of `torchvision.datasets.OxfordIIITPet`.

The paper evaluates the test images.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import listed_files, read_lines, whole_number

OUTER = "oxford-iiit-pet"
LISTS = {
    "test": ("test.txt",),
    "trainval": ("trainval.txt",),
    "train": ("trainval.txt",),
    "all": ("trainval.txt", "test.txt"),
}


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the pets by the annotation lists.

    Args:
        card: what is known about the set.
        root: the folder that holds `oxford-iiit-pet`, or that folder.
        split: None and `test` are the test images; `trainval` (or `train`); `all`.

    Returns:
        Images in the order of the lists; names as in `data/knowledge/oxford-pets.json`.

    Raises:
        InputError: for a missing list or image, and a class number that does not fit the file's name.
    """
    part = split or "test"
    base = find_folder(root, (OUTER, "."), card.layout)
    find_folder(base, ("annotations",), card.layout)
    paths, labels = [], []
    for listed in (base / "annotations" / file for file in LISTS[part]):
        rows = read_lines(listed, 4)
        paths += listed_files(listed, base / "images", [(line, f"{row[0]}.jpg") for line, row in rows])
        labels += [_label(listed, line, row[0], row[1], card.class_names) for line, row in rows]
    full = card.name if part == "test" else f"{card.name}/{part}"
    return file_dataset(full, base, paths, card.class_names, labels)


def _label(listed: Path, line: int, stem: str, number: str, names: tuple[str, ...]) -> int:
    """The class number from 0; it has to fit the breed in the file's name."""
    label = whole_number(listed, line, number, 1, len(names)) - 1
    breed = stem.rpartition("_")[0].replace("_", " ")
    if breed.casefold() != names[label].casefold():
        raise InputError(f"{listed}: line {line} calls {stem} class {number}, {names[label]}; copy it again")
    return label
