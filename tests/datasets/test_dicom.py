"""DICOM files look as they are meant to: rescaled, windowed, bone white; or are refused by name."""

import sys

import numpy as np
import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.images import SUFFIXES, read_image

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, SecondaryCaptureImageStorage  # noqa: E402

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def write(path, pixels=RAMP, **tags):
    """A small file with these pixels and tags."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    scan = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    deep = pixels.dtype.itemsize > 1
    plain = {
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 else "MONOCHROME2",
        "BitsAllocated": 16 if deep else 8,
        "BitsStored": 12 if deep else 8,
        "HighBit": 11 if deep else 7,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    if pixels.ndim == 3:
        plain["PlanarConfiguration"] = 0
    for name, value in {**plain, **tags}.items():
        if value is not None:
            setattr(scan, name, value)
    scan["PixelData"].VR = "OW"
    scan.save_as(path, enforce_file_format=True)
    return path


def grey(path):
    pixels = np.asarray(read_image(path))
    assert pixels.shape[2] == 3 and pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def test_without_a_window_values_are_stretched_from_their_own_range(tmp_path):
    found = grey(write(tmp_path / "a.dcm"))
    np.testing.assert_allclose(found, RAMP / 4080 * 255, atol=0.51)


@pytest.mark.parametrize("slope", [1, 2, -1])
def test_the_window_is_that_of_the_standard_on_rescaled_values(tmp_path, slope):
    path = write(
        tmp_path / "a.dcm",
        RescaleSlope=slope,
        RescaleIntercept=-1024,
        WindowCenter=[40, 500],
        WindowWidth=[400, 9],
    )
    values = RAMP * float(slope) - 1024
    expected = ((values - 39.5) / 399 + 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(grey(path), expected, atol=0.51)
    assert expected.min() == 0 and (slope < 0 or expected.max() == 255)


def test_a_narrow_window_is_not_stretched_to_what_the_image_holds(tmp_path):
    """Values that fill the middle of the window stay grey; a stretch would make them black and white."""
    pixels = np.full((4, 4), 1000, np.uint16)
    pixels[0] = 1200
    found = grey(write(tmp_path / "a.dcm", pixels, WindowCenter=1100, WindowWidth=1000))
    assert 80 < found.min() < found.max() < 175


def test_sigmoid_windows(tmp_path):
    path = write(tmp_path / "a.dcm", WindowCenter=2000, WindowWidth=800, VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (RAMP - 2000.0) / 800))
    np.testing.assert_allclose(grey(path), expected, atol=0.51)


def test_a_look_up_table_goes_before_the_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = (65535 - 257 * np.arange(256)).astype("<u2").tobytes()
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = write(tmp_path / "a.dcm", pixels, VOILUTSequence=[table], WindowCenter=10, WindowWidth=5)
    np.testing.assert_allclose(grey(path), 255 - pixels, atol=0.51)


def test_bone_is_white_in_monochrome1_too(tmp_path):
    plain = grey(write(tmp_path / "a.dcm", WindowCenter=2048, WindowWidth=2000))
    inverted = write(
        tmp_path / "b.dcm",
        4095 - RAMP,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=2048,
        WindowWidth=2000,
    )
    np.testing.assert_allclose(grey(inverted), plain, atol=1)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_set_the_range(tmp_path, kind):
    pixels = np.linspace(100, 200, 64).astype(np.int16).reshape(8, 8)
    pixels[0] = -2000
    path = write(tmp_path / "a.dcm", pixels, PixelPaddingValue=-2000, PhotometricInterpretation=kind)
    found = grey(path)
    assert (found[0] == 0).all() and found[1:].min() == 0 and found[1:].max() == 255
    assert (found[1, 0] > found[7, 7]) is np.bool_(kind == "MONOCHROME1")


def test_colour_and_palette(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(read_image(write(tmp_path / "rgb.dcm", pixels))), pixels)
    table = {
        f"{colour}PaletteColorLookupTable{part}": value
        for i, colour in enumerate(("Red", "Green", "Blue"))
        for part, value in (
            ("Descriptor", [4, 0, 16]),
            ("Data", np.array([0, 60 + i, 128, 255], "<u2") * 257),
        )
    }
    table = {key: value.tobytes() if isinstance(value, np.ndarray) else value for key, value in table.items()}
    numbers = np.array([[0, 1], [2, 3]], np.uint8)
    path = write(tmp_path / "p.dcm", numbers, PhotometricInterpretation="PALETTE COLOR", **table)
    found = np.asarray(read_image(path))
    assert found[0, 1].tolist() == [60, 61, 62] and found[1, 1].tolist() == [255] * 3


def test_a_file_is_known_by_its_content_and_folders_find_it_by_its_name(tmp_path):
    write(tmp_path / "a.dcm").rename(tmp_path / "IM0001")
    assert read_image(tmp_path / "IM0001").size == (16, 16)
    assert {".dcm", ".dicom"} <= set(SUFFIXES)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"NumberOfFrames": 2, "PixelData": RAMP.tobytes() * 2}, "holds 2 frames; save the one you mean"),
        ({"Rows": 60_000, "Columns": 60_000}, "60000 x 60000 pixels, more than 100,000,000"),
        ({"PixelData": RAMP.tobytes()[:-40]}, "broken image"),
    ],
)
def test_files_that_hold_no_single_image_are_refused_by_name(tmp_path, tags, said):
    with pytest.raises(InputError, match=rf"a\.dcm: .*{said}") as caught:
        read_image(write(tmp_path / "a.dcm", **tags))
    assert "\n" not in str(caught.value)


def test_reports_garbage_and_unknown_compression_are_refused_by_name(tmp_path):
    scan = pydicom.dcmread(write(tmp_path / "a.dcm"))
    del scan.PixelData
    scan.save_as(tmp_path / "report.dcm")
    with pytest.raises(InputError, match=r"report\.dcm: a DICOM file without an image"):
        read_image(tmp_path / "report.dcm")
    (tmp_path / "b.dcm").write_bytes(b"\x89PNG not really")
    with pytest.raises(InputError, match=r"b\.dcm: broken image"):
        read_image(tmp_path / "b.dcm")
    scan = pydicom.dcmread(tmp_path / "a.dcm")
    scan.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7 what only its own decoder reads"])
    scan["PixelData"].is_undefined_length = True
    scan.file_meta.TransferSyntaxUID = JPEGLSLossless
    scan.save_as(tmp_path / "c.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"c\.dcm: compressed as JPEG-LS Lossless.*; run `pip install"):
        read_image(tmp_path / "c.dcm")


def test_without_pydicom_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r'a\.dcm: a DICOM file, .*pip install "kpl-lib\[dicom\]"'):
        read_image(path)
