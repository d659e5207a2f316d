"""Grade a folder of submissions with nbgrader: `make grade SUBMISSIONS=folder`, or this file where there is no make.

Lays a course directory of nbgrader into `_build/grades`, with the submissions in it, and calls nbgrader. Ours is only
what nbgrader leaves to its user: numbers that are new in each run and the same for all, a guard in the kernel, and the
solution, which is graded first: if it loses a point, this installation is at fault and nobody is graded.
"""

import argparse
import csv
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[3]
GRADING = ROOT / "book" / "instructor" / "grading"
SOLUTION = "0_solution"  # the student who hands in the source
SUFFIXES = (".ipynb", ".py")


def read_seed(text: str) -> int:
    """The seed that is asked for, or a new one; a ValueError if it is not a whole number from 0 on."""
    if text and not (text.isascii() and text.isdigit() and int(text) < 2**31):
        raise ValueError(f"SEED={text} is not a whole number from 0 to {2**31 - 1}")
    return int(text) if text else secrets.randbelow(2**31)


def source_of(number: str) -> Path:
    """The source notebook of an assignment; a ValueError if there is no such assignment."""
    found = GRADING / "source" / f"assignment_{number}" / f"assignment_{number}.ipynb"
    if not found.is_file():
        have = ", ".join(sorted(path.name[-1] for path in GRADING.glob("source/assignment_*")))
        raise ValueError(f"there is no assignment {number}: give one of {have}")
    return found


def submissions(name: str) -> dict[str, Path]:
    """Student -> file: every notebook and Python file of a folder, or the one file given; a ValueError if none."""
    if not name:
        raise ValueError("say what to grade: make grade SUBMISSIONS=folder")
    place = Path(name)
    if not place.exists():
        raise ValueError(f"SUBMISSIONS={place} is no folder, notebook or Python file")
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    inner = {path: path.relative_to(place.parent if place.is_file() else place) for path in files}
    found = {
        "__".join(inside.with_suffix("").parts): path
        for path, inside in inner.items()
        if path.suffix in SUFFIXES and not any(part.startswith((".", "__")) for part in inside.parts)
    }
    if not found:
        raise ValueError(f"SUBMISSIONS={place} holds no .ipynb and no .py file")
    return found


def hand_in(file: Path, source: Path, target: Path) -> None:
    """Put a submission where nbgrader looks for it; a Python file stands in the first cell that is to be written."""
    target.parent.mkdir(parents=True)
    if file.suffix == ".ipynb":
        shutil.copy(file, target)
        return
    notebook = nbformat.read(source, as_version=4)
    todo = [cell for cell in notebook.cells if "task" in cell.metadata.get("tags", [])]
    for cell, text in zip(todo, [file.read_text("utf-8", errors="replace"), *[""] * len(todo)], strict=False):
        cell.source = text
    nbformat.write(notebook, target)


def nbgrader(course: Path, seed: int, command: str, *arguments: str) -> None:
    """Call nbgrader in the course directory; what it says goes into `nbgrader.log`."""
    start = course / "ipython" / "profile_default" / "startup"
    start.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("guard.py"), start)
    settings = {"KPL_SEED": str(seed), "IPYTHONDIR": str(course / "ipython"), "OMP_NUM_THREADS": "1"}
    settings |= {"KPL_HIDDEN": os.pathsep.join([str(course), str(GRADING)])}
    settings |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}  # alembic
    call, still = [sys.executable, "-m", "nbgrader", command, *arguments], subprocess.DEVNULL
    with (course / "nbgrader.log").open("a", encoding="utf-8") as log:
        subprocess.run(call, cwd=course, env=os.environ | settings, stdin=still, stdout=log, stderr=log)


def marks(course: Path, assignment: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Student -> item -> points and how many there are; a submission that could not be run has no items."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        found = {}
        for one in book.assignment_submissions(assignment):
            ran = (course / "autograded" / one.student.id / assignment).is_dir()
            grades = [grade for notebook in one.notebooks for grade in notebook.grades if ran]
            items = {g.name: (g.auto_score or 0.0, g.max_score) for g in grades if g.cell.cell_type == "code"}
            found[one.student.id] = {name: points for name, points in items.items() if points[1]}
        return found


def grade_all(files: dict[str, Path], number: str, seed: int, course: Path) -> dict:
    """The marks of the solution, graded first, and of all submissions; a ValueError if the solution loses a point."""
    source, assignment = source_of(number), f"assignment_{number}"
    shutil.rmtree(course, ignore_errors=True)
    shutil.copytree(source.parent, course / "source" / assignment)
    shutil.copy(GRADING / "nbgrader_config.py", course)
    for student, file in ({SOLUTION: source} | files).items():
        hand_in(file, source, course / "submitted" / student / assignment / source.name)
    nbgrader(course, seed, "generate_assignment", assignment, "--create")
    nbgrader(course, seed, "autograde", assignment, f"--student={SOLUTION}")
    solved = marks(course, assignment).get(SOLUTION)
    if not solved or any(got < of for got, of in solved.values()):
        lost = [item for item, (got, of) in (solved or {}).items() if got < of] or ["it could not be run"]
        raise ValueError(
            f"the solution loses points here, so nobody was graded ({lost[0]}): {course}/nbgrader.log"
        )
    nbgrader(course, seed, "autograde", assignment)
    nbgrader(course, seed, "generate_feedback", assignment)
    return marks(course, assignment)


def release(number: str, target: Path) -> None:
    """Write what students get, as `nbstripout` likes it: no solution, no hidden test, a number for each cell."""
    source, assignment = source_of(number), f"assignment_{number}"
    with tempfile.TemporaryDirectory() as place:
        course = Path(place)
        shutil.copytree(source.parent, course / "source" / assignment)
        shutil.copy(GRADING / "nbgrader_config.py", course)
        nbgrader(course, 0, "generate_assignment", assignment, "--create")
        notebook = nbformat.read(course / "release" / assignment / source.name, as_version=4)
    for count, cell in enumerate(notebook.cells):
        cell.id = str(count)
    nbformat.write(notebook, target)


def report(found: dict, seed: int, course: Path) -> None:
    """Write grades.csv, a row for each submission and a column for each item, and print the sums."""
    solved = found.pop(SOLUTION)
    of = sum(points for _, points in solved.values())
    with (course / "grades.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["submission", "points", "of", "seed", *solved])
        for student, items in sorted(found.items()):
            got = [items.get(item, (0.0, 0))[0] for item in solved]
            table.writerow([student, sum(got), of, seed, *got])
            said = "" if items else ": it could not be run, see nbgrader.log"
            print(f"{student:24} {sum(got):4.0f} of {of:.0f}{said}")
    print(f"seed {seed}; {course / 'grades.csv'}; what students read: {course / 'feedback'}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade what the command line names; 0, or 2 with one line where that is not possible."""
    parser = argparse.ArgumentParser(description="Grade submissions of an assignment.")
    parser.add_argument(
        "submissions", nargs="?", default="", help="a folder of notebooks and .py files, or one"
    )
    parser.add_argument("--release", action="store_true", help="write the notebook for students instead")
    parser.add_argument("--assignment", default="1")
    parser.add_argument("--seed", default="", help="repeats a run; a new one is drawn otherwise")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "grades")
    given = parser.parse_args(arguments)
    try:
        seed = read_seed(given.seed)
        source = source_of(given.assignment)
        if given.release:
            release(given.assignment, GRADING.parent / "assignments" / source.name)
            return 0
        course = given.out.resolve() / f"assignment_{given.assignment}"
        report(grade_all(submissions(given.submissions), given.assignment, seed, course), seed, course)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
