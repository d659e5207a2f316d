"""Sets whose own lists say which image is of which class.

`idrid`: Porwal et al. 2018, Data 3(3), 25, doi:10.21227/H25W98, part "B. Disease Grading". The paper evaluates both
parts. Numbers such as `IDRiD_001` stand in both and mean different eyes.

`cub`: Wah et al. 2011, technical report CNS-TR-2011-001. The paper evaluates the test images.

`oxford-pets`: Parkhi et al. 2012, CVPR. Addresses, MD5s and layout are those of `torchvision.datasets.OxfordIIITPet`.
The paper evaluates the test images.

`places365`: Zhou et al. 2017, IEEE TPAMI 40(6), 1452-1464. Addresses, MD5s and layout are those of
`torchvision.datasets.Places365(root, "val", small=True)`. The paper evaluates them; test labels are not public.

Titles, sources, licences, numbers, and how to get each one stand in `data/datasets.json`.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import listed_files, read_lines, read_table, whole_number
from kpl_lib.datasets.names import our_names

MANY = 1_000_000
#: Name -> the folder around it, what must be in there, the parts that go by the name alone (the first is usual).
SETS = {
    "idrid": ("B. Disease Grading", ("1. Original Images",), ("all",)),
    "cub": ("CUB_200_2011", (".",), ("test",)),
    "oxford-pets": ("oxford-iiit-pet", ("annotations",), ("test",)),
    "places365": (".", ("val_256", "val_large"), ("val", "all")),
}
IDRID = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}
Found = tuple[list[Path], tuple[str, ...], list[int]]  # images, class names, labels


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the images that the lists of a set name, in their order.

    Args:
        root: the folder that holds its outer folder (such as `CUB_200_2011`), or that folder.
        split: a part of `card.images`; None is what the paper evaluates.

    Raises:
        InputError: for a list that is missing, broken or does not fit the others, and a missing image; names the line.
    """
    outer, inner, alone = SETS[card.name]
    base = find_folder(root, (outer, f"{outer}/{outer}", "."), card.layout)
    part, folder = split or alone[0], find_folder(base, inner, card.layout)
    read = {"idrid": _idrid, "cub": _cub, "oxford-pets": _pets, "places365": _places}[card.name]
    paths, names, labels = read(base, folder, part, card.class_names)
    full = card.name if part in alone else f"{card.name}/{part}"
    return file_dataset(full, base, paths, names, labels)


def _idrid(base: Path, folder: Path, part: str, names: tuple[str, ...]) -> Found:
    """Tables of grades, 0 to 4; training first."""
    paths, labels = [], []
    for images, file in [IDRID[part]] if part in IDRID else IDRID.values():
        table = base / "2. Groundtruths" / file
        rows = read_table(table, ("Image name", "Retinopathy grade"))
        listed = [(line, f"{row['image name']}.jpg") for line, row in rows]
        paths += listed_files(table, folder / images, listed)
        labels += [whole_number(table, line, row["retinopathy grade"], 0, 4) for line, row in rows]
    return paths, names, labels


def _cub(base: Path, folder: Path, part: str, _: tuple[str, ...]) -> Found:
    """Four index files by image number; names as in `data/class_names/cub.json`."""
    listed, split = base / "images.txt", base / "train_test_split.txt"
    files: dict[int, tuple[int, str]] = {}
    for line, (number, file) in read_lines(listed, 2):
        image = whole_number(listed, line, number, 1, MANY)
        if image in files:
            raise InputError(f"{listed}: line {line}: image {image} stands twice; keep one")
        files[image] = line, file
    classes = base / "classes.txt"
    rows = [(line, n, name.partition(".")[2] or name) for line, (n, name) in read_lines(classes, 2)]
    names = _numbered("cub", classes, rows, 1)
    labels = _by_image(base / "image_class_labels.txt", files, 1, len(names))
    training = _by_image(split, files, 0, 1)
    kept = [image for image in files if part == "all" or training[image] == (part == "train")]
    if not kept:
        raise InputError(f"{split}: it names no {part} image; name another split")
    paths = listed_files(listed, folder / "images", [files[image] for image in kept])
    return paths, names, [labels[image] - 1 for image in kept]


def _by_image(path: Path, images: dict, low: int, high: int) -> dict[int, int]:
    """Image number -> number, one for each image and no other."""
    numbers = {
        whole_number(path, line, image, 1, MANY): whole_number(path, line, value, low, high)
        for line, (image, value) in read_lines(path, 2)
    }
    odd = sorted(numbers.keys() ^ images.keys())
    if odd:
        raise InputError(f"{path}: image {odd[0]} stands in it or in images.txt, not in both; copy both anew")
    return numbers


def _numbered(name: str, path: Path, rows: list[tuple[int, str, str]], first: int) -> tuple[str, ...]:
    """Our names of the classes of a list, of (line, number, name) in any order; the numbers have no gap."""
    found = sorted((whole_number(path, line, number, 0, MANY), theirs) for line, number, theirs in rows)
    if [number for number, _ in found] != list(range(first, first + len(found))):
        some = f"{first}, {first + 1}, {first + 2}, ..."
        raise InputError(f"{path}: its classes are not numbered {some}; copy it again from its source")
    return our_names(name, [theirs for _, theirs in found])


def _pets(base: Path, folder: Path, part: str, names: tuple[str, ...]) -> Found:
    """Annotation lists; the class number from 1 has to fit the breed in the file's name."""
    paths, labels = [], []
    parts = {"test": ("test.txt",), "all": ("trainval.txt", "test.txt")}
    for listed in (folder / file for file in parts.get(part, ("trainval.txt",))):
        rows = read_lines(listed, 4)
        paths += listed_files(listed, base / "images", [(line, f"{row[0]}.jpg") for line, row in rows])
        for line, (stem, number, *_) in rows:
            label = whole_number(listed, line, number, 1, len(names)) - 1
            if stem.rpartition("_")[0].replace("_", " ").casefold() != names[label].casefold():
                said = f"calls {stem} class {number}, {names[label]}"
                raise InputError(f"{listed}: line {line} {said}; copy it again")
            labels.append(label)
    return paths, names, labels


def _places(base: Path, folder: Path, part: str, _: tuple[str, ...]) -> Found:
    """Lists beside the images or in a folder of theirs; names as in `data/class_names/places365.json`."""
    lists = base / "filelist_places365-standard"
    files = [(base / name, lists / name) for name in ("categories_places365.txt", "places365_val.txt")]
    classes, listed = (inner if inner.exists() and not own.exists() else own for own, inner in files)
    named = read_lines(classes, 2)  # `/a/airfield 0`
    bare = [(line, n, name[3:] if name[:1] == name[2:3] == "/" else name) for line, (name, n) in named]
    names = _numbered("places365", classes, bare, 0)
    rows = read_lines(listed, 2)
    labels = [whole_number(listed, line, label, 0, len(names) - 1) for line, (_, label) in rows]
    return listed_files(listed, folder, [(line, file) for line, (file, _) in rows]), names, labels
