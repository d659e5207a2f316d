"""Grade a folder of submissions: `make grade SUBMISSIONS=folder`, or this file where there is no make.

Writes grades.csv, grades.json and one feedback file for each submission. The reference solution is graded
first: if it loses a point, this installation is at fault and nobody is graded.
"""

import argparse
import csv
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from book.tools.grading.run import Grade, Rubric, grade, read_rubric
from book.tools.grading.submission import SUFFIXES
from kpl_lib.datasets import load_dataset
from kpl_lib.encoders import load_encoder
from kpl_lib.knowledge import KnowledgeBase

ROOT = Path(__file__).resolve().parents[3]
IMAGES = 240  # phantoms of the experiments


def read_seed(text: str) -> int:
    """The seed that is asked for, or a new one.

    Raises:
        ValueError: if it is no whole number from 0 on.
    """
    if text and not (text.isascii() and text.isdigit() and int(text) < 2**31):
        raise ValueError(f"SEED={text} is no whole number from 0 to {2**31 - 1}")
    return int(text) if text else secrets.randbelow(2**31)


def submissions(name: str) -> dict[str, Path]:
    """Name -> file: every notebook and Python file of a folder and the folders in it, or the one file given.

    Raises:
        ValueError: if there is none.
    """
    if not name:
        raise ValueError("say what to grade: make grade SUBMISSIONS=folder")
    place = Path(name)
    if place.is_file() and place.suffix in SUFFIXES:
        return {place.name: place}
    if not place.is_dir():
        raise ValueError(f"SUBMISSIONS={place} is no folder, notebook or Python file")
    files = [path for path in sorted(place.rglob("*")) if path.is_file() and path.suffix in SUFFIXES]
    inner = {path: path.relative_to(place) for path in files}
    found = {
        str(name.as_posix()): path
        for path, name in inner.items()
        if not any(part.startswith((".", "__")) for part in name.parts)
    }
    if not found:
        raise ValueError(f"SUBMISSIONS={place} holds no .ipynb and no .py file")
    return found


def draw_phantoms(rubric: Rubric, seed: int, file: Path) -> None:
    """Write the encoded phantoms of a run: a set and an order of the classes that follow from the seed."""
    draw = torch.Generator().manual_seed(seed)
    name = rubric.phantoms[int(torch.randint(len(rubric.phantoms), (1,), generator=draw))]
    encoder = load_encoder("phantom")
    dataset = load_dataset(name, split="dev", n=IMAGES)
    features = encoder.encode_images(dataset, progress=False)
    bank = encoder.encode_knowledge(KnowledgeBase.load(name), progress=False)
    order = torch.randperm(len(bank.class_names), generator=draw)
    images = torch.randperm(IMAGES, generator=draw)
    torch.save(
        {
            "images": features.images[images],
            "labels": order.argsort()[features.labels[images]],
            "names": bank.names[order],
            "descriptions": [bank.descriptions[c] for c in order],
        },
        file,
    )


def grade_all(files: dict[str, Path], rubric: Rubric, seed: int, jobs: int) -> list[Grade]:
    """The grade of each submission, in the order of the files.

    Raises:
        ValueError: if the reference solution does not get all points.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        phantoms = Path(folder) / "phantoms.pt"
        draw_phantoms(rubric, seed, phantoms)
        check = grade("reference.py", rubric.folder / "reference.py", rubric, phantoms, seed)
        if check.points != rubric.points:
            lost = next(mark for mark in check.marks if mark.message)
            reason = f"{lost.item.id}: {lost.message}"
            raise ValueError(f"the reference solution loses points here, so nobody was graded ({reason})")
        with ThreadPoolExecutor(jobs) as pool:
            work = [pool.submit(grade, name, path, rubric, phantoms, seed) for name, path in files.items()]
            return [one.result() for one in work]


def feedback(one: Grade, rubric: Rubric) -> str:
    """What a student reads: each item with its points, and what was wrong."""
    lines = [f"# {rubric.title}", "", f"{one.name}: {one.points} of {rubric.points} points by the tests.", ""]
    for mark in one.marks:
        lines.append(f"- {mark.points} of {mark.item.points}: {mark.item.about}.")
        if mark.message:
            lines.append(f"  {mark.message}")
    lines += ["", "By hand:", ""]
    lines += [f"- __ of {points}: {about}." for points, about in rubric.by_hand]
    return "\n".join(lines) + "\n"


def write(grades: Sequence[Grade], rubric: Rubric, seed: int, out: Path) -> None:
    """Write grades.csv, grades.json and feedback/."""
    (out / "feedback").mkdir(parents=True, exist_ok=True)
    for one in grades:
        name = one.name.replace("/", "__") + ".md"
        (out / "feedback" / name).write_text(feedback(one, rubric), encoding="utf-8")
    with (out / "grades.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["submission", "points", "of", "by hand", *(item.id for item in rubric.items)])
        table.writerows([g.name, g.points, rubric.points, "", *(m.points for m in g.marks)] for g in grades)
    rows = [
        {
            "submission": one.name,
            "points": one.points,
            "seconds": round(one.seconds, 1),
            "items": [
                {"id": m.item.id, "points": m.points, "of": m.item.points, "message": m.message}
                for m in one.marks
            ],
        }
        for one in grades
    ]
    facts = {"title": rubric.title, "seed": seed, "of": rubric.points, "submissions": rows}
    (out / "grades.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def table(grades: Sequence[Grade], rubric: Rubric) -> str:
    """Points by task, for the screen."""
    tasks = list(dict.fromkeys(item.task for item in rubric.items))
    of = [sum(item.points for item in rubric.items if item.task == task) for task in tasks]
    rows = [["submission", *(f"{task} /{points}" for task, points in zip(tasks, of, strict=True)), "all"]]
    for one in grades:
        parts = [sum(m.points for m in one.marks if m.item.task == task) for task in tasks]
        rows.append([one.name, *map(str, parts), f"{one.points} of {rubric.points}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade what the command line names; 0, or 2 with one line where that is not possible."""
    parser = argparse.ArgumentParser(description="Grade submissions of an assignment.")
    parser.add_argument("submissions", help="a folder of notebooks and .py files, or one of them")
    parser.add_argument("--assignment", default="1")
    parser.add_argument("--seed", default="", help="repeats a run; a new one is drawn otherwise")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "grades")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time")
    given = parser.parse_args(arguments)
    try:
        seed = read_seed(given.seed)
        rubric = read_rubric(given.assignment)
        grades = grade_all(submissions(given.submissions), rubric, seed, given.jobs)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out = given.out / f"assignment_{given.assignment}"
    write(grades, rubric, seed, out)
    print(table(grades, rubric), f"seed {seed}; {out / 'grades.csv'}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
