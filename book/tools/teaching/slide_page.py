"""The parts of a built page that slides are made of: headings, prose, formulas, code cells and figures."""

import re

from bs4 import Tag

from book.tools.teaching.slide_text import is_math, sentences


def line(element: Tag) -> str:
    """All of an element's prose in one line."""
    return " ".join(sentences(element))


def heading(section: Tag) -> str:
    """The heading of a section."""
    return line(section.find(re.compile("^h[1-6]$")))


def blocks(section: Tag) -> list[Tag]:
    """Paragraphs, displayed formulas, code cells and figures of a section, in order."""
    inside = ["div.cell", "table", "figure", "div.exercise", "div.solution", "details"]
    nested = {id(element) for outer in section.select(", ".join(inside)) for element in outer.find_all(True)}
    kept = []
    for element in section.find_all(["p", "div", "figure"]):
        free = id(element) not in nested
        prose = element.name == "p" and "admonition-title" not in element.get("class", [])
        block = is_math(element) or "cell" in element.get("class", [])
        if element.name == "figure" or (free and (prose or (element.name == "div" and block))):
            kept.append(element)
    return kept


def is_notice(block: Tag) -> bool:
    """Whether a paragraph says what to notice."""
    return block.name == "p" and block.get_text().startswith("What to notice")


def equation(section: Tag) -> str:
    """The first displayed formula of a section, one part a line."""
    for block in blocks(section):
        if is_math(block) and block.name == "div":
            tex = re.search(r"\\\[(.*)\\\]", block.get_text(), re.DOTALL)[1].strip()
            parts = re.split(r",?\s*\\q?quad\s*", tex) if "\\begin" not in tex else [tex]
            joined = r" \\[0.6em] ".join(parts)
            return rf"\[\begin{{gathered}}{joined}\end{{gathered}}\]" if len(parts) > 1 else rf"\[{tex}\]"
    return ""
