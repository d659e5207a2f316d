"""Sphinx extension: a page carries what its reader needs, and no more.

The theme ships every icon three times (as a script, as fonts, as rules), and matplotlib writes true-colour
images. After the build this leaves the icons that the pages show, and figures of 256 colours. It also gives
each figure of a chapter one scale, so that the letters in all figures have the same size.
"""

import re
from io import BytesIO
from pathlib import Path

from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image
from sphinx.application import Sphinx

from book.tools.extensions.on_all_cores import for_each

SCALE = 0.7  # of a figure's own pixels on the page: sharp on dense screens, and 10 pt letters at every width
SMALL = 20_000  # bytes of an image that is not worth the work
LARGE = 250_000  # bytes of an image that is kept at the size at which the page shows it
THEME = "styles/pydata-sphinx-theme.css"
FONTS = "vendor/fontawesome/webfonts"
RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]{2,4})"\}')
PRIVATE = re.compile("[\ue000-\uf8ff]")  # where icon fonts keep their icons


def scale_figures(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Give every drawn figure the width of SCALE times its pixels; the style sheet keeps it inside the page."""
    for image in doctree.findall(nodes.image):
        source = Path(app.srcdir, image["uri"])
        if "jupyter_execute" in source.parts and source.suffix == ".png" and "width" not in image:
            with Image.open(source) as picture:
                image["width"] = f"{round(SCALE * picture.width)}px"


def reduce_colours(image: Path) -> None:
    """Write an image with 256 colours, if that is smaller; photographs also with fewer pixels."""
    with Image.open(image) as picture:
        if picture.mode == "P":
            return
        full = picture.convert("RGBA")
    if full.getextrema()[3] == (255, 255):  # nothing shines through
        small, size = image.with_suffix(".small"), (round(SCALE * full.width), round(SCALE * full.height))
        for picture in (full.convert("RGB"), full.convert("RGB").resize(size, Image.Resampling.LANCZOS)):
            picture.quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
            if small.stat().st_size < LARGE:
                break
        small.replace(image) if small.stat().st_size < image.stat().st_size else small.unlink()


def keep_icons(static: Path, pages: str) -> None:
    """Leave the icons that the pages or the theme's scripts name: their rules, and their glyphs in the fonts."""
    (static / "scripts" / "fontawesome.js").write_text("/* The icons of these pages come from the font. */\n")
    scripts = "".join(path.read_text(encoding="utf-8") for path in sorted(static.glob("scripts/*.js")))
    named = set(re.findall(r"\bfa-[\w-]+", pages + scripts))
    theme = static / THEME
    css = theme.read_text(encoding="utf-8")

    def used(rule: re.Match) -> bool:
        return not named.isdisjoint(re.findall(r"fa-[\w-]+", rule[1]))

    css = RULE.sub(lambda rule: rule[0] if used(rule) else "", css)
    theme.write_text(css, encoding="utf-8")
    sheets = css + "".join(
        path.read_text(encoding="utf-8") for path in static.rglob("*.css") if path != theme
    )
    points = {int(code, 16) for code in re.findall(r'"\\([ef][0-9a-f]{3})"', sheets)}
    points |= {ord(letter) for letter in PRIVATE.findall(sheets)}
    for font in sorted((static / FONTS).glob("*.woff2")):
        keep_glyphs(font, points)


def keep_glyphs(path: Path, points: set[int]) -> None:
    """Rewrite a font with the glyphs of some code points."""
    with TTFont(BytesIO(path.read_bytes()), recalcTimestamp=False) as font:
        subsetter = subset.Subsetter()
        subsetter.populate(unicodes=points)
        subsetter.subset(font)
        font.save(path)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """After a build of pages: fewer icons, smaller images."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted(out.rglob("*.html")))
    keep_icons(out / "_static", pages)
    images = [image for image in (out / "_images").glob("*.png") if image.stat().st_size > SMALL]
    for_each(reduce_colours, sorted(images))


def plain_citations(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Leave out a role that promises list items: the entries of a bibliography have a role of their own."""
    body = context.get("body", "")
    context["body"] = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", scale_figures)
    app.connect("html-page-context", plain_citations)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
