"""The leaderboard of chapter 9 shows the folders of `kpl reproduce`, and no hole where there is none."""

import json
from pathlib import Path

import pytest
from reproduce_world import small_plan, small_world

from kpl_lib import live
from kpl_lib.benchmark.reproduce import reproduce
from kpl_lib.benchmark.run_folder import real_rows

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "chapters" / "09_benchmark.ipynb"


def shown(folder, monkeypatch):
    """Rows and menu of images that the leaderboard gets, with this folder in the place of data/results/real."""
    cells = ["".join(cell["source"]) for cell in json.loads(CHAPTER.read_text())["cells"]]
    given = {}
    monkeypatch.setattr(live, "leaderboard", lambda rows, images, *_: given.update(rows=rows, images=images))
    names = {}
    for start in ("import tempfile", "def rows_of", "ENCODERS = "):
        (cell,) = [cell for cell in cells if cell.startswith(start)]
        exec(cell, names)
        names["real_rows"] = lambda: real_rows(folder)
    return given["rows"], given["images"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patched:
        archives = small_world(folder, patched)
        reproduce(small_plan(folder / "real" / "one", archives), progress=False)
    return folder / "real"


def test_the_leaderboard_shows_what_was_reproduced(real, tmp_path, monkeypatch):
    before, menu = shown(tmp_path / "none", monkeypatch)
    after, longer = shown(real, monkeypatch)
    assert longer == {**menu, "real: montgomery by phantom": "real montgomery by phantom."}
    added = after[len(before) :]
    rows = real_rows(real)
    rows = rows[rows["changed"].map(len) == 0]
    assert [row["balanced_accuracy"] for row in added] == rows["balanced_accuracy"].tolist()
    assert {(row["images"], row["where"]) for row in added} == {
        ("real montgomery by phantom.", "data/results/real/one")
    }
    assert {(row["method"], row["reads"]) for row in added} == {
        ("clip", "n"), ("clip", "d"), ("cupl", "d"), ("kpl-closed-form", "d"),
    }  # fmt: skip
    nan = [row["method"] for row in added if row["difference_accuracy"] != row["difference_accuracy"]]
    assert set(nan) == {"clip", "cupl"}
