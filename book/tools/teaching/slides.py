"""A deck of slides for each chapter of the built book, in `_build/html/slides`: part of `make book`.

A deck is made of what its page is made of: the claim, the objectives, each section with its question, its formula, a
short piece of code and its figures, when this fails, an exercise, the summary, the questions. What a slide leaves out
stands in its speaker notes. Pictures, mathematics and colours of code are the site's own, so a deck needs no network.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from book.tools.building.setup_cell import ROOT, config
from kpl_lib.common.errors import InputError

TEMPLATES = Path(__file__).resolve().parents[2] / "slides"
WORDS = 40  # of a paragraph on a slide
LINES, WIDTH = 15, 76  # of code that can be read from the last row
APART = ("exercises", "check-yourself", "what-s-next", "further-reading")
BULLETS = ("when-this-fails", "summary")
BOLD = "p > strong:first-child"


@dataclass(frozen=True)
class Slide:
    """One slide. All texts are HTML of the page."""

    kind: str
    title: str
    body: str = ""
    notes: str = ""
    place: str = ""  # where on the page it comes from
    below: tuple["Slide", ...] = ()


def inner(tag: Tag) -> str:
    """The HTML inside an element, without line breaks."""
    return " ".join(tag.decode_contents().split())


def begin(paragraph: Tag, limit: int = WORDS) -> str:
    """The first sentences of a paragraph, at most so many words of them; always one."""
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.?!])\s+(?=[^\s\d])", inner(paragraph)):
        if kept and len(re.sub("<[^>]+>", "", " ".join([*kept, sentence])).split()) > limit:
            break
        kept.append(sentence)
    return f"<p>{BeautifulSoup(' '.join(kept), 'html.parser')}</p>"  # closes what the cut left open


def free(section: Tag, names: str) -> list[Tag]:
    """Elements of a section that stand in no box, cell, fold or list."""
    return [tag for tag in section.select(names) if not tag.find_parent(["li", "table", "details", "figure"])]


def notes_of(section: Tag) -> str:
    """The prose of a section as its speaker reads it."""
    prose = section.select("p:not(.admonition-title)")
    return "".join(f"<p>{inner(tag)}</p>" for tag in prose if not tag.find_parent("figure"))


def bullets(items: list[Tag], lead: bool) -> str:
    """A list; of a long point its bold lead, or its first sentence."""
    leads = [item.select_one(BOLD) if lead else None for item in items]
    ends = [bold is not None and bold.get_text().endswith((".", "?")) for bold in leads]
    points = [bold if end else item.p or item for item, bold, end in zip(items, leads, ends, strict=True)]
    return f"<ul>{''.join(f'<li>{begin(point, 12)}</li>' for point in points)}</ul>"


def equation(section: Tag) -> str:
    """The first displayed formula of a section, one part a line."""
    for block in free(section, "div.math"):
        tex = re.search(r"\\\[(.*)\\\]", block.get_text(), re.DOTALL)[1].strip()
        parts = [tex] if "\\begin" in tex else re.split(r",?\s*\\q?quad\s*", tex)
        lines = r" \\[0.6em] ".join(parts)
        return rf'<div class="math">\[\begin{{gathered}}{escape(lines)}\end{{gathered}}\]</div>'
    return ""


def code_of(section: Tag) -> Iterator[str]:
    """Cells that define a function and can be read from the last row."""
    for cell in section.select("div.cell:not(.tag_hide-input) .cell_input .highlight"):
        lines = cell.get_text().strip("\n").splitlines()
        if len(lines) <= LINES and max(map(len, lines)) <= WIDTH and "def " in cell.get_text():
            yield str(cell)


def section_slides(section: Tag, title: str, place: str) -> Iterator[Slide]:
    """What a section asks, its first formula, its first short code, and each of its figures."""
    prose, formula = free(section, "p:not(.admonition-title)"), equation(section)
    opening = begin(prose[0], WORDS - 12 * bool(formula)) if prose else ""
    yield Slide("question", title, opening + formula, notes_of(section), place)
    for code in [*code_of(section)][:1]:
        yield Slide("code", title, code, place=place)
    for figure in section.select("figure"):
        if figure.img and figure.figcaption:
            image = f'<img src="{figure.img["src"]}" alt="{figure.img["alt"]}">'
            caption = begin(figure.figcaption.p or figure.figcaption, 60)
            notice = next((p for p in figure.find_all_next("p") if "What to notice" in p.get_text()), None)
            yield Slide("figure", title, image + caption, inner(notice) if notice else "", place)


def questions(section: Tag) -> Iterator[Slide]:
    """A slide for each question to check oneself by, with its answer below."""
    for fold in section.select("details"):
        asked = re.sub(r"^\d+\. ", "", inner(fold.select_one(".sd-summary-text") or fold.summary))
        answer = fold.select(".sd-card-body p, .sd-summary-content p")
        below = Slide("answer", "", begin(answer[0], 60), notes_of(fold))
        yield Slide("check", asked, "<p>↓ answer</p>", notes_of(fold), "#check-yourself", (below,))


def deck(html: str) -> list[Slide]:
    """The slides of a built chapter."""
    article = BeautifulSoup(html, "html.parser").select_one("article.bd-article section")
    for extra in article.select(".section-number, .headerlink, .sd-summary-icon"):
        extra.decompose()
    for link in article.select("a"):
        link.unwrap()
    claim = article.find("p", recursive=False)
    goals = article.select(".admonition-in-this-chapter li")
    slides = [
        Slide("title", inner(article.h1), begin(claim), place="#"),
        Slide("list", "In this chapter you learn to", f"<ul>{''.join(map(str, goals))}</ul>"),
    ]
    for section in article.find_all("section", recursive=False):
        name, title = section["id"], inner(section.h2)
        if name in BULLETS:
            points = bullets(section.select("li"), lead=name != "summary")
            slides.append(Slide("list", title, points, notes_of(section), f"#{name}"))
        elif name == "exercises" and (box := section.select_one("div.exercise")):
            asked = "".join(map(str, box.section.select("p")))
            notes = notes_of(box.find_next_sibling("div", class_="solution") or box)
            slides.append(Slide("exercise", "Discuss", asked, notes, f"#{name}"))
        elif name == "check-yourself":
            slides += questions(section)
        elif name not in APART:
            slides += section_slides(section, title, f"#{name}")
    return slides


def write(root: Path) -> int:
    """Write a deck for each chapter into the built site; give how many slides they have, in all."""
    site, count = root / "_build" / "html", 0
    names = [file.stem for file in sorted((root / "book" / "chapters").glob("[0-9]*.*"))]
    missing = [name for name in names if not (site / "chapters" / f"{name}.html").is_file()]
    if missing:
        raise InputError(f"the book is not built ({', '.join(missing)}): run `make book` first")
    if names:
        shutil.rmtree(site / "slides", ignore_errors=True)
        shutil.copytree(TEMPLATES, site / "slides", ignore=shutil.ignore_patterns("*.jinja"))
    settings = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), **settings)
    for name in names:
        slides = deck((site / "chapters" / f"{name}.html").read_text(encoding="utf-8"))
        count += len(slides)
        facts = {"slides": slides, "name": name, "number": int(name[:2]), "book": config()["title"]}
        page = environment.get_template("deck.html.jinja").render(facts)
        (site / "slides" / f"{name}.html").write_text(page, encoding="utf-8")
    return count


if __name__ == "__main__":
    try:
        print(f"{write(ROOT)} slides", ROOT / "_build" / "html" / "slides", sep="\n")
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
