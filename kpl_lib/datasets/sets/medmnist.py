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
from kpl_lib.datasets.base import DatasetCard, ImageDataset


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read one set of MedMNIST; the images of the split, in the order of the file, are held in memory.

    Args:
        root: the folder that holds the `.npz` file, or the file.
        split: None and `test` are the test images; `train`, `val`; `all` is the three after each other.

    Raises:
        InputError: if the file is missing, broken, or not of this set and size.
    """
    path = Path(root) / card.layout if os.path.isdir(root) else Path(root)
    part = split or "test"
    splits = ("train", "val", "test") if part == "all" else (part,)
    size = int(card.name.partition("/")[2] or 28)
    images, labels, fingerprint = _arrays(path, splits, size, len(card.class_names))
    full = card.name if part == "test" else f"{card.name}/{part}"
    parts = zip(splits, images, strict=True)
    paths = [f"{path.name}/{name}/{i:06d}" for name, found in parts for i in range(len(found))]
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
            facts = [(info.filename, info.file_size, info.CRC) for info in archive.infolist()]
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
    return images, labels.tolist(), hashlib.sha256(repr((splits, facts)).encode()).hexdigest()


def _check_header(path: Path, archive: zipfile.ZipFile, split: str, size: int) -> int:
    """Bytes of the images of a split; refuses wrong shapes and types before memory is taken for them."""
    images, kind = _shape(archive, f"{split}_images.npy")
    labels, label_kind = _shape(archive, f"{split}_labels.npy")
    if kind != np.uint8 or images[1:3] != (size, size) or images[3:] not in ((), (3,)) or not images[0]:
        wanted = f"uint8 (N, {size}, {size})"
        raise InputError(f"{path}: {split}_images is {kind} {images}, not {wanted}; another size?")
    if label_kind.kind not in "iu" or labels not in ((images[0], 1), (images[0],)):
        raise InputError(f"{path}: {split}_labels is {label_kind} {labels}, not one number an image")
    return int(np.prod(images))


def _shape(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array, from its header."""
    form = np.lib.format
    with archive.open(member) as file:
        first = form.read_magic(file) == (1, 0)
        shape, _, kind = (form.read_array_header_1_0 if first else form.read_array_header_2_0)(file)
    return shape, kind


def _check_memory(path: Path, needed: int) -> None:
    """Refuse what would fill more than half of the memory."""
    if not hasattr(os, "sysconf"):  # Windows
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        much = f"{needed / 1e9:.0f} GB of images, more than half of the memory"
        raise InputError(f"{path}: {much}; take a smaller size or split")
