"""The terms of the glossary and where each page first uses them.

    python -m book.tools glossary     prints first uses that a new reader would stumble over

Pages count in the order of the table of contents. On every page before the one that the glossary entry names, the
first use of a term in the prose is

- a link: {term}, a sentence with a {ref} to the page that explains it, or a row of a table that ends in a {ref};
- or its explanation: set in *emphasis* or **bold**, or the head of a definition list.

On the page that explains it the same holds, unless the page sets the term in emphasis or in a heading somewhere. On
later pages it is known. One name of an entry counts for all its names.

Code, formulas, headings, captions and alt texts do not count as uses.
"""

import sys
from pathlib import Path

from book.tools.rules.glossary_terms import Term, Use, entries, explains, names_of, uses
from book.tools.rules.page_text import BOOK, labels_of, toc_pages

ASIDE = ("glossary", "bibliography", "changelog")
ASIDE_FOLDERS = ("api", "instructor")


def reading_pages() -> list[Path]:
    """The pages that are read from first to last."""
    pages = toc_pages(BOOK)
    return [path for path in pages if path.stem not in ASIDE and path.parent.name not in ASIDE_FOLDERS]


def glossary() -> tuple[Term, ...]:
    """The terms of `book/glossary.md`."""
    return tuple(entries((BOOK / "glossary.md").read_text(encoding="utf-8")))


def lost(terms: tuple[Term, ...], labels: dict[str, Path]) -> list[str]:
    """Entries that name no page, or a page that never uses the term."""
    found = [
        f"{term.name}: its entry names no page by See {{ref}}" for term in terms if term.label not in labels
    ]
    for term in terms:
        page, names = labels.get(term.label), names_of(term.entry, terms)
        if page and term.name == term.entry and not explains(page, names):
            used = {use.entry for use in uses(page, terms)}
            found += [] if term.entry in used else [f"{term.name}: {page.stem} never uses it"]
    return found


def findings(pages: list[Path], terms: tuple[Term, ...], labels: dict[str, Path]) -> list[tuple[Path, Use]]:
    """First uses that are neither linked nor explained, up to the page that explains the term."""
    order, found = {path: place for place, path in enumerate(pages)}, []
    home = {term.entry: labels.get(term.label) for term in terms}
    for place, path in enumerate(pages):
        for use in uses(path, terms):
            early = place < order.get(home[use.entry], -1)
            unexplained = path == home[use.entry] and not explains(path, names_of(use.entry, terms))
            if not use.marked and (early or unexplained):
                found.append((path, use))
    return found


def main() -> int:
    """Print the findings; 1 if there are any."""
    labels, terms = labels_of(toc_pages(BOOK)), glossary()
    found, astray = findings(reading_pages(), terms, labels), lost(terms, labels)
    for path, use in found:
        print(f"{path.stem}: {use.word} ({use.entry}): {' '.join(use.sentence.split())[:150]}")
    print(*astray, f"{len(found)} plain first uses, {len(astray)} lost entries", sep="\n")
    return int(bool(found or astray))


if __name__ == "__main__":
    sys.exit(main())
