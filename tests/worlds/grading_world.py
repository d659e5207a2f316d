"""The cells of an assignment's source run in this process, on a made-up world: quick, and what nbgrader runs."""

import ast
import contextlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nbformat
import torch
import torch.nn.functional as F

BOOK = Path(__file__).resolve().parents[2] / "book"
GRADING = BOOK / "instructor" / "grading"
NUMBERS = (1, 2)
SOURCES = {n: GRADING / "source" / f"assignment_{n}" / f"assignment_{n}.ipynb" for n in NUMBERS}
RELEASED = {n: BOOK / "instructor" / "assignments" / f"assignment_{n}.ipynb" for n in NUMBERS}
CELLS = {n: nbformat.read(path, as_version=4).cells for n, path in SOURCES.items()}
SAMPLES = {n: sorted(GRADING.glob(f"samples/assignment_{n}/*.py")) for n in NUMBERS}


@dataclass(frozen=True)
class Item:
    """A hidden test: the task before it, its points, and what its first line says that they are for."""

    task: str
    points: int
    about: str


def items(number: int) -> dict[str, Item]:
    """The hidden tests of an assignment by name."""
    found, task = {}, ""
    for cell in CELLS[number]:
        facts = cell.metadata.get("nbgrader", {})
        if facts.get("solution") and cell.cell_type == "code":
            task = facts["grade_id"]
        elif facts.get("points") and cell.cell_type == "code":
            about = re.match(r"# Hidden test: (.*) \((\d) points?\)\.\n", cell.source)
            assert int(about[2]) == facts["points"], facts["grade_id"]
            found[facts["grade_id"]] = Item(task, facts["points"], about[1])
    return found


ITEMS = {number: items(number) for number in NUMBERS}
TASKS = {n: list(dict.fromkeys(item.task for item in ITEMS[n].values())) for n in NUMBERS}


def by_hand(number: int) -> list[str]:
    """What the written answer is marked by: `2 points: says ...`."""
    (cell,) = [c for c in CELLS[number] if c.metadata.get("nbgrader", {}).get("grade_id") == "written_answer"]
    return re.findall(r"^- (\d points?: .*)\.$", cell.source, re.MULTILINE)


def mistake(sample: Path) -> tuple[str, set[str]]:
    """What a sample does wrong, and the items that it loses for it."""
    text = ast.get_docstring(ast.parse(sample.read_text(encoding="utf-8")))
    number = int(sample.parent.name[-1])
    said, _, lost = text.partition("\n\nLoses: ")
    return " ".join(said.split()), set(ITEMS[number]) if lost == "everything" else set(lost.split(", "))


def world(seed: int) -> dict:
    """What stands for encoded phantoms: even classes in a cone, texts that lie elsewhere, and 20 lines a class."""
    draw = torch.Generator().manual_seed(seed)
    centres = 0.35 * torch.randn(4, 64, generator=draw)
    labels = torch.arange(240) % 4
    common = 2 * F.normalize(torch.randn(64, generator=draw), dim=0)
    images = F.normalize(common + centres[labels] + 0.35 * torch.randn(240, 64, generator=draw), dim=1)
    lines = [F.normalize(c + 0.6 * torch.randn(20, 64, generator=draw), dim=1) for c in centres]
    names = F.normalize(centres + 0.6 * torch.randn(4, 64, generator=draw), dim=1)
    return {"images": images, "labels": labels, "names": names, "descriptions": lines}


def space_of(number: int, solution: str | None, seed: int) -> dict:
    """What a kernel holds before the hidden tests run: the solution of the source, or the text given in its place."""
    space, kinds = {"torch": torch, "__name__": "__main__"}, {"solution": [], "grader": []}
    for cell in CELLS[number]:
        facts = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and facts.get("solution"):
            kinds["solution"].append(cell.source)
        elif facts.get("grade_id", "").startswith("grader"):
            kinds["grader"].append(cell.source)
    with contextlib.suppress(Exception):  # as in a kernel: that cell is lost
        exec("\n".join(kinds["solution"]) if solution is None else solution, space)
    with mock.patch.dict(os.environ, {"KPL_SEED": str(seed)}):
        for source in kinds["grader"]:
            exec(source, space)
    space["grader"].phantoms = lambda: world(seed)
    return space


def messages(number: int, solution: str | None, seed: int) -> dict[str, str]:
    """Item -> message of a submission; no message means that it is won."""
    space = space_of(number, solution, seed)
    for cell in CELLS[number]:
        if cell.metadata.get("nbgrader", {}).get("grade_id") in ITEMS[number]:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(cell.source, space)
    return dict(space["grader"].marks)


def code_lines(source: str) -> set[str]:
    """The lines of a text that say something: long enough, and no definition, import or comment."""
    lines = (re.sub(r"\s+", " ", text).strip() for text in source.splitlines())
    return {
        text
        for text in lines
        if len(text) > 25 and not text.startswith(("def ", "import ", "from ", '"""', "#"))
    }


def secrets(number: int) -> set[str]:
    """The lines of the solution."""
    cells = [c for c in CELLS[number] if "task" in c.metadata.get("tags", [])]
    return code_lines("\n".join(cell.source for cell in cells))
