"""Datasets that hold one folder a class."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.files import file_dataset, list_folder, need_folder
from kpl_lib.errors import InputError


def load_class_folders(
    name: str,
    root: str | Path,
    places: Sequence[str],
    folders: Sequence[str],
    class_names: tuple[str, ...],
    group: Callable[[Path], str | None] | None = None,
) -> ImageDataset:
    """Read one folder a class.

    Args:
        name: of the dataset.
        root: where the reader put it.
        places: relative folders that may hold the class folders; the first that holds one of them is read.
        folders: the C class folders, in label order.
        class_names: what the classes are called.
        group: gives the patient of a file; groups are None unless it knows all of them.

    Returns:
        All images, class by class, in the order of their names.

    Raises:
        InputError: if a class folder is missing or empty.
    """
    base = _base(need_folder(root), places, folders)
    paths, labels = [], []
    for label, folder in enumerate(folders):
        found = list_folder(base / folder).images
        if not found:
            raise InputError(f"{base / folder}: no images in it; copy them again from the source")
        paths += found
        labels += [label] * len(found)
    groups = [group(path) for path in paths] if group else [None]
    return file_dataset(name, base, paths, class_names, labels, None if None in groups else groups)


def _base(root: Path, places: Sequence[str], folders: Sequence[str]) -> Path:
    """The folder that holds the class folders."""
    for place in places:
        if any((root / place / folder).is_dir() for folder in folders):
            return root / place
    wanted = ", ".join(str(Path(places[1]) / folder) for folder in folders)
    raise InputError(f"{root}: none of the class folders in it; expected {wanted}")
