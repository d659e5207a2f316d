"""Self-check questions onto their pages, and to quiz systems: `make self-checks` runs this file.

A page shows its questions as fold-outs under "Check yourself", before its summary: in a notebook as one cell
tagged `self-check`, in a Markdown page as one section. `_build/self-checks.json` and `.gift` carry all of them.
"""

import json
import re
import sys
from pathlib import Path

from book.tools.building.setup_cell import ROOT
from book.tools.teaching.questions import Question, load_all, page_of
from book.tools.teaching.quiz_export import export

TAG = "self-check"
HEADING = "## Check yourself"
LEAD = "Ten questions that this page answers. Answer in your own words, then unfold."
LEAD_OPEN = "Ten questions that this page answers."
FOLLOWING = re.compile(
    r"^## (?:Summary|What['’]s next|Further reading)", re.MULTILINE
)  # stands after the block
SECTION = re.compile(r"^## Check yourself\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def render(questions: list[Question], answers: bool = True) -> str:
    """The block of a page: fold-out questions, or for a student edition the questions alone."""
    if not answers:
        lines = [f"{number}. {one.question}" for number, one in enumerate(questions, start=1)]
        return "\n".join([HEADING, "", LEAD_OPEN, "", *lines])
    blocks = [
        f":::{{dropdown}} {number}. {one.question}\n{one.answer}\n\n*Why?* {one.why}\n\n*Section:* {one.section}\n:::"
        for number, one in enumerate(questions, start=1)
    ]
    return "\n\n".join([HEADING, LEAD, *blocks])


def place_in_notebook(notebook: dict, block: str) -> dict:
    """The notebook with the block as one cell of its own before the summary."""
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        start = FOLLOWING.search(source) if cell["cell_type"] == "markdown" else None
        if TAG in cell["metadata"].get("tags", []):
            continue
        if start is None or not block:
            cells.append(cell)
            continue
        parts = [
            (cell["metadata"], source[: start.start()]),
            ({"tags": [TAG]}, block),
            (cell["metadata"], source[start.start() :]),
        ]
        block = ""
        for metadata, part in parts:
            if part.strip():
                lines = part.strip("\n").splitlines(keepends=True)
                cells.append({"cell_type": "markdown", "metadata": metadata, "source": lines})
    if block:
        raise ValueError("the page has no heading `## Summary`, which follows the questions")
    numbered = [{"cell_type": c["cell_type"], **c, "id": str(i)} for i, c in enumerate(cells)]
    return notebook | {"cells": [{key: cell[key] for key in sorted(cell)} for cell in numbered]}


def place_in_markdown(page: str, block: str) -> str:
    """The Markdown page with the block as a section before its summary, or at its end."""
    page = SECTION.sub("", page)
    start = FOLLOWING.search(page)
    at = start.start() if start else len(page)
    return f"{page[:at].rstrip()}\n\n{block}\n\n{page[at:]}".rstrip() + "\n"


def headings(page: Path) -> list[str]:
    """The headings below the title of a page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return [found.strip() for found in re.findall(r"^#{2,4} (.+)$", text, re.MULTILINE)]


def place(page: Path, questions: list[Question], answers: bool = True) -> str:
    """The text of the page's file with its questions.

    Raises:
        ValueError: if a question names a section that the page does not have.
    """
    known = headings(page)
    for one in questions:
        if one.section not in known:
            raise ValueError(f"{one.id}: {page.name} has no heading {one.section!r}")
    text, block = page.read_text(encoding="utf-8"), render(questions, answers)
    if page.suffix == ".md":
        return place_in_markdown(text, block)
    return json.dumps(place_in_notebook(json.loads(text), block), indent=1, ensure_ascii=False) + "\n"


def changes(book: Path, names: list[str] | None = None) -> dict[Path, str]:
    """The pages that differ from their questions, with the text they should have."""
    new = {}
    for name, questions in load_all(book, names).items():
        page = page_of(name, book)
        text = place(page, questions)
        if text != page.read_text(encoding="utf-8"):
            new[page] = text
    return new


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write the questions onto their pages, or onto the named ones; give the exit code."""
    try:
        new = changes(root / "book", arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for page, text in new.items():
        page.write_text(text, encoding="utf-8")
    if not arguments:
        pages = {name: found for name, found in load_all(root / "book").items() if not name.startswith("_")}
        written = export(pages, root / "_build")
        print(*(file.relative_to(root).as_posix() for file in written), sep="\n")
    print(f"{len(new)} pages changed", *(page.relative_to(root).as_posix() for page in new), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
