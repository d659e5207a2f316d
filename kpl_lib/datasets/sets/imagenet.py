"""`imagenet`: photographs of 1000 kinds of things (ILSVRC 2012), validation images.

Where: https://image-net.org/challenges/LSVRC/2012/2012-downloads.php (Russakovsky et al. 2015, IJCV 115, 211-252).
50,000 validation images, 6.3 GB. Licence: ImageNet's terms, non-commercial research and education. An account is
needed, so `kpl datasets get imagenet` says the steps; archives are checked against the MD5s of torchvision.

Labels 0 to 999 are the WordNet numbers (`n01440764`, ...) in sorted order, as in torchvision and every CLIP list. Three
layouts are read: one folder a WordNet number (torchvision's `val/n01440764/...`); flat with the development kit
(`ILSVRC2012_devkit_t12/data`, whose own numbers 1 to 1000 are another order, translated by `meta.mat`); flat with
Kaggle's `LOC_val_solution.csv`. The paper evaluates the validation images; the test labels are not public.
"""

from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder, list_folder
from kpl_lib.datasets.lists import inside, need_files, read_lines, read_table, whole_number
from kpl_lib.datasets.names import class_names

HOME = "https://image-net.org/challenges/LSVRC/2012/2012-downloads.php"
VAL, DEVKIT = "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
LAYOUT = "val/n01440764/*.JPEG, ..., or val/*.JPEG with ILSVRC2012_devkit_t12/data or LOC_val_solution.csv"
CARDS = (
    DatasetCard(
        "imagenet",
        "photographs of 1000 kinds of things, validation images",
        HOME,
        "ImageNet's terms of access: non-commercial research and education",
        "6.3 GB",
        LAYOUT,
        class_names("imagenet"),
        {"": 50_000, "all": 50_000, "val": 50_000},
        (
            Archive(VAL, checksum="md5:29b22e2961454d5413ddabcf34fc5622", into="val"),
            Archive(DEVKIT, checksum="md5:fa75699e90414af021442c21a62c3abf"),
        ),
        (
            f"open {HOME} and sign in",
            f"download {VAL} and {DEVKIT} (Task 1 & 2)",
            f"kpl datasets get imagenet --root ROOT --archive {VAL} --archive {DEVKIT}",
        ),
    ),
)
PLACES = ("val", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", ".")


def load(name: str, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the validation images in any of the three layouts.

    Args:
        name: `imagenet`.
        root: the folder that holds `val`.
        split: None, `val` and `all` are the validation images.

    Returns:
        Images with labels 0 to 999; names as in `data/class_names/imagenet.json`.

    Raises:
        InputError: for a folder that is no WordNet number of the 1000, a ground truth that is missing or does not
            fit, and an image that is missing.
    """
    CARDS[0].check_split(split)
    root = Path(root)
    folder = find_folder(root, PLACES, LAYOUT)
    listing = list_folder(folder)
    wnids = [path for path in listing.folders if path.name.startswith("n") and path.name[1:].isdigit()]
    if wnids:
        found = _by_folder(wnids)
    elif (root / "LOC_val_solution.csv").exists():
        found = _by_solution(root / "LOC_val_solution.csv", folder)
    else:
        found = _by_devkit(root, folder, listing.images)
    if not found:
        raise InputError(f"{folder}: no images in it; expected {LAYOUT}")
    paths, labels = zip(*found, strict=True)
    return file_dataset(name, folder, paths, class_names("imagenet"), list(labels))


def _known() -> dict[str, int]:
    """WordNet number -> label."""
    from timm.data import ImageNetInfo

    return {wnid: label for label, wnid in enumerate(ImageNetInfo().label_names())}


def _by_folder(folders: list[Path]) -> list[tuple[Path, int]]:
    known = _known()
    for folder in folders:
        if folder.name not in known:
            raise InputError(f"{folder}: not one of the 1000 WordNet numbers of ILSVRC 2012; take it away")
    return [(path, known[folder.name]) for folder in folders for path in list_folder(folder).images]


def _by_solution(table: Path, folder: Path) -> list[tuple[Path, int]]:
    """Kaggle's table: `ILSVRC2012_val_00048981,n03995372 85 1 499 272`."""
    known, rows = _known(), read_table(table, ("ImageId", "PredictionString"))
    found = [(line, inside(table, line, folder, f"{row['imageid']}.JPEG")) for line, row in rows]
    need_files(table, found)
    wnids = [(line, row["predictionstring"].partition(" ")[0]) for line, row in rows]
    wrong = [(line, wnid) for line, wnid in wnids if wnid not in known]
    if wrong:
        raise InputError(f"{table}: line {wrong[0][0]}: {wrong[0][1]!r} is no class of ILSVRC 2012; mend it")
    return [(path, known[wnid]) for (_, path), (_, wnid) in zip(found, wnids, strict=True)]


def _by_devkit(root: Path, folder: Path, images: tuple[Path, ...]) -> list[tuple[Path, int]]:
    """Line i of the ground truth belongs to `ILSVRC2012_val_{i:08d}.JPEG`."""
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    if not truth.exists():
        raise InputError(f"{folder}: no folders named n01440764 and no {truth} in it; expected {LAYOUT}")
    order = _labels_of_kit(kit / "meta.mat")
    rows = read_lines(truth, 1)
    labels = [order[whole_number(truth, line, row[0], 1, len(order))] for line, row in rows]
    if len(labels) != len(images):
        raise InputError(
            f"{truth}: {len(labels):,} labels for {len(images):,} images in {folder}; copy both again"
        )
    found = [(line, folder / f"ILSVRC2012_val_{i:08d}.JPEG") for i, (line, _) in enumerate(rows, 1)]
    need_files(truth, found)
    return [(path, label) for (_, path), label in zip(found, labels, strict=True)]


def _labels_of_kit(path: Path) -> dict[int, int]:
    """Number 1 to 1000 of the development kit -> label 0 to 999."""
    from scipy.io import loadmat

    known = _known()
    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        order = {int(s["ILSVRC2012_ID"]): known.get(str(s["WNID"])) for s in synsets}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; unpack {DEVKIT} again") from None
    except Exception as error:
        raise InputError(f"{path}: not the table of the development kit ({str(error)[:80]})") from None
    found = {number: label for number, label in order.items() if label is not None and 1 <= number <= 1000}
    if set(found) != set(range(1, len(found) + 1)) or not found:
        raise InputError(f"{path}: not all of the classes 1 to 1000 in it; unpack {DEVKIT} again")
    return found
