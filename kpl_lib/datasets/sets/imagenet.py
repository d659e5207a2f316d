"""`imagenet`: photographs of 1000 kinds of things (ILSVRC 2012), validation images.

Russakovsky et al. 2015, IJCV 115, 211-252; source and licence stand in `data/datasets.json`. Archives are checked
against the MD5s of torchvision.

Labels 0 to 999 are the WordNet numbers (`n01440764`, ...) in sorted order, as in torchvision and every CLIP list. Three
layouts are read: one folder a WordNet number (torchvision's `val/n01440764/...`); flat with the development kit
(`ILSVRC2012_devkit_t12/data`, whose own numbers 1 to 1000 are another order, translated by `meta.mat`); flat with
Kaggle's `LOC_val_solution.csv`. The paper evaluates the validation images; the test labels are not public.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder, list_folder
from kpl_lib.datasets.lists import listed_files, read_lines, read_table, whole_number

PLACES = ("val", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", ".")


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the validation images in any of the three layouts.

    Args:
        root: the folder that holds `val`.
        split: None, `val` and `all` are the validation images.

    Raises:
        InputError: for a folder that is no WordNet number of the 1000, a ground truth that is missing or does not
            fit, and an image that is missing.
    """
    from timm.data import ImageNetInfo

    known = {wnid: label for label, wnid in enumerate(ImageNetInfo().label_names())}
    folder, solution = find_folder(root, PLACES, card.layout), Path(root) / "LOC_val_solution.csv"
    truth = Path(root) / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    listing = list_folder(folder)
    wnids = [path for path in listing.folders if path.name.startswith("n") and path.name[1:].isdigit()]
    if wnids:
        paths, labels = _by_folder(wnids, known)
    elif solution.exists():
        paths, labels = _by_solution(solution, folder, known)
    elif truth.exists():
        paths, labels = _by_devkit(truth, folder, len(listing.images), known)
    else:
        raise InputError(f"{folder}: no folders named n01440764 and no {truth} in it; expected {card.layout}")
    if not paths:
        raise InputError(f"{folder}: no images in it; expected {card.layout}")
    return file_dataset(card.name, folder, paths, card.class_names, labels)


def _by_folder(folders: list[Path], known: dict[str, int]) -> tuple[list[Path], list[int]]:
    """One folder a WordNet number."""
    for folder in folders:
        if folder.name not in known:
            raise InputError(f"{folder}: not one of the 1000 WordNet numbers of ILSVRC 2012; take it away")
    paths = [path for folder in folders for path in list_folder(folder).images]
    return paths, [known[path.parent.name] for path in paths]


def _by_solution(table: Path, folder: Path, known: dict[str, int]) -> tuple[list[Path], list[int]]:
    """Kaggle's table: `ILSVRC2012_val_00048981,n03995372 85 1 499 272`."""
    rows = read_table(table, ("ImageId", "PredictionString"))
    paths = listed_files(table, folder, [(line, f"{row['imageid']}.JPEG") for line, row in rows])
    wnids = [(line, row["predictionstring"].partition(" ")[0]) for line, row in rows]
    wrong = [(line, wnid) for line, wnid in wnids if wnid not in known]
    if wrong:
        raise InputError(f"{table}: line {wrong[0][0]}: {wrong[0][1]!r} is no class of ILSVRC 2012; mend it")
    return paths, [known[wnid] for _, wnid in wnids]


def _by_devkit(truth: Path, folder: Path, images: int, known: dict[str, int]) -> tuple[list[Path], list[int]]:
    """Line i of the ground truth belongs to `ILSVRC2012_val_{i:08d}.JPEG`."""
    order = _labels_of_kit(truth.parent / "meta.mat", known)
    rows = read_lines(truth, 1)
    labels = [order[whole_number(truth, line, row[0], 1, len(order))] for line, row in rows]
    if len(labels) != images:
        raise InputError(f"{truth}: {len(labels):,} labels for {images:,} images in {folder}; copy both anew")
    listed = [(line, f"ILSVRC2012_val_{i:08d}.JPEG") for i, (line, _) in enumerate(rows, 1)]
    return listed_files(truth, folder, listed), labels


def _labels_of_kit(path: Path, known: dict[str, int]) -> dict[int, int]:
    """Number 1 to 1000 of the development kit -> label 0 to 999."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        order = {int(s["ILSVRC2012_ID"]): known.get(str(s["WNID"])) for s in synsets}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; unpack the development kit again") from None
    except Exception as error:
        raise InputError(f"{path}: not the table of the development kit ({one_line(error, 80)})") from None
    found = {number: label for number, label in order.items() if label is not None and 1 <= number <= 1000}
    if not found or set(found) != set(range(1, len(found) + 1)):
        raise InputError(f"{path}: not all of the classes 1 to 1000 in it; unpack the development kit again")
    return found
