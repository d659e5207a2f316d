"""A small benchmark: two phantom sets of 24 images, two classifiers, 13 runs; and a runner to kill."""

import json
import os
import signal
import time
from pathlib import Path

from kpl_lib import datasets  # noqa: F401 (imported before workers are forked)
from kpl_lib.benchmark import Grid, run
from kpl_lib.benchmark.runner import outcomes

SETS = ("phantom-chest/unseen/even", "phantom-malaria/unseen/skewed")


def small_grid(**change) -> dict:
    """A grid as its file holds it."""
    pool = {"name": "phantom-chest/unseen/even/dev", "n": 12}
    return {
        "name": "small",
        "resamples": 50,
        "encoders": ["phantom"],
        "options": {"n": 24},
        "datasets": [{"name": SETS[0], "pool": pool}, SETS[1]],
        "blocks": [
            {"classifiers": ["clip", "kpl-closed-form"], "text": ["names", "top-k"]},
            {"classifiers": "clip", "text": "top-k", "parameters": {"k": [2, 4, 8]}},
            {"classifiers": "clip", "priors": "true", "datasets": "*/skewed"},
        ],
        **change,
    }


def lines(path: Path) -> list[dict]:
    """The rows of a file; fails where a line is broken or a key stands twice."""
    text = path.read_bytes() if path.exists() else b""
    assert text == b"" or text.endswith(b"\n")
    return _parsed(text)


def whole_lines(path: Path) -> list[dict]:
    """The same for a file whose writer was killed: the system may cut its last line where a page of memory ends."""
    text = path.read_bytes() if path.exists() else b""
    return _parsed(text[: text.rfind(b"\n") + 1])


def _parsed(text: bytes) -> list[dict]:
    rows = [json.loads(line) for line in text.splitlines()]
    keys = [row["key"] for row in rows]
    assert len(set(keys)) == len(keys)
    return rows


def figures(path: Path) -> dict[str, float]:
    """Every figure of a file by key and name; to be compared approximately, as sums are rounded in any order."""
    return {
        f"{row['key']} {name} {place}": -1.0 if x is None else x
        for row in lines(path)
        for name, triple in row["metrics"].items()
        for place, x in enumerate(triple)
    }


def runner(content: dict, out: Path, cache: Path, log: Path | None = None) -> None:
    """What a child process does: the benchmark; each row that it wrote is also noted in `log`."""
    from kpl_lib.benchmark import runner as module

    def noted(batches, jobs):
        for outcome in outcomes(batches, jobs):
            if log is not None and outcome.written:
                with log.open("a") as file:
                    file.write(outcome.setting.key + "\n")
            yield outcome

    module.outcomes = noted
    run(Grid.from_dict(content), out, cache=cache, progress=False)


def kill_after(process, log: Path, finished: int, seconds: float) -> bool:
    """Start a process, let it finish some runs, wait a little, and kill it; return whether it was still running."""
    before = notes(log)
    process.start()
    while process.is_alive() and notes(log) < before + finished:
        time.sleep(0.002)
    time.sleep(seconds)
    running = process.is_alive()
    if running:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return running


def notes(log: Path) -> int:
    """How many finished runs are noted."""
    return len(log.read_text().split()) if log.exists() else 0
