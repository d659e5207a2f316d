"""A folder of images: flat, or one subfolder a class (the ImageFolder layout).

`open_folder` reads your own: with the classes and patients that folders, tables or file names tell.
"""

import os
import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from kpl_lib.common.errors import InputError, did_you_mean
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.files import Listing, file_dataset, list_folder
from kpl_lib.datasets.images import SUFFIXES
from kpl_lib.datasets.lists import read_table


def load(root: str | Path, labelled: bool = False) -> ImageDataset:
    """Read the images of a folder.

    Files are taken by suffix, in the order of their names; `paths` begin with `root` as given. Hidden files and other
    kinds are left out.

    Args:
        root: the folder.
        labelled: False reads the folder itself, without labels. True reads its subfolders: each is one class.

    Raises:
        InputError: if the folder is missing or holds no image.
    """
    root = Path(root)
    listing, name = list_folder(root), f"folder {root.name or root}"
    if not labelled:
        if not listing.images:
            raise _no_images(root, listing)
        return file_dataset(name, root, listing.images)
    classes = {folder.name: list_folder(folder).images for folder in listing.folders}
    classes = {label: found for label, found in classes.items() if found}
    if not classes:
        raise InputError(f"{root}: no subfolders with images; make one a class, or read it unlabelled")
    paths = [path for found in classes.values() for path in found]
    labels = [label for label, found in enumerate(classes.values()) for _ in found]
    return file_dataset(name, root, paths, tuple(classes), labels)


def _no_images(root: Path, listing: Listing) -> InputError:
    """Says where the images may be instead."""
    folders = listing.folders
    hint = f"put files there that end in {', '.join(SUFFIXES[:5])}, ..."
    if folders:
        hint = f"it has {len(folders)} subfolders, such as {folders[0].name!r}: name one of them"
    return InputError(f"{root}: no images in it ({hint})")


def open_folder(
    images: str | Path,
    class_names: Sequence[str] = (),
    *,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    group_pattern: str | None = None,
) -> ImageDataset:
    """Read a folder of images: flat, or with one subfolder a class or a patient.

    Subfolders are read where the folder itself holds no image. If one is called like a class, all must be, and
    each image has its label. Case, spaces, `_` and `-` make no difference in names of classes.

    Args:
        images: the folder.
        class_names: the C classes, in the order of the knowledge base.
        labels: a CSV table `path,label`, one row an image.
        groups: a CSV table `path,group`: the patient of each image. It may be the same file.
        group_pattern: or a regular expression, searched in each path below the folder; its first group, or all of
            it, names the patient.

    Returns:
        The dataset; labels count through `class_names`, and are None where nothing tells them.

    Raises:
        InputError: for a missing folder, an unknown class, a table that names other images or not all of them, and
            a pattern that is wrong or does not find a patient in each path.

    Example:
        >>> open_folder("nowhere")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere: no such folder; name the folder that holds the images

    Chapter: ch-own-images
    """
    root, classes = Path(images), tuple(class_names)
    files = _files(root)
    told = _folder_labels(root, files, classes)
    if labels is not None:
        if told is not None:
            raise InputError(f"{root}: its subfolders are the classes already; leave --labels {labels} out")
        found = _whole_column(Path(labels), "label", root, files)
        told = [_number(name, classes, f"{labels}: line {line}: label") for line, name in found]
    if groups is not None and group_pattern is not None:
        raise InputError("patients: give --groups or --group-pattern, not both")
    patients = None if group_pattern is None else _matched(root, files, group_pattern)
    if groups is not None:
        patients = [name for _, name in _whole_column(Path(groups), "group", root, files)]
    names = () if told is None else classes
    return file_dataset(f"folder {root.name or root}", root, files, names, told, patients)


def known_labels(
    images: str | Path | Sequence[str], class_names: Sequence[str], labels: str | Path
) -> dict[str, int]:
    """Read the classes of some of the images of a folder.

    Args:
        images: the folder, as for `open_folder`; or the paths of its images, such as those of a table.
        class_names: the C classes, in the order of the knowledge base.
        labels: a CSV table `path,label`, at most one row an image.

    Returns:
        Path -> class number, for the images that the table names; paths as given, or as `open_folder` has them.

    Raises:
        InputError: for a table that names another image or an unknown class.

    Chapter: ch-when-unsure
    """
    classes = tuple(class_names)
    if isinstance(images, str | Path):
        root = Path(images)
        files = _files(root)
    else:  # the folder of them all; absolute and other paths have none
        mixed = len({os.path.isabs(path) for path in images}) > 1
        root = Path("" if mixed else os.path.commonpath([os.path.dirname(path) for path in images]))
        files = images
    found = _column(Path(labels), "label", root, files)
    told = ((files[i], name, f"{labels}: line {line}: label") for i, (line, name) in found.items())
    return {str(file): _number(name, classes, where) for file, name, where in told}


def open_files(places: Sequence[str | Path]) -> ImageDataset:
    """Read images by name, and all images of the folders among the names; unlabelled.

    Args:
        places: image files and folders, in the order wanted.

    Returns:
        The dataset, without labels.

    Raises:
        InputError: if nothing is named, something is missing, or one image is named twice.

    Chapter: ch-own-images
    """
    files = [file for place in map(Path, places) for file in (_files(place) if place.is_dir() else [place])]
    if not files:
        raise InputError("no image is named; name image files, or folders of images")
    seen: set[str] = set()
    for file in files:
        if not os.path.lexists(file):
            raise InputError(f"{file}: no such file; correct the path")
        if os.path.normpath(file) in seen:
            raise InputError(f"{file}: named twice; name each image once")
        seen.add(os.path.normpath(file))
    return file_dataset("images", Path(), files)


def _files(root: Path) -> list[Path]:
    """The images of a folder; of its subfolders where it holds none itself."""
    listing = list_folder(root)
    inner = [file for folder in listing.folders for file in list_folder(folder).images]
    if not listing.images and not inner:
        raise _no_images(root, listing)
    if listing.images and inner:
        said = f"{root}: {len(inner)} images in its subfolders are not read, as it holds images itself"
        warnings.warn(said, UserWarning, stacklevel=3)
    return list(listing.images) or inner


def _folder_labels(root: Path, files: list[Path], classes: tuple[str, ...]) -> list[int] | None:
    """Labels from the names of the subfolders; None for a flat folder, and where no subfolder is a class."""
    folders = dict.fromkeys(file.parent for file in files if file.parent != root)
    if not any(_find_class(folder.name, classes) is not None for folder in folders):
        return None
    number = {folder: _number(folder.name, classes, f"{root}: subfolder") for folder in folders}
    return [number[file.parent] for file in files]


@cache
def _find_class(name: str, classes: tuple[str, ...]) -> int | None:
    """The class of this name; case, spaces, `_` and `-` make no difference where names stay apart."""
    if name in classes:
        return classes.index(name)
    alike = [i for i, known in enumerate(classes) if _loose(known) == _loose(name)]
    return alike[0] if len(alike) == 1 else None


def _number(name: str, classes: tuple[str, ...], where: str) -> int:
    """The number of a class that has to be known."""
    number = _find_class(name, classes)
    if number is None:
        known = ", ".join(classes)[:200]
        raise InputError(f"{where} {name!r} is no class: {did_you_mean(name, classes)}known: {known}")
    return number


def _loose(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def _column(table: Path, column: str, root: Path, files: list[Path]) -> dict[int, tuple[int, str]]:
    """(line, value) by number of image, from a table with `path`, relative to the images or to the table."""
    place = {os.path.normpath(file): i for i, file in enumerate(files)}
    found: dict[int, tuple[int, str]] = {}
    for line, row in read_table(table, ("path", column)):
        name = row["path"]
        meant = (os.path.normpath(base / name) for base in (root, table.parent, Path()))
        index = next((place[path] for path in meant if path in place), None)
        if index is None:
            raise InputError(f"{table}: line {line} names {name!r}, which is no image of {root}; mend it")
        if index in found:
            raise InputError(f"{table}: lines {found[index][0]} and {line} name the same image; keep one")
        if not row[column]:
            raise InputError(f"{table}: line {line} has no {column}; fill it in")
        found[index] = line, row[column]
    return found


def _whole_column(table: Path, column: str, root: Path, files: list[Path]) -> list[tuple[int, str]]:
    """The same of all images, in their order."""
    found = _column(table, column, root, files)
    missing = [file for i, file in enumerate(files) if i not in found]
    if missing:
        some = f"for {len(found)} of {len(files)} images; the first without is {missing[0]}"
        raise InputError(f"{table}: a {column} {some}; add a line for each")
    return [found[i] for i in range(len(files))]


def _matched(root: Path, files: list[Path], pattern: str) -> list[str]:
    """The patient in each path."""
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group-pattern {pattern!r} is no regular expression: {error}") from None
    names = []
    for file in files:
        path = file.relative_to(root).as_posix()
        match = rule.search(path)
        name = match and (match[1] if rule.groups else match[0])
        if not name:
            raise InputError(f"--group-pattern {pattern!r} finds no patient in {path!r}; correct the pattern")
        names.append(name)
    return names
