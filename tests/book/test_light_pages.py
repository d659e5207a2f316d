"""What the build takes off a page: unused icons and colours that no one sees; what it leaves stays whole."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydata_sphinx_theme
import pytest
from docutils import nodes, utils
from fontTools.ttLib import TTFont
from PIL import Image

from book.tools.extensions import light_pages

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
ROCKET, GHOST, BELL = 0xF135, 0xF6E2, 0xF0F3


@pytest.fixture
def static(tmp_path):
    """The parts of the theme that are changed, as a build leaves them."""
    for name in (light_pages.THEME, "scripts/fontawesome.js"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(THEME / name, tmp_path / name)
    shutil.copytree(THEME / light_pages.FONTS, tmp_path / light_pages.FONTS)
    return tmp_path


def test_icons_that_a_page_names_stay_and_others_go(static):
    before = (static / light_pages.THEME).stat().st_size
    light_pages.keep_icons(static, '<i class="fas fa-rocket"></i>')
    with TTFont(static / light_pages.FONTS / "fa-solid-900.woff2") as font:
        glyphs = set(font.getBestCmap())
    assert {ROCKET, BELL} <= glyphs, "an icon of the page, and one that the theme's own rules show"
    assert GHOST not in glyphs and len(glyphs) < 100
    css = (static / light_pages.THEME).read_text(encoding="utf-8")
    assert ".fa-rocket:before" in css and ".fa-ghost:before" not in css
    assert css.count("{") == css.count("}") and len(css.encode()) < before - 50_000
    assert (static / "scripts" / "fontawesome.js").stat().st_size < 100


def test_an_image_loses_colours_that_no_one_sees(tmp_path):
    smooth = np.linspace(0, 255, 300 * 400 * 3).reshape(300, 400, 3).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 6, smooth.shape, dtype=np.uint8)
    path = tmp_path / "figure.png"
    Image.fromarray(smooth // 2 + noise).convert("RGBA").save(path)
    before, picture = path.stat().st_size, np.asarray(Image.open(path).convert("RGB")).astype(int)
    light_pages.reduce_colours(path)
    after = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert path.stat().st_size < before / 2
    assert np.sqrt(((after - picture) ** 2).mean()) < 5
    light_pages.reduce_colours(path)
    assert (np.asarray(Image.open(path).convert("RGB")) == after).all()
    assert list(tmp_path.iterdir()) == [path]


def test_a_photograph_is_no_larger_than_the_page_shows_it(tmp_path):
    path = tmp_path / "grid.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 500, 3), dtype=np.uint8)).save(path)
    light_pages.reduce_colours(path)
    with Image.open(path) as picture:
        assert picture.size == (350, 420)


def test_a_transparent_image_stays_as_it_is(tmp_path):
    path = tmp_path / "figure.png"
    Image.new("RGBA", (9, 9), (10, 20, 30, 99)).save(path)
    content = path.read_bytes()
    light_pages.reduce_colours(path)
    assert path.read_bytes() == content


def test_letters_have_one_size_in_figures_of_every_width(tmp_path):
    document = utils.new_document("page")
    (tmp_path / "jupyter_execute").mkdir()
    for width in (660, 990):
        Image.new("RGB", (width, 10)).save(tmp_path / "jupyter_execute" / f"{width}.png")
        document += nodes.image(uri=f"jupyter_execute/{width}.png")
    document += nodes.image(uri="_static/logo.svg")
    light_pages.scale_figures(SimpleNamespace(srcdir=tmp_path), document, "page")
    assert [image.get("width") for image in document.findall(nodes.image)] == ["462px", "693px", None]


def test_a_failed_build_is_left_alone(tmp_path):
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path / "nothing")
    light_pages.lighten(app, ValueError("a chapter raised"))
    assert not (tmp_path / "nothing").exists()
