"""Self-check questions onto their pages, and to quiz systems: `make self-checks` runs this file.

A page shows its questions as fold-outs under "Check yourself", before its summary: in a notebook as one cell
tagged `self-check`, in a Markdown page as one section. Questions to predict stand in the flow of a notebook: the
author puts cells tagged `predict` where they belong, and they are filled in the order of the file.
`_build/self-checks.json` and `.gift` carry all questions.
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
LEADS = {
    "recall": "Questions that this page answers. Answer in your own words, then unfold.",
    "transfer": "Questions with new numbers: take paper.",
}
PREDICT = "predict"
FOLLOWING = re.compile(
    r"^## (?:Summary|What['’]s next|Further reading)", re.MULTILINE
)  # stands after the block
SECTION = re.compile(r"^## Check yourself\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def fold_out(title: str, one: Question) -> str:
    """The answer of a question, folded under a title; where it stands in the flow, its section is known."""
    where = "" if one.kind == PREDICT else f"\n\n*Section:* {one.section}"
    return f":::{{dropdown}} {title}\n{one.answer}\n\n*Why?* {one.why}{where}\n:::"


def render(questions: list[Question], answers: bool = True) -> str:
    """The block of a page: fold-out questions, or for a student edition the questions alone."""
    numbered = enumerate((one for one in questions if one.kind != PREDICT), start=1)
    asked = [(one.kind, f"{number}. {one.question}", one) for number, one in numbered]
    blocks = [HEADING]
    for kind, lead in LEADS.items():
        found = [fold_out(title, one) if answers else title for of, title, one in asked if of == kind]
        if found:
            blocks += [lead if answers else lead.partition(".")[0] + ".", *found]
    return "\n\n".join(blocks)


def predict(one: Question, answers: bool = True) -> str:
    """The cell of a question that is asked before its answer comes."""
    inner = f"\n\n{fold_out('Then compare', one)}" if answers else ""
    return f"::::{{admonition}} Before you read on\n:class: predict\n{one.question}{inner}\n::::"


def fill_predictions(notebook: dict, questions: list[Question], answers: bool = True) -> None:
    """Write the questions to predict into the cells that wait for them."""
    cells = [cell for cell in notebook["cells"] if PREDICT in cell["metadata"].get("tags", [])]
    asked = [one for one in questions if one.kind == PREDICT]
    if len(cells) != len(asked):
        raise ValueError(
            f"{len(asked)} questions to predict, {len(cells)} cells tagged {PREDICT!r} on the page"
        )
    for cell, one in zip(cells, asked, strict=True):
        cell["source"] = predict(one, answers).splitlines(keepends=True)


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
    notebook = json.loads(text)
    try:
        fill_predictions(notebook, questions, answers)
    except ValueError as error:
        raise ValueError(f"{page.name}: {error}") from None
    return json.dumps(place_in_notebook(notebook, block), indent=1, ensure_ascii=False) + "\n"


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
