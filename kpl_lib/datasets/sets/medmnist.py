"""`medmnist-path` and ten more: the 2D sets of MedMNIST v2 with one label an image, 28 to 224 pixels wide.

Where: Zenodo, https://zenodo.org/records/10519652 (Yang et al. 2023, Scientific Data 10:41), one `.npz` file a set and
size: `pathmnist.npz` at 28 pixels, `pathmnist_64.npz`, `..._128.npz`, `..._224.npz`; up to 13 GB. Licence: CC BY 4.0
(derma: CC BY-NC 4.0). `kpl datasets get medmnist-path` downloads one and checks its MD5. Addresses, MD5s and numbers
are those of the package `medmnist` 3.0.2; files that the package downloaded are read as they are, without it.

The files are read with numpy, `allow_pickle=False`. ChestMNIST has several labels an image and is not here.
Classes are named as in `data/knowledge`, where a base exists.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset

HOME = "https://zenodo.org/records/10519652"
LICENCE = {"derma": "CC BY-NC 4.0"}  # all others: CC BY 4.0
TITLES = {
    "path": "colorectal tissue: nine kinds",
    "derma": "dermoscopy: seven kinds of skin lesions",
    "oct": "optical coherence tomography of the retina: four findings",
    "pneumonia": "chest radiographs of children: normal, pneumonia",
    "retina": "fundus photographs: five grades of diabetic retinopathy",
    "breast": "breast ultrasound: malignant, normal or benign",
    "blood": "single blood cells: eight kinds",
    "tissue": "kidney cortex cells: eight kinds",
    "organa": "abdominal CT, axial: eleven organs",
    "organc": "abdominal CT, coronal: eleven organs",
    "organs": "abdominal CT, sagittal: eleven organs",
}
_ORGANS = (
    "bladder",
    "left femur",
    "right femur",
    "heart",
    "left kidney",
    "right kidney",
    "liver",
    "left lung",
    "right lung",
    "pancreas",
    "spleen",
)
CLASSES = {
    "path": (
        "adipose tissue",
        "slide background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "derma": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic naevi",
        "vascular lesions",
    ),
    "oct": (
        "choroidal neovascularisation",
        "diabetic macular oedema",
        "drusen",
        "normal retina",
    ),
    "pneumonia": (
        "normal lungs",
        "pneumonia",
    ),
    "retina": (
        "no diabetic retinopathy",
        "mild nonproliferative diabetic retinopathy",
        "moderate nonproliferative diabetic retinopathy",
        "severe nonproliferative diabetic retinopathy",
        "proliferative diabetic retinopathy",
    ),
    "breast": (
        "malignant tumour",
        "normal or benign finding",
    ),
    "blood": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocyte",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissue": (
        "collecting duct or connecting tubule",
        "distal convoluted tubule",
        "glomerular endothelial cell",
        "interstitial endothelial cell",
        "leukocyte",
        "podocyte",
        "proximal tubule segment",
        "thick ascending limb",
    ),
    "organa": (*_ORGANS,),
    "organc": (*_ORGANS,),
    "organs": (*_ORGANS,),
}
# training, validation and test images
IMAGES = {
    "path": (89_996, 10_004, 7_180),
    "derma": (7_007, 1_003, 2_005),
    "oct": (97_477, 10_832, 1_000),
    "pneumonia": (4_708, 524, 624),
    "retina": (1_080, 120, 400),
    "breast": (546, 78, 156),
    "blood": (11_959, 1_712, 3_421),
    "tissue": (165_466, 23_640, 47_280),
    "organa": (34_561, 6_491, 17_778),
    "organc": (12_975, 2_392, 8_216),
    "organs": (13_932, 2_452, 8_827),
}
# at 28, 64, 128 and 224 pixels
MD5 = {
    "path": (
        "a8b06965200029087d5bd730944a56c1",
        "55aa9c1e0525abe5a6b9d8343a507616",
        "ac42d08fb904d92c244187169d1fd1d9",
        "2c51a510bcdc9cf8ddb2af93af1eadec",
    ),
    "derma": (
        "0744692d530f8e62ec473284d019b0c7",
        "b70a2f5635c6199aeaa28c31d7202e1f",
        "2defd784463fa5243564e855ed717de1",
        "8974907d8e169bef5f5b96bc506ae45d",
    ),
    "oct": (
        "c68d92d5b585d8d81f7112f81e2d0842",
        "e229e9440236b774d9f0dfef9d07bdaf",
        "0a97e76651ace45c5d943ee3f65b63ae",
        "abc493b6d529d5de7569faaef2773ba3",
    ),
    "pneumonia": (
        "28209eda62fecd6e6a2d98b1501bb15f",
        "8f4eceb4ccffa70c672198ea285246c6",
        "05b46931834c231683c68f40c47b2971",
        "d6a3c71de1b945ea11211b03746c1fe1",
    ),
    "retina": (
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        "afda852cc34dcda56f86ad2b2457dbcc",
        "e48e916a24454daf90583d4e6efb1a18",
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    "breast": (
        "750601b1f35ba3300ea97c75c52ff8f6",
        "742edef2a1fd1524b2efff4bd7ba9364",
        "363e4b3f8d712e9b5de15470a2aaadf1",
        "b56378a6eefa9fed602bb16d192d4c8b",
    ),
    "blood": (
        "7053d0359d879ad8a5505303e11de1dc",
        "2b94928a2ae4916078ca51e05b6b800b",
        "adace1e0ed228fccda1f39692059dd4c",
        "b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    "tissue": (
        "ebe78ee8b05294063de985d821c1c34b",
        "123ece2eba09d0aa5d698fda57103344",
        "61b955355d7425a89687b06cca3ce0c2",
        "b077128c4a949f0a4eb01517f9037b9c",
    ),
    "organa": (
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2dcccc29b88e6da5a01161ef20cda288",
        "eeae80d0a227a8d099027e1b3cfd3b60",
        "50747347e05c87dd3aaf92c49f9f3170",
    ),
    "organc": (
        "b9ceb9546e10131b32923c5bbeaea2b1",
        "3ce34a8724ea6f548e6db4744d03b6a9",
        "773c1f009daa3fe5d9a2a201b2a7ed94",
        "050f5e875dc056f6768abf94ec9995d1",
    ),
    "organs": (
        "9ab87b696fb54e2a387ebe992d6ed5f1",
        "53a6d115339d874c25e309a994ff46d3",
        "ded0c5fa01a95dc4978b956f613e9b8e",
        "b354719e553fbbb2513d5533f52a4cb1",
    ),
}

SIZES = (28, 64, 128, 224)
SPLITS = ("train", "val", "test")


def _card(flag: str, size: int) -> DatasetCard:
    name = f"medmnist-{flag}" + ("" if size == 28 else f"/{size}")
    counts = dict(zip(SPLITS, IMAGES[flag], strict=True))
    file = file_name(flag, size)
    return DatasetCard(
        name,
        TITLES[flag],
        HOME,
        LICENCE.get(flag, "CC BY 4.0"),
        "up to 0.2 GB" if size == 28 else "up to 13 GB at 224 pixels",
        file,
        CLASSES[flag],
        {"": counts["test"], "all": sum(counts.values()), **counts},
        (
            Archive(
                file, f"{HOME}/files/{file}?download=1", f"md5:{MD5[flag][SIZES.index(size)]}", packed=False
            ),
        ),
    )


def file_name(flag: str, size: int) -> str:
    """`pathmnist.npz`, `pathmnist_64.npz`, ..."""
    return f"{flag}mnist.npz" if size == 28 else f"{flag}mnist_{size}.npz"


CARDS = tuple(_card(flag, size) for size in SIZES for flag in CLASSES)


def load(name: str, root: str | Path, split: str | None = None, size: int = 28) -> ImageDataset:
    """Read one set of MedMNIST; the images of the split are held in memory.

    Args:
        name: `medmnist-path`, ...
        root: the folder that holds the `.npz` file, or the file.
        split: None and `test` are the test images; `train`, `val`; `all` is the three after each other.
        size: 28, 64, 128 or 224 pixels.

    Returns:
        Images in the order of the file.

    Raises:
        InputError: if the file is missing, broken, or not of this set and size.
    """
    flag = name.removeprefix("medmnist-")
    if size not in SIZES:
        raise InputError(f"dataset {name!r} has no size {size!r}; it has {', '.join(map(str, SIZES))}")
    card = next(
        card for card in CARDS if card.class_names is CLASSES[flag] and file_name(flag, size) == card.layout
    )
    key = card.check_split(split) or "test"
    path = Path(root) / file_name(flag, size) if os.path.isdir(root) else Path(root)
    splits = SPLITS if key == "all" else (key,)
    images, labels, fingerprint = _arrays(path, splits, size, len(card.class_names))
    full = card.name if key == "test" else f"{card.name}/{key}"
    paths = [
        f"{path.name}/{part}/{i:06d}"
        for part, found in zip(splits, images, strict=True)
        for i in range(len(found))
    ]
    return ImageDataset(full, _Rows(images), paths, card.class_names, labels, fingerprint=fingerprint)


class _Rows:
    """Image i of arrays that lie after each other; a class, so that data workers can carry it."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays, self.ends = arrays, np.cumsum([len(array) for array in arrays])

    def __call__(self, index: int) -> Image.Image:
        part = int(np.searchsorted(self.ends, index, side="right"))
        array = self.arrays[part]
        return Image.fromarray(array[index - self.ends[part] + len(array)]).convert("RGB")


def _arrays(
    path: Path, splits: tuple[str, ...], size: int, classes: int
) -> tuple[list[np.ndarray], list[int], str]:
    """Images, labels and fingerprint of these splits; everything is checked from the headers before pixels are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(_check_header(path, archive, split, size) for split in splits)
            fingerprint = _fingerprint(archive, splits)
        _check_memory(path, total)
        with np.load(path, allow_pickle=False) as file:
            images = [file[f"{split}_images"] for split in splits]
            labels = np.concatenate([file[f"{split}_labels"] for split in splits]).reshape(-1)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `kpl datasets get` downloads it") from None
    except Exception as error:  # zip and numpy raise nearly anything on broken files
        why = one_line(error, 100)
        raise InputError(f"{path}: broken or no MedMNIST file ({why}); download it again") from None
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(f"{path}: label {wrong[0]}, but there are {classes} classes; is it another set?")
    return images, labels.tolist(), fingerprint


def _check_header(path: Path, archive: zipfile.ZipFile, split: str, size: int) -> int:
    """Bytes of the images of a split; refuses wrong shapes and types before memory is taken for them."""
    (images, kind), (labels, label_kind) = (
        _shape(archive, f"{split}_{what}.npy") for what in ("images", "labels")
    )
    if kind != np.uint8 or images[1:3] != (size, size) or images[3:] not in ((), (3,)) or not images[0]:
        raise InputError(
            f"{path}: {split}_images is {kind} {images}, not uint8 (N, {size}, {size}); another size?"
        )
    if label_kind.kind not in "iu" or labels not in ((images[0], 1), (images[0],)):
        raise InputError(f"{path}: {split}_labels is {label_kind} {labels}, not one number an image")
    return int(np.prod(images))


def _shape(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(file)
    return shape, kind


def _check_memory(path: Path, needed: int) -> None:
    """Refuse what would fill more than half of the memory."""
    if not hasattr(os, "sysconf"):  # Windows
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise InputError(
            f"{path}: {needed / 1e9:.0f} GB of images, more than half of the memory; take a smaller size or split"
        )


def _fingerprint(archive: zipfile.ZipFile, splits: tuple[str, ...]) -> str:
    """Checksum of the splits and of the archive's own table: names, sizes and CRC-32 of all arrays."""
    facts = [(info.filename, info.file_size, info.CRC) for info in archive.infolist()]
    return hashlib.sha256(repr((splits, facts)).encode()).hexdigest()
