"""A chapter as its students get it: no solutions, a cell to write in for each of them, questions without answers."""

import re
from collections.abc import Iterator

from nbformat.v4 import new_code_cell

from book.tools.teaching.questions import Question
from book.tools.teaching.self_checks import TAG, fill_predictions, place_in_markdown, render

FENCE = re.compile(
    r"^(?P<colons>:{3,})\{(?P<kind>exercise|solution)(?P<gate>-start|-end)?\}\s*(?P<title>.*?)\s*$"
)
EXERCISE = re.compile(
    r"^:{3,}\{exercise(?:-start)?\}(.*)\n(?::(?!label)\S+:.*\n)*:label:\s*(\S+)", re.MULTILINE
)
WRITE = ["exercise", "raises-exception"]  # tags of a cell that a student replaces; only these may raise
ANSWER = "*Write your answer here.*"


def pieces(cells: list[dict]) -> Iterator[tuple[str, dict]]:
    """The cells cut at the borders of solutions, each with the label of the solution that it belongs to, or ""."""
    label, until = "", ""
    for cell in cells:
        if cell["cell_type"] != "markdown":
            yield label, cell
            continue
        kept: list[str] = []
        for line in "".join(cell["source"]).splitlines(keepends=True):
            fence = FENCE.match(line)
            if fence and fence["kind"] == "solution" and fence["gate"] != "-end":
                yield label, cell | {"source": kept}
                kept, label, until = [], fence["title"], "" if fence["gate"] else fence["colons"]
            elif fence and fence["kind"] == "solution":
                until = fence["colons"]  # of the last fence of a gated solution
            kept.append(line)
            if until and line.rstrip() == until:
                yield label, cell | {"source": kept}
                kept, label, until = [], "", ""
        yield label, cell | {"source": kept}


def titles(cells: list[dict]) -> dict[str, str]:
    """The title of each exercise by its label."""
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return {label: title.strip() for title, label in EXERCISE.findall(prose)}


def to_write(title: str, code: bool) -> dict:
    """What stands in the place of a solution: a cell that raises until it is written, or a line for an answer."""
    if not code:
        return {"cell_type": "markdown", "metadata": {"tags": WRITE[:1]}, "source": [ANSWER]}
    message = f"Exercise {title}: write your code here, in place of this line"
    return new_code_cell(f"raise NotImplementedError({message!r})", metadata={"tags": WRITE})


def without_solutions(cells: list[dict]) -> list[dict]:
    """The cells without solutions; one cell to write in stands for each."""
    named, kept, current, code = titles(cells), [], "", False
    for solution, cell in [*pieces(cells), ("", {"cell_type": "markdown", "metadata": {}, "source": []})]:
        if current and solution != current:
            kept.append(to_write(named[current], code))
            code = False
        code = code or bool(solution and cell["cell_type"] == "code")
        current = solution
        text = "".join(cell["source"]).strip("\n")
        if not solution and text:
            kept.append(cell | {"source": text.splitlines(keepends=True)})
    return kept


def student_notebook(notebook: dict, questions: list[Question]) -> dict:
    """The notebook of a chapter for students: also without the table of its claims, some of which quote solutions."""
    asked = {"source": render(questions, answers=False).splitlines(keepends=True)}
    cells = [
        cell | (asked if TAG in cell["metadata"].get("tags", []) else {})
        for cell in without_solutions(notebook["cells"])
        if not "".join(cell["source"]).startswith("notebook.claims(")
    ]
    made = notebook | {"cells": [cell | {"id": str(number)} for number, cell in enumerate(cells)]}
    fill_predictions(made, questions, answers=False)
    return made


def student_page(text: str, questions: list[Question]) -> str:
    """A Markdown page for students."""
    cells = without_solutions([{"cell_type": "markdown", "metadata": {}, "source": [text]}])
    page = "\n\n".join("".join(cell["source"]) for cell in cells) + "\n"
    return place_in_markdown(page, render(questions, answers=False)) if questions else page
