"""Read a DICOM file as it is meant to be looked at: rescaled, windowed, white bones, 8-bit RGB."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import need

if TYPE_CHECKING:
    from pydicom import Dataset


SUFFIXES = (".dcm", ".dicom")


def is_dicom(path: Path, file: BinaryIO) -> bool:
    """Whether an open file says that it is DICOM, by its content or by its name; it is left at its start."""
    file.seek(128)
    mark = file.read(4)
    file.seek(0)
    return mark == b"DICM" or path.suffix.lower() in SUFFIXES


def read_dicom(path: Path, most_pixels: int) -> Image.Image:
    """Read the one frame of a DICOM file as RGB.

    * Grey: stored values become physical ones (rescale slope and intercept, or the modality table), then go
      through the file's own look-up table or its first window. Without either, from their own minimum to their
      maximum, padding left out. MONOCHROME1 is inverted, so that bone is white in every file.
    * Colour: palette and YBR become RGB.

    Raises:
        InputError: without the package pydicom, for a file that holds no single image, or more than `most_pixels`.

    Source: DICOM PS3.3, C.7.6.3 and C.11.2; decoded by pydicom.
    """
    scan = need("pydicom", f"{path}: a DICOM file, which").dcmread(path)
    _check_scan(path, scan, most_pixels)
    try:
        return Image.fromarray(_shown(scan)).convert("RGB")
    except (NotImplementedError, RuntimeError):  # what pydicom raises where no decoder is installed
        how = scan.file_meta.TransferSyntaxUID.name
        cure = "run `pip install python-gdcm`, or save it uncompressed"
        raise InputError(f"{path}: compressed as {how}, for which no decoder is here; {cure}") from None


def _shown(scan: "Dataset") -> np.ndarray:
    """8-bit grey `[H, W]` or colour `[H, W, 3]`."""
    from pydicom.pixels import apply_color_lut, pixel_array

    pixels = pixel_array(scan)  # YBR becomes RGB
    kind = scan.get("PhotometricInterpretation")
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, scan)
        return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)
    if pixels.ndim == 3:
        return (pixels >> max(0, scan.BitsStored - 8)).astype(np.uint8)
    return (_grey(scan, pixels) * 255).round().astype(np.uint8)


def _check_scan(path: Path, scan: "Dataset", most_pixels: int) -> None:
    """Refuse files without an image, with several, or with an oversized one."""
    if "PixelData" not in scan:
        raise InputError(f"{path}: a DICOM file without an image; leave it out")
    frames = int(scan.get("NumberOfFrames") or 1)
    if frames > 1:
        raise InputError(f"{path}: holds {frames} frames; save the one you mean as its own file")
    if scan.Rows * scan.Columns > most_pixels:
        raise InputError(f"{path}: {scan.Columns} x {scan.Rows} pixels, more than {most_pixels:,}; shrink it")


def _grey(scan: "Dataset", stored: np.ndarray) -> np.ndarray:
    """Stored values as grey of 0 to 1 `[H, W]`, bone white, padding black."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

    unused = scan.get("PixelPaddingValue")
    padding = np.zeros(stored.shape, bool) if unused is None else stored == unused
    values, table = apply_modality_lut(stored, scan), scan.get("VOILUTSequence")
    if table:
        shown = apply_voi_lut(values, scan).astype(np.float64)
        low, high = 0.0, 2.0 ** table[0].LUTDescriptor[2] - 1
    elif scan.get("WindowWidth") is not None and scan.get("WindowCenter") is not None:
        with np.errstate(over="ignore"):
            shown = apply_windowing(values, scan)
            low, high = apply_windowing(np.array([-1e12, 1e12]), scan)  # far below and far above the window
    else:
        shown = values.astype(np.float64)
        seen = shown if padding.all() else shown[~padding]
        low, high = seen.min(), seen.max()
    scaled = ((shown - low) / (high - low if high != low else 1)).clip(0, 1)
    if scan.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 1 - scaled
    scaled[padding] = 0
    return scaled
