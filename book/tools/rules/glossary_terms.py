"""The terms of the glossary, and where a page uses them first."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from book.tools.rules.page_text import paragraphs, read_cells

MARKS = re.compile(r"\{term\}`[^`]*`|\*{1,2}[^*\n]+\*{1,2}|^.+\n(?=: )", re.MULTILINE)
SILENT = re.compile(
    r"^#+ .*$|^:{3,}.*$|^:alt:.*$|\$\$.*?\$\$|\$[^$]*\$|(?<!\})`[^`]*`|\{(?!term)[\w:-]+\}`[^`]*`|\]\([^)]*\)",
    re.M | re.S,
)
EVERYDAY = {  # uses of the same word in its everyday sense
    r"powers? (?:of|fails)": "mathematics, electricity",
    r"no evidence|evidence about|evidence for": "proof",
    r"support (?:the|for the) classes|texts scatter": "the verbs",
    r"noisy mixtures": "a sum of signals",
    r"(?:less|that) contrast": "of a picture, a difference",
}


@dataclass(frozen=True)
class Term:
    """A name in the glossary, the first name of its entry, and the label of the page that explains it."""

    name: str
    entry: str
    label: str


@dataclass(frozen=True)
class Use:
    """The first use of an entry on a page: the word, its sentence, and whether it is linked or explained there."""

    entry: str
    word: str
    sentence: str
    marked: bool


def entries(text: str) -> Iterator[Term]:
    """The terms of the {glossary} directive; lines above one definition are names of one thing."""
    body = re.search(r"^:{3,}\{glossary\}\n(.*?)^:{3,}\s*$", text, re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n", body[1] if body else ""):
        names = [line.strip() for line in block.splitlines() if re.match(r"[^\s:]", line)]
        label = re.search(r"See \{ref\}`(?:[^`<]*<)?([\w-]+)>?`", block)
        yield from (Term(name, names[0], label[1] if label else "") for name in names)


def pattern(name: str) -> str:
    """A term as a regular expression: any case unless it has capitals inside, with its plural."""
    in_y = re.search(r"[^aeiou]y$", name)
    plural = rf"{re.escape(name[:-1])}(?:y|ies)" if in_y else rf"{re.escape(name)}(?:e?s)?"
    return plural if re.search(r"[A-Z]", name) else f"(?i:{plural})"


def longest_first(names: Iterable[str]) -> tuple[str, ...]:
    """Names so ordered that "balanced accuracy" is found before "accuracy" is."""
    return tuple(sorted(names, key=lambda name: (-len(name), name)))


@cache
def matcher(names: tuple[str, ...]) -> re.Pattern:
    """Finds any of the names; the number of the group tells which."""
    return re.compile(r"(?<![\w-])(?:" + "|".join(f"({pattern(name)})" for name in names) + r")(?![\w-])")


def sentences(path: Path) -> Iterator[str]:
    """The sentences and table rows of the prose of a page, in reading order, roles kept."""
    for number, cell in enumerate(read_cells(path)):
        if cell["cell_type"] == "markdown":
            for block in paragraphs(path.stem, number, "".join(cell["source"])):
                yield from re.split(r"\n(?=\||[-*] |\d+\. )|(?<=[.?!])\s+(?=[A-Z*{])", block.text)


@cache
def uses(path: Path, terms: tuple[Term, ...]) -> tuple[Use, ...]:
    """The first use of each entry on a page."""
    by_name, found = {term.name: term for term in terms}, {}
    names = longest_first(by_name)
    for sentence in sentences(path):
        referred = set(re.findall(r"\{(?:num)?ref\}`(?:[^`<]*<)?([\w-]+)>?`", sentence))
        where = bool(re.search(r"^\|.*\{ref\}[^|]*\|\s*$", sentence))  # a row of prerequisites says where
        text = sentence
        for silent in (SILENT, *EVERYDAY):
            text = re.sub(silent, lambda hidden: " " * len(hidden[0]), text)
        marked = [mark.span() for mark in MARKS.finditer(text)]
        for match in matcher(names).finditer(text):
            term = by_name[names[match.lastindex - 1]]
            inside = any(start <= match.start() < end for start, end in marked)
            use = Use(term.entry, match[0], sentence, inside or term.label in referred or where)
            found.setdefault(term.entry, use)
    return tuple(found.values())


def explains(path: Path, names: tuple[str, ...]) -> bool:
    """Whether a page sets one of the names in emphasis, or in a heading: there it says what the term means."""
    text = "\n".join("".join(cell["source"]) for cell in read_cells(path) if cell["cell_type"] == "markdown")
    set_apart = "\n".join(found[0] for found in re.finditer(MARKS.pattern + r"|^#+ .*$", text, re.MULTILINE))
    return matcher(names).search(set_apart) is not None


def names_of(entry: str, terms: tuple[Term, ...]) -> tuple[str, ...]:
    """All names of an entry."""
    return longest_first(term.name for term in terms if term.entry == entry)
