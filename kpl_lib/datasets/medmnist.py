"""`medmnist-path` and ten more: the 2D sets of MedMNIST v2 with one label an image, 28 to 224 pixels wide.

Where: Zenodo, https://zenodo.org/records/10519652 (Yang et al. 2023, Scientific Data 10:41), one `.npz` file a set and
size: `pathmnist.npz` at 28 pixels, `pathmnist_64.npz`, `..._128.npz`, `..._224.npz`; up to 13 GB. Licence: CC BY 4.0
(derma: CC BY-NC 4.0). `kpl datasets get medmnist-path` downloads one and checks its MD5. Addresses, MD5s and numbers
are those of the package `medmnist` 3.0.2; files that the package downloaded are read as they are, without it.

The files are read with numpy, `allow_pickle=False`. ChestMNIST has several labels an image and is not here.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.card import Archive, DatasetCard
from kpl_lib.datasets.medmnist_table import CLASSES, HOME, IMAGES, LICENCE, MD5, TITLES
from kpl_lib.errors import InputError

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
        why = " ".join(str(error).split())[:100] or type(error).__name__
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
