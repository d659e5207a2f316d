"""A folder of images: flat, or one subfolder a class (the ImageFolder layout)."""

from pathlib import Path

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.files import file_dataset, list_folder
from kpl_lib.errors import InputError
from kpl_lib.images import SUFFIXES


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
    listing = list_folder(root)
    name = f"folder {root.name or root}"
    if not labelled:
        if not listing.images:
            raise InputError(f"{root}: no images in it ({_hint(listing.folders)})")
        return file_dataset(name, root, listing.images)
    classes = {folder.name: list_folder(folder).images for folder in listing.folders}
    classes = {name: found for name, found in classes.items() if found}
    if not classes:
        raise InputError(
            f"{root}: no subfolders with images; make one for each class, or read it without labels"
        )
    paths = [path for found in classes.values() for path in found]
    labels = [label for label, found in enumerate(classes.values()) for _ in found]
    return file_dataset(name, root, paths, tuple(classes), labels)


def _hint(folders: tuple[Path, ...]) -> str:
    """Say where the images may be instead."""
    if folders:
        return f"it has {len(folders)} subfolders, such as {folders[0].name!r}: name one of them"
    return f"put files there that end in {', '.join(SUFFIXES[:5])}, ..."
