"""Every odd image file is read right or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from broken_images import huge_png
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import images
from kpl_lib.datasets.images import read_image


def ramp(low: int, high: int, size: int = 16) -> np.ndarray:
    return np.linspace(low, high, size * size).reshape(size, size)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_is_stretched_from_its_own_range(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(ramp(1000, 5000).astype(np.uint16)).save(path)
    pixels = np.asarray(read_image(path))
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels[..., 0], ramp(0, 255), atol=0.6)


def test_float_and_constant_deep_images_are_read_and_nan_is_refused(tmp_path):
    Image.fromarray(ramp(-1, 1).astype(np.float32)).save(tmp_path / "float.tif")
    assert np.asarray(read_image(tmp_path / "float.tif")).max() == 255
    Image.fromarray(np.full((4, 4), 7000, np.uint16)).save(tmp_path / "flat.png")
    assert np.asarray(read_image(tmp_path / "flat.png")).max() == 0
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match=r"nan\.tif: holds values that are not finite"):
        read_image(tmp_path / "nan.tif")


def test_transparent_pixels_are_laid_on_black(tmp_path):
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (200, 100, 50, 0))
    image.save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert (read.getpixel((0, 0)), read.getpixel((1, 0))) == ((200, 100, 50), (0, 0, 0))


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=0)
    assert read_image(tmp_path / "plain.png").getpixel((0, 0)) == (10, 20, 30)
    assert read_image(tmp_path / "clear.png").getpixel((0, 0)) == (0, 0, 0)
    assert read_image(tmp_path / "clear.png").getpixel((1, 0)) == (200, 100, 50)


def test_cmyk_comes_out_in_its_colours(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "red.jpg").getpixel((8, 8))
    assert red > 230 and green < 25 and blue < 25


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4), "black")
    image.paste("white", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    image.save(tmp_path / "phone.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "phone.jpg")
    assert read.size == (4, 8)
    assert read.getpixel((2, 1))[0] > 200 and read.getpixel((2, 6))[0] < 50


def test_names_outside_ascii(tmp_path):
    path = tmp_path / "Röntgen 胸部 é.png"
    Image.new("L", (3, 2), 9).save(path)
    assert read_image(path).size == (3, 2)


def cut_png() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()[:1500]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty .0 bytes."),
        (b"Dear doctor, the image is attached.", "not an image"),
        (cut_png(), "broken image"),
        (huge_png(), "more than 100,000,000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_bad_files_are_refused_by_name_with_a_cure(tmp_path, content, said):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.jpg: .*{said}.*; .+") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_png_is_read_or_refused(tmp_path):
    """No length of a truncated file gives anything but an image or an InputError."""
    whole, path = cut_png(), tmp_path / "cut.png"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.png"):
            read_image(path)


def test_the_limit_is_ours_not_only_the_decoders(tmp_path, monkeypatch):
    Image.new("L", (20, 20)).save(tmp_path / "big.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 399)
    with pytest.raises(InputError, match="20 x 20 pixels"):
        read_image(tmp_path / "big.png")


def test_several_pages_missing_files_and_folders_are_refused(tmp_path):
    pages = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="holds 2 pages"):
        read_image(tmp_path / "pages.tif")
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="a folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="cannot be reached"):
        read_image(tmp_path / ("x" * 300 + ".png"))


def test_links_in_a_circle_and_names_at_the_limit(tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(tmp_path / "back.png")
    (tmp_path / "back.png").symlink_to(loop)
    with pytest.raises(InputError, match=r"loop\.png: cannot be reached .*; check the path"):
        read_image(loop)
    dangling = tmp_path / "gone.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_image(dangling)
    longest = tmp_path / ("x" * 251 + ".png")
    Image.new("L", (3, 2)).save(longest)
    assert read_image(longest).size == (3, 2)


def test_deep_colour_is_read_or_refused_by_name(tmp_path):
    """16-bit RGB: PNG keeps its upper 8 bits; what the decoder cannot open is refused."""
    deep = np.zeros((2, 2, 3), ">u2")
    deep[..., 0] = 0x8000
    raw = b"".join(b"\0" + row.tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert read_image(tmp_path / "deep.png").getpixel((0, 0)) == (128, 0, 0)


def test_animated_pictures_are_refused_and_phone_previews_are_not(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    for name in ("a.gif", "a.webp"):
        with pytest.raises(InputError, match=rf"{name}: holds 2 pages; save the one you mean"):
            read_image(tmp_path / name)
    frames[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "phone.jpg").getpixel((4, 4))[0] > 240
