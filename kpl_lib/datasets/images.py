"""Read one image file as RGB, or say in one line why not."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets import dicom

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".jp2")
SUFFIXES += dicom.SUFFIXES
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
READING = 1  # raise it when files are decoded to other pixels: features that were kept are then made again
WHOLE = 1 << 24  # bytes of a file that is read at once: a decoder would ask for it in small pieces
MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 image; larger ones are refused before they fill the memory

_side: ContextVar[int] = ContextVar("side", default=0)


@contextmanager
def decode_for(size: int) -> Iterator[None]:
    """Inside the block, large JPEG files are decoded smaller: to no less than 3 times `size` a side.

    A JPEG decoder gives 1/2, 1/4 or 1/8 of the size for less than that share of the time. What the model sees after
    its own resizing stays the same to about one grey level. A size of 0 decodes everything whole.
    """
    token = _side.set(size)
    try:
        yield
    finally:
        _side.reset(token)


def read_image(path: str | Path) -> Image.Image:
    """Read an image file as 8-bit RGB, upright.

    * Deep grey (16 or 32 bits) is stretched linearly from its own minimum and maximum to 0..255.
    * Transparent pixels are laid on black, the background of most medical images.
    * Palette, CMYK and grey files are converted; the EXIF orientation is applied.
    * DICOM is shown through its own window, bone white (needs the package pydicom).

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF, WebP, PPM, JPEG 2000 or DICOM file.

    Returns:
        The image, mode RGB.

    Raises:
        InputError: if the file is missing, empty, no image, broken, too large, or holds several pages.

    Example:
        >>> read_image("nowhere.png")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.png: no such file; correct the path

    Chapter: ch-how-to-use
    """
    path = Path(path)
    size = check_file(path)
    with readable(path), path.open("rb") as file:
        if dicom.is_dicom(path, file):
            return dicom.read_dicom(path, MAX_PIXELS)
        return decode(io.BytesIO(file.read()) if size <= WHOLE else file, path)


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Say in one line why an image cannot be read."""
    try:
        with warnings.catch_warnings():  # our own limit is lower than the error
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{path}: may not be read; change its permissions, or leave it out") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read; convert it, or leave it out") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more than {MAX_PIXELS:,} pixels; shrink it, or leave it out") from None
    except Exception as error:  # decoders raise nearly anything on broken files
        why = f"broken image ({one_line(error)})"
        raise InputError(f"{path}: {why}; copy it again from its source, or leave it out") from None


def decode(file: BinaryIO, path: str | Path) -> Image.Image:
    """Decode an image as 8-bit RGB, upright; faults of the decoder are raised as they are.

    Raises:
        InputError: if it is too large, or holds several pages; calls it `path`.
    """
    with Image.open(file, formats=FORMATS) as image:
        _check_header(path, image)
        if _side.get():
            image.draft(None, (3 * _side.get(),) * 2)  # of JPEG alone; others ignore it
        image.load()
        return _rgb(path, ImageOps.exif_transpose(image))


def check_file(path: Path) -> int:
    """Refuse what is no file, or an empty one, in one line; gives its size in bytes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; correct the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be reached ({error}); check the path and its permissions") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path}: a folder, not an image; name a file")
    if found.st_size == 0:
        raise InputError(f"{path}: empty (0 bytes); copy it again from its source, or leave it out")
    return found.st_size


def _check_header(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width} x {height} pixels, more than {MAX_PIXELS:,}; shrink it")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # phones add a preview page to a JPEG; the first is the photo
        raise InputError(f"{path}: holds {pages} pages; save the one you mean as its own file")


def _rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _stretch(path, image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def _stretch(path: Path, image: Image.Image) -> Image.Image:
    """Map deep grey to 0..255 from its own minimum and maximum; a constant image becomes black."""
    values = np.asarray(image).astype(np.float32 if image.mode.startswith("I;16") else np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: holds values that are not finite; save it again as 16-bit PNG")
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(scaled.round().astype(np.uint8)).convert("RGB")
