"""A folder of images: flat, or one subfolder a class (the ImageFolder layout)."""

import os
from functools import partial
from pathlib import Path

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.errors import InputError
from kpl_lib.images import SUFFIXES, read_image


def load(root: str | Path, labelled: bool = False) -> ImageDataset:
    """Read the images of a folder.

    Files are taken by suffix, in the order of their names. Hidden files and other kinds are left out.

    Args:
        root: the folder.
        labelled: False reads the folder itself, without labels. True reads its subfolders: each is one class.

    Returns:
        The dataset; `paths` begin with `root` as given.

    Raises:
        InputError: if the folder is missing or holds no image.

    Example:
        >>> load("nowhere")
        Traceback (most recent call last):
        kpl_lib.errors.InputError: nowhere: no such folder; name the folder that holds the images
    """
    root = Path(root)
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"{root}: {what}; name the folder that holds the images")
    files, folders = _entries(root)
    if not labelled:
        if not files:
            raise InputError(f"{root}: no images in it ({_hint(folders)})")
        return _dataset(root, files)
    classes = {folder.name: _entries(folder)[0] for folder in folders}
    classes = {name: found for name, found in classes.items() if found}
    if not classes:
        raise InputError(
            f"{root}: no subfolders with images; make one for each class, or read it without labels"
        )
    paths = [path for found in classes.values() for path in found]
    labels = [label for label, found in enumerate(classes.values()) for _ in found]
    return _dataset(root, paths, tuple(classes), labels)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files and subfolders, by name; a broken link with an image's name counts as a file."""
    try:
        with os.scandir(folder) as entries:
            seen = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from None
    seen.sort()
    files = [folder / name for name, is_folder in seen if not is_folder and name.lower().endswith(SUFFIXES)]
    return files, [folder / name for name, is_folder in seen if is_folder]


def _hint(folders: list[Path]) -> str:
    """Say where the images may be instead."""
    if folders:
        return f"it has {len(folders)} subfolders, such as {folders[0].name!r}: name one of them"
    return f"put files there that end in {', '.join(SUFFIXES[:5])}, ..."


def _dataset(root: Path, paths: list[Path], class_names: tuple[str, ...] = (), labels=None) -> ImageDataset:
    return ImageDataset(f"folder {root.name or root}", partial(_read, paths), paths, class_names, labels)


def _read(paths: list[Path], index: int):
    return read_image(paths[index])
