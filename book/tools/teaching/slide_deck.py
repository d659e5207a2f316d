"""One built chapter as the slides of a deck, by the landmarks of the chapter template.

Title and claim; objectives; for each section its question and key equation, a piece of code, and its figures with
what to notice in them; when this fails; an exercise to discuss; summary; self-check questions. What a slide leaves
out of its section stands in its speaker notes.
"""

import re
from dataclasses import dataclass

from bs4 import BeautifulSoup, Tag

from book.tools.teaching.slide_code import short_code
from book.tools.teaching.slide_page import blocks, equation, heading, is_notice, line
from book.tools.teaching.slide_text import as_note, is_math, portions, sentences, take, words

LIMIT, FORMULA_LIMIT, LIST_LIMIT = 40, 28, 45  # words of a slide; beside a formula; of a list
HEADLINE, CAPTION = 22, 24  # words over and under a figure
APART = {"when-this-fails", "exercises", "check-yourself", "summary", "what-s-next", "further-reading"}
FORMULA_LINES = 8  # code that is shorter has room for its formula
BACK = re.compile(
    r"(It|Its|They|Their|This|That|These|Those|There|So|But|And|Both|Here)\b"
)  # needs what went before
BY_HAND = re.compile(r"scratch|by hand|few lines", re.IGNORECASE)
ORIGIN = re.compile(r"synthetic|real|published|measured|schematic", re.IGNORECASE)


@dataclass(frozen=True)
class Slide:
    """One slide. Texts are HTML; what is absent is empty."""

    kind: str  # title, list, question, code, figure, exercise, check or answer
    title: str
    section: str = ""  # the heading of its section, small above the title
    texts: tuple[str, ...] = ()
    equation: str = ""  # TeX with its delimiters
    code: str = ""  # highlighted
    image: str = ""  # address of the figure, relative to the page
    alt: str = ""
    notes: tuple[str, ...] = ()


def listed(title: str, items: list[str], notes: list[str]) -> list[Slide]:
    """As many slides as a list needs; a long list goes on under the same title."""
    return [
        Slide("list", title, "", tuple(group), notes=tuple(notes)) for group in portions(items, LIST_LIMIT)
    ]


def question_slide(section: Tag, title: str) -> Slide:
    """What a section asks, how it begins, and its key equation; the notes hold all of its prose."""
    prose = [block for block in blocks(section) if block.name == "p"]
    formula = equation(section)
    opening = next((sentences(block) for block in prose if not is_notice(block)), [])
    kept = take(opening, FORMULA_LIMIT if formula else LIMIT)
    if len(kept) > 1 and kept[-1].endswith(":"):  # what it announces is not on the slide
        kept = kept[:-1]
    return Slide("question", title, "", tuple(kept), formula, notes=tuple(map(as_note, prose)))


def code_slide(section: Tag, title: str) -> list[Slide]:
    """The section's code by hand: what follows its first formula, or a paragraph that announces it."""
    after_formula, before = False, None
    for block in blocks(section):
        classes = block.get("class", [])
        after_formula = after_formula or is_math(block)
        before = block if block.name == "p" else before
        announced = before is not None and BY_HAND.search(before.get_text())
        shown = "cell" in classes and "tag_hide-input" not in classes and not block.figure
        source = block.select_one(".cell_input pre").get_text() if shown else ""
        if announced or (after_formula and "def " in source):
            code = short_code(source)
            formula = equation(section) if code.count("\n") < FORMULA_LINES else ""
            notes = (as_note(before),) if before else ()
            if code:
                return [Slide("code", "From scratch", title, equation=formula, code=code, notes=notes)]
    return []


def caption(whole: Tag) -> list[str]:
    """The first sentence of a caption and the one that names its origin; the origin alone if both are too long."""
    first, *others = sentences(whole)
    origin = [] if ORIGIN.search(first) else [other for other in others if ORIGIN.search(other)][:1]
    both = [first, *origin]
    return both if words(" ".join(both)) <= CAPTION else origin or [first]


def without_figure(sentence: str, number: str) -> str:
    """A sentence that stands over its figure needs no "in Fig. 5.1"."""
    short = re.sub(rf"(^| )[Ii]n {re.escape(number)}\b,?( |$)", r"\1", sentence)
    return short[:1].upper() + short[1:]


def figure_slide(figure: Tag, notice: Tag | None, first: bool, title: str) -> Slide:
    """A figure under what to notice in it: a sentence that names the figure, or else the first one."""
    whole = figure.select_one(".caption-text") or figure.figcaption
    label = figure.select_one(".caption-number")
    number = label.get_text().strip() if label else "no number"
    short = caption(whole)
    room = min(HEADLINE, LIST_LIMIT - words(" ".join(short)))
    prose = sentences(notice)[1:] if notice else []
    known = [sentence for sentence in prose if words(sentence) <= room and not BACK.match(sentence)]
    named = [s for s in known if re.search(rf"{re.escape(number)}\b", s)]
    headline = [without_figure(s, number) for s in [*named, *(known if first else [])][:1]]
    notes = (as_note(whole), *([as_note(notice)] if notice else []))
    texts = tuple(short if headline else short[1:])
    shown = {"image": figure.img["src"], "alt": figure.img["alt"]}
    return Slide("figure", [*headline, *short][0], title, texts, notes=notes, **shown)


def figure_slides(section: Tag, title: str) -> list[Slide]:
    """The figures of a section, each with the next paragraph that says what to notice."""
    slides, waiting = [], []
    for block in [*blocks(section), None]:
        if block is not None and block.name == "figure":
            waiting.append(block)
        elif block is None or is_notice(block):
            slides += [figure_slide(figure, block, figure is waiting[0], title) for figure in waiting]
            waiting = []
    return slides


def discussion(section: Tag) -> list[Slide]:
    """The exercise that takes the fewest words, with its solution in the notes."""

    def prose(exercise: Tag) -> list[Tag]:
        return [p for p in exercise.section.find_all("p") if not p.find_parent("figure")]

    short = min(section.select("div.exercise"), key=lambda one: words(" ".join(map(line, prose(one)))))
    solution = short.find_next_sibling("div", class_="solution")
    title = re.sub(
        r"^.*?\((?:\w+: )?(.*)\)$", r"\1", short.select_one(".admonition-title").get_text().strip()
    )
    notes = tuple(as_note(p) for p in [*prose(short), *prose(solution)])
    return [
        Slide(
            "exercise", title[:1].upper() + title[1:], "Discuss", tuple(map(line, prose(short))), notes=notes
        )
    ]


def checks(section: Tag | None) -> list[Slide]:
    """A slide for each self-check question, and one below it for the answer."""
    slides = []
    for number, fold in enumerate(section.select("details") if section else [], start=1):
        asked = re.sub(r"^\d+\. ", "", line(fold.select_one(".sd-summary-text") or fold.summary))
        answer, *rest = fold.select(".sd-card-body p, .sd-summary-content p")
        notes = tuple(as_note(p) for p in [answer, *rest])
        slides.append(Slide("check", asked, f"Check yourself · {number}", notes=notes))
        slides.append(
            Slide("answer", "", f"Answer · {number}", tuple(take(sentences(answer), LIMIT)), notes=notes)
        )
    return slides


def points(section: Tag) -> list[str]:
    """The bullets of a section, each cut to its bold lead or its first sentence."""
    return [sentences(item.p or item)[0] for item in section.select("ul > li, ol > li")]


def deck(html: str) -> list[Slide]:
    """The slides of a built chapter."""
    article = BeautifulSoup(html, "html.parser").select_one("article.bd-article section")
    for extra in article.select(".section-number, .headerlink"):
        extra.decompose()
    parts = {part["id"]: part for part in article.find_all("section", recursive=False)}
    head = [block for block in article.find_all("p", recursive=False)]
    objectives = article.select_one(".admonition-in-this-chapter")
    slides = [
        Slide(
            "title",
            heading(article),
            "",
            tuple(take(sentences(head[0]), LIMIT)),
            notes=tuple(map(as_note, head)),
        )
    ]
    slides += listed("In this chapter you learn to", [line(item) for item in objectives.select("li")], [])
    for name, part in parts.items():
        if name not in APART:
            title = heading(part)
            slides += [question_slide(part, title), *code_slide(part, title), *figure_slides(part, title)]
    for name in ("when-this-fails", "summary"):
        notes = [as_note(block) for block in blocks(parts[name])]
        slides += discussion(parts["exercises"]) if name == "summary" else []
        slides += listed(heading(parts[name]), points(parts[name]), notes)
    return slides + checks(parts.get("check-yourself"))
