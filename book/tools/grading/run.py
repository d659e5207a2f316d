"""Grade one submission: a child process runs the hidden tests, and this one watches the clock.

A child that hangs or dies loses the item it was at. The next child goes on behind it, and the other items of
the same task are not tried again: they call the same function.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
GRADING = ROOT / "book" / "instructor" / "grading"
CHILD = Path(__file__).with_name("child.py")
START, ITEM, TOTAL = 45.0, 10.0, 110.0  # seconds: until a file has been read, for one item, for a submission


@dataclass(frozen=True)
class Item:
    """One line of a rubric."""

    id: str
    task: str
    points: int
    about: str


@dataclass(frozen=True)
class Rubric:
    """What an assignment is graded by."""

    folder: Path
    title: str
    notebook: str
    phantoms: tuple[str, ...]
    items: tuple[Item, ...]
    by_hand: tuple[tuple[int, str], ...]

    @property
    def points(self) -> int:
        """What the hidden tests can give."""
        return sum(item.points for item in self.items)


@dataclass(frozen=True)
class Mark:
    """One item of one submission: no message means that it is won."""

    item: Item
    message: str

    @property
    def points(self) -> int:
        """The points that it brings."""
        return 0 if self.message else self.item.points


@dataclass(frozen=True)
class Grade:
    """A graded submission."""

    name: str
    marks: tuple[Mark, ...]
    seconds: float

    @property
    def points(self) -> int:
        """The sum."""
        return sum(mark.points for mark in self.marks)


def read_rubric(number: int | str, grading: Path = GRADING) -> Rubric:
    """The rubric of an assignment.

    Raises:
        ValueError: if there is no such assignment.
    """
    path = grading / f"assignment_{number}" / "rubric.yml"
    if not path.is_file():
        have = ", ".join(sorted(p.parent.name[-1] for p in grading.glob("assignment_*/rubric.yml")))
        raise ValueError(f"there is no assignment {number}: give one of {have}")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Rubric(
        folder=path.parent,
        title=raw["title"],
        notebook=raw["notebook"],
        phantoms=tuple(raw["phantoms"]),
        items=tuple(Item(i["id"], i["task"], i["points"], i["for"]) for i in raw["items"]),
        by_hand=tuple((i["points"], i["for"]) for i in raw["by_hand"]),
    )


def read_events(path: Path) -> list[dict]:
    """The events so far; a line that is being written is left for later."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    events = []
    for text in lines:
        with contextlib.suppress(json.JSONDecodeError):
            events.append(json.loads(text))
    return events


def watch(child: subprocess.Popen, events: Path, deadline: float) -> str:
    """Wait for a child; give the empty text if it ended by itself, else what was wrong, and end it."""
    first = count = len(read_events(events))
    since = time.monotonic()
    while child.poll() is None:
        time.sleep(0.05)
        found = len(read_events(events))
        if found != count:
            count, since = found, time.monotonic()
        limit = ITEM if count > first + 1 else START  # the first event is the beginning of the reading
        if time.monotonic() > deadline:
            reason = f"the {TOTAL:.0f} seconds of one submission were used up"
        elif time.monotonic() - since > limit:
            reason = f"no end after {limit:.0f} seconds: is there a loop that never stops?"
        else:
            continue
        child.kill()
        child.wait()
        return reason
    return ""


def run_child(job: Path, folder: Path) -> subprocess.Popen:
    """Start a child on a job; what a submission prints goes nowhere."""
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COV_"))}
    paths = os.pathsep.join([str(GRADING), str(ROOT), clean.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(job)],
        cwd=folder,
        env=clean | quiet | {"PYTHONPATH": paths},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def messages_of(rubric: Rubric, events: Sequence[dict], reasons: dict[str, str]) -> dict[str, str]:
    """Item -> message, of the items that are decided."""
    done = {e["item"]: e["message"] for e in events if e["state"] == "done"}
    found = {item.id: done[item.id] for item in rubric.items if item.id in done}
    for item in rubric.items:
        if item.id in reasons:
            found[item.id] = reasons[item.id]
        for other in rubric.items:
            if other.task == item.task and other.id in reasons and item.id not in found:
                found[item.id] = f"not tried: {item.task} hung or ended the program before"
    return found


def grade(name: str, file: Path, rubric: Rubric, phantoms: Path, seed: int) -> Grade:
    """Grade one file. Whatever the file does, there is a grade with one line for each lost item."""
    started, reasons = time.monotonic(), {}
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        home, work = Path(place) / "home", Path(place) / "work"
        home.mkdir(), work.mkdir()
        events, job, settings = home / "events.jsonl", home / "job.json", home / "pytest.ini"
        settings.write_text("[pytest]\npython_files = hidden.py\n")
        facts = {"submission": file.resolve(), "hidden": rubric.folder / "hidden.py", "events": events}
        facts |= {"settings": settings, "phantoms": phantoms}
        while len(found) < len(rubric.items):
            texts = {key: str(value) for key, value in facts.items()}
            job.write_text(json.dumps(texts | {"seed": seed, "finished": sorted(found)}), encoding="utf-8")
            before = len(read_events(events))
            child = run_child(job, work)
            reason = watch(child, events, started + TOTAL)
            now = read_events(events)
            if now[before:] and now[-1] == {"item": "end", "state": "done", "message": ""}:
                found = messages_of(rubric, now, reasons)
                break
            reason = reason or "the program was ended from inside (by exit, or for lack of memory)"
            at = now[-1]["item"] if now[before:] else "load"
            if at == "load" or time.monotonic() - started > TOTAL:
                found = messages_of(rubric, now, reasons)
                where = "while the file was read: " if at == "load" else ""
                found = {item.id: found.get(item.id, where + reason) for item in rubric.items}
                break
            reasons[at] = reason
            found = messages_of(rubric, now, reasons)
    marks = (Mark(item, found.get(item.id, "the hidden test did not run")) for item in rubric.items)
    return Grade(name, tuple(marks), time.monotonic() - started)
