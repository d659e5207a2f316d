"""Published figures: every row says where it stands, and a user's own rows are set beside them."""

import csv
import json
import re
import shutil

import pytest
from command_line import kpl

from kpl_lib.benchmark.published import COLLECTED, LOG, Published, compare, read_published
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.datasets.load import available
from kpl_lib.encoders.table import encoder_table

FOLDER = data_dir() / "published"
L14 = "ViT-L-14-quickgelu/openai"


@pytest.fixture(scope="module")
def collected():
    with (FOLDER / COLLECTED).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_figure_names_its_place_and_quotes_its_cell(collected):
    assert len(collected) >= 40
    for row in collected:
        told = ("model", "dataset", "metric", "value", "prompt", "table", "source", "address", "quoted")
        assert all(row[name] for name in told) and re.fullmatch(r"2026-\d\d-\d\d", row["read"])
        assert row["value"] in row["quoted"] and row["unit"] in ("fraction", "%")
        assert 0 <= float(row["value"]) <= (1 if row["unit"] == "fraction" else 100)
        assert row["seen_as"] in ("the authors' own file", "copy of the authors' text", "notes by others")
        assert re.search(r"commit [0-9a-f]{40}|stored file \d+", row["address"])


def test_names_of_ours_are_known(collected):
    assert {row["encoder"] for row in collected} - {""} <= {one.name for one in encoder_table()}
    assert {row["dataset_here"] for row in collected} - {""} <= set(available())
    assert {one.dataset for one in read_published()} <= set(available())


def test_no_figure_stands_twice(collected):
    keys = [tuple(row[k] for k in ("model", "dataset", "metric", "source", "prompt")) for row in collected]
    assert len(set(keys)) == len(keys)


def row(**change):
    known = {"origin": "measured-real", "reference": False, "dataset": "shenzhen", "encoder": L14}
    return known | {"accuracy": 0.612} | change


def test_a_row_is_set_beside_figures_of_its_encoder():
    (line,) = compare([row()])
    assert line == (
        f"published zero-shot accuracy on shenzhen with {L14}: 49.5 to 75.4 % (30 figures; kpl_released_log.csv); "
        "yours: 61.2 %, within what others report"
    )
    assert compare([row(encoder="ViT-L-14/openai")]) == (line.replace(L14, "ViT-L-14/openai"),)


@pytest.mark.parametrize(
    ("mine", "kind"),
    [
        ([0.5], "below"),
        ([0.56], "within"),
        ([0.7], "above"),
        ([0.5, 0.7], "below to above"),
        ([0.5604], "within"),
    ],
)
def test_below_within_above(mine, kind):
    others = [Published("cub", "", "accuracy", x, COLLECTED) for x in (56.0, 66.1)]
    (line,) = compare([row(dataset="cub", encoder="x", accuracy=x) for x in mine], others)
    assert line.endswith(f", {kind} what others report") and "yours with x: " in line


def test_only_the_same_metric_of_real_rows_without_labels_is_compared():
    others = [Published("cub", "x", "balanced accuracy", 56.0, COLLECTED)]
    cub = row(dataset="cub", encoder="x")
    assert compare([cub], others) == () == compare([row(dataset="nowhere")])
    assert compare([cub | {"balanced_accuracy": float("nan")}], others) == ()
    (line,) = compare([cub | {"balanced_accuracy": 0.56}], others)
    assert "zero-shot balanced accuracy on cub with x: 56.0 % (1 figure; zero_shot.csv)" in line
    assert compare([row(origin="measured-phantom"), row(reference=True)]) == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        (LOG, "text_proxy", "texts", "no column 'text_proxy'"),
        (COLLECTED, "dataset_here", "ours", "no column 'dataset_here'"),
        (COLLECTED, ",0.63334,", ",many,", "'many'"),
        (LOG, None, "", "no figures in it"),
        (COLLECTED, None, None, "no such file"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, file, old, new, why):
    home = shutil.copytree(FOLDER, tmp_path / "published")
    if new is None:
        (home / file).unlink()
    else:
        text = (home / file).read_text(encoding="utf-8")
        (home / file).write_text(new if old is None else text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(why)) as caught:
        read_published(home)
    assert str(caught.value).startswith(str(home / file)) and "\n" not in str(caught.value)


def test_the_report_shows_it_under_the_overview(monkeypatch, capsys, tmp_path):
    lines = (data_dir() / "results" / "phantom.jsonl").read_text(encoding="utf-8").splitlines()
    made = json.loads(lines[0]) | {"origin": "measured-real", "dataset": "shenzhen", "encoder": L14}
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join([json.dumps(made), *lines[1:3]]) + "\n", encoding="utf-8")
    code, text, _ = kpl(monkeypatch, capsys, "benchmark", "report", file, "--out", tmp_path / "out")
    said = [line for line in text.splitlines() if line.startswith("- ")]
    assert code == 0 and said[0].startswith(f"- published zero-shot accuracy on shenzhen with {L14}: ")
    assert said[-1].startswith("- Published figures are others' own")
    for name in ("overview.md", "report.md"):
        assert "\n".join(said) in (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert "published" not in (tmp_path / "out" / "shenzhen.md").read_text(encoding="utf-8")
    file.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    assert "published" not in kpl(monkeypatch, capsys, "benchmark", "report", file)[1].lower()
