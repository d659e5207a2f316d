"""Image files on disk: listed safely, and fingerprinted fast."""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import SUFFIXES, read_image

WHOLE = 65_536  # bytes; a file up to this size is hashed whole
PART = 16_384  # bytes that are hashed at the start, in the middle and at the end of a larger one


@dataclass(frozen=True)
class Listing:
    """What lies in one folder, by name: image files and subfolders."""

    images: tuple[Path, ...]
    folders: tuple[Path, ...]


def list_folder(folder: str | Path) -> Listing:
    """List the visible entries of one folder by name, without its subfolders: links can make no loop.

    A broken link with an image's name counts as an image, so that reading it says so.

    Raises:
        InputError: if it cannot be read, or holds a pipe or device named as an image.
    """
    folder = need_folder(folder)
    try:
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); change its permissions") from None
    images, folders = [], []
    for entry in entries:
        try:
            inner = entry.is_dir()
            odd = not (inner or entry.is_file()) and os.path.exists(entry.path)
        except OSError:  # a link that points to itself
            inner = odd = False
        image = entry.name.lower().endswith(SUFFIXES)
        if image and odd:
            raise InputError(f"{folder / entry.name}: a pipe or a device, no image file; take it away")
        if inner or image:
            (folders if inner else images).append(folder / entry.name)
    return Listing(tuple(images), tuple(folders))


def need_folder(folder: str | Path) -> Path:
    """The folder as a path; an error in one line where there is none."""
    folder = Path(folder)
    try:
        found = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        raise InputError(f"{folder}: no such folder; name the folder that holds the images") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be reached ({why}); correct the path") from None
    if not found:
        raise InputError(f"{folder}: a file, not a folder; name the folder that holds the images")
    return folder


def find_folder(root: str | Path, candidates: Sequence[str], layout: str) -> Path:
    """The first of these folders under `root` that is there; if none is, an InputError says the `layout` expected."""
    root = need_folder(root)
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise InputError(f"{root}: no {' or '.join(candidates)} in it; expected {layout}")


def file_dataset(
    name: str,
    root: str | Path,
    paths: Sequence[Path],
    class_names: tuple[str, ...] = (),
    labels: list[int] | None = None,
    groups: list[str] | None = None,
) -> ImageDataset:
    """A dataset of image files. The names in its fingerprint are relative to `root`: a moved folder keeps it."""
    paths = [Path(path) for path in paths]
    extra = (tuple(class_names), labels, groups)
    later = partial(folder_fingerprint, Path(root), paths, extra)
    return ImageDataset(name, partial(_read, paths), paths, class_names, labels, groups, later)


def folder_fingerprint(root: Path, paths: Sequence[Path], extra: object = None) -> str:
    """Checksum of files: relative names, sizes and content, with labels and groups as `extra`.

    A file up to 64 KiB is hashed whole; of a larger one 16 KiB at the start, in the middle and at the end. This
    sees files that were added, lost, renamed, reordered, replaced or saved again. It does not see a change of
    some bytes inside a large file that keeps its size and these three parts, which image formats with a
    checksum at the end (PNG) exclude; `kpl datasets check` hashes files whole.

    A file that cannot be read counts as its error, so that mending it changes the checksum.
    """
    digest = hashlib.sha256(repr(extra).encode("utf-8", "surrogateescape"))
    start = os.path.join(root, "")
    for path in map(str, paths):
        name = path.removeprefix(start)
        digest.update(os.fsencode(name) + b"\0" + _look(path))
    return digest.hexdigest()


def _look(path: str) -> bytes:
    """Size and checksum of the sampled content of a file; its error number where it cannot be read."""
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):  # a pipe would wait for its writer
            return b"no file\0"
        size, digest = facts.st_size, hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            for place in (0,) if size <= WHOLE else (0, size // 2, size - PART):
                file.seek(place)
                digest.update(file.read(WHOLE if size <= WHOLE else PART))
    except (OSError, ValueError) as error:
        return f"error {getattr(error, 'errno', 0)}\0".encode()
    return b"%d\0" % size + digest.digest()


def _read(paths: list[Path], index: int) -> Image.Image:
    return read_image(paths[index])
