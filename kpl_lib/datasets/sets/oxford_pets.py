"""`oxford-pets`: photographs of 37 breeds of cats and dogs (Oxford-IIIT Pet).

Where: https://www.robots.ox.ac.uk/~vgg/data/pets/ (Parkhi et al. 2012, CVPR). 3,680 images for training and 3,669 for
test; 0.8 GB. Licence: CC BY-SA 4.0. `kpl datasets get oxford-pets` downloads the two archives from the addresses that
torchvision uses and checks its MD5s. The layout is that of `torchvision.datasets.OxfordIIITPet`.

The paper evaluates the test images.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import inside, need_files, read_lines, whole_number

CLASSES = (
    "Abyssinian",
    "American Bulldog",
    "American Pit Bull Terrier",
    "Basset Hound",
    "Beagle",
    "Bengal",
    "Birman",
    "Bombay",
    "Boxer",
    "British Shorthair",
    "Chihuahua",
    "Egyptian Mau",
    "English Cocker Spaniel",
    "English Setter",
    "German Shorthaired",
    "Great Pyrenees",
    "Havanese",
    "Japanese Chin",
    "Keeshond",
    "Leonberger",
    "Maine Coon",
    "Miniature Pinscher",
    "Newfoundland",
    "Persian",
    "Pomeranian",
    "Pug",
    "Ragdoll",
    "Russian Blue",
    "Saint Bernard",
    "Samoyed",
    "Scottish Terrier",
    "Shiba Inu",
    "Siamese",
    "Sphynx",
    "Staffordshire Bull Terrier",
    "Wheaten Terrier",
    "Yorkshire Terrier",
)
OUTER = "oxford-iiit-pet"
LAYOUT = f"{OUTER}/images/*.jpg and {OUTER}/annotations/test.txt and trainval.txt"
SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
LISTS = {
    "test": ("test.txt",),
    "trainval": ("trainval.txt",),
    "train": ("trainval.txt",),
    "all": ("trainval.txt", "test.txt"),
}
CARDS = (
    DatasetCard(
        "oxford-pets",
        "photographs of 37 breeds of cats and dogs",
        "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        "CC BY-SA 4.0",
        "0.8 GB",
        LAYOUT,
        CLASSES,
        {"": 3_669, "all": 7_349, "trainval": 3_680, "train": 3_680, "test": 3_669},
        (
            Archive("images.tar.gz", SOURCE + "images.tar.gz", "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c", OUTER),
            Archive(
                "annotations.tar.gz",
                SOURCE + "annotations.tar.gz",
                "md5:95a8c909bbe2e81eed6a22bccdf3f68f",
                OUTER,
            ),
        ),
    ),
)


def load(name: str, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the pets by the annotation lists.

    Args:
        name: `oxford-pets`.
        root: the folder that holds `oxford-iiit-pet`, or that folder.
        split: None and `test` are the test images; `trainval` (or `train`); `all`.

    Returns:
        Images in the order of the lists; names as in `data/knowledge/oxford-pets.json`.

    Raises:
        InputError: for a missing list or image, and a class number that does not fit the file's name.
    """
    key = CARDS[0].check_split(split) or "test"
    base = find_folder(root, (OUTER, "."), LAYOUT)
    find_folder(base, ("annotations",), LAYOUT)
    paths, labels = [], []
    for listed in (base / "annotations" / file for file in LISTS[key]):
        rows = read_lines(listed, 4)
        found = [(line, inside(listed, line, base / "images", f"{row[0]}.jpg")) for line, row in rows]
        need_files(listed, found)
        paths += [path for _, path in found]
        labels += [_label(listed, line, row[0], row[1]) for line, row in rows]
    return file_dataset(name if key == "test" else f"{name}/{key}", base, paths, CLASSES, labels)


def _label(listed: Path, line: int, stem: str, number: str) -> int:
    """The class number from 0; it has to fit the breed in the file's name."""
    label = whole_number(listed, line, number, 1, len(CLASSES)) - 1
    breed = stem.rpartition("_")[0].replace("_", " ")
    if breed.casefold() != CLASSES[label].casefold():
        raise InputError(
            f"{listed}: line {line} calls {stem} class {number}, {CLASSES[label]}; copy it again"
        )
    return label
