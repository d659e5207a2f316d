"""One deck of slides for each chapter of the built book, in `_build/slides`: `make slides` runs this file.

The decks hold what they need: open `_build/slides/index.html` from a disk, with no network.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from book.tools.building.setup_cell import ROOT, config
from book.tools.teaching.slide_code import style_sheet
from book.tools.teaching.slide_deck import Slide, deck

TEMPLATES = Path(__file__).resolve().parents[2] / "slides"
TALL = 0.8  # height over width from which a figure stands beside its text, not under it
MATHJAX = ("tex-chtml-full.js", "output/chtml/fonts/woff-v2")


def chapters(root: Path) -> list[Path]:
    """The built pages of the chapters.

    Raises:
        ValueError: if the book is not built.
    """
    names = [file.stem for file in sorted((root / "book" / "chapters").glob("[0-9]*.*"))]
    pages = [root / "_build" / "html" / "chapters" / f"{name}.html" for name in names]
    missing = [page.stem for page in pages if not page.is_file()]
    if missing or not pages:
        raise ValueError(
            f"the book is not built ({', '.join(missing) or 'no chapters'}): run `make book` first"
        )
    return pages


def write_assets(root: Path, folder: Path) -> None:
    """Copy what all decks share: reveal.js, the style, and the book's MathJax."""
    shutil.copytree(TEMPLATES / "reveal", folder / "reveal")
    style = (TEMPLATES / "deck.css").read_text(encoding="utf-8")
    (folder / "deck.css").write_text(f"{style}\n{style_sheet()}\n", encoding="utf-8")
    source = root / "_build" / "html" / "_static" / "mathjax"
    for name in MATHJAX:
        target = folder / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy
        copy(source / name, target)


def write_deck(page: Path, slides: list[Slide], folder: Path, environment: Environment) -> None:
    """Write the deck of a page beside its figures."""
    folder.mkdir(parents=True)
    for number, slide in enumerate(slides):
        if slide.image:
            with Image.open(shutil.copy(page.parent / slide.image, folder)) as image:
                tall = image.height > TALL * image.width
            slides[number] = replace(slide, kind="figure tall") if tall else slide
    number, _, _ = page.stem.partition("_")
    html = environment.get_template("deck.html.jinja").render(
        slides=slides, number=int(number), book=config()["title"]
    )
    (folder / "index.html").write_text(html, encoding="utf-8")


def main(root: Path = ROOT) -> int:
    """Write all decks; give the exit code."""
    try:
        decks = {page: deck(page.read_text(encoding="utf-8")) for page in chapters(root)}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out = root / "_build" / "slides"
    shutil.rmtree(out, ignore_errors=True)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    write_assets(root, out / "assets")
    for page, slides in decks.items():
        write_deck(page, slides, out / page.stem, environment)
    index = environment.get_template("index.html.jinja").render(
        decks={p.stem: s for p, s in decks.items()}, book=config()["title"]
    )
    (out / "index.html").write_text(index, encoding="utf-8")
    print(f"{len(decks)} decks, {sum(map(len, decks.values()))} slides", out / "index.html", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
