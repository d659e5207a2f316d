"""Reports: every row of a sweep, in Markdown, CSV and LaTeX; and the whole way on the command line."""

import csv
import json
import re

import pandas as pd
import pytest
from benchmark_world import SETS, lines, small_grid
from command_line import kpl

from kpl_lib.benchmark import Grid, read_rows, report, run
from kpl_lib.benchmark.tables import to_latex, to_markdown
from kpl_lib.common.errors import InputError

pytestmark = pytest.mark.xdist_group("benchmark")
KS = [1, 2, 4, 8]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    sweep = {"classifiers": ["clip", "kpl-closed-form"], "text": "top-k", "parameters": {"k": KS}}
    blocks = [sweep, {"classifiers": "clip", "priors": ["uniform", "true"]}]
    content = small_grid(blocks=blocks, references=[{"name": "class-means"}])
    done = run(Grid.from_dict(content), home / "x.jsonl", cache=home / "features", progress=False)
    assert done.failed == ()
    return home / "x.jsonl"


def test_rows_become_a_tidy_table(results):
    rows, raw = read_rows(results), lines(results)
    assert len(rows) == len(raw) == 22
    assert rows["accuracy_low"].tolist() == [row["metrics"]["accuracy"][1] for row in raw]
    assert rows["difference_accuracy"].isna().sum() == 2  # the references
    assert (rows["accuracy_low"] <= rows["accuracy"]).all() and (
        rows["accuracy"] <= rows["accuracy_high"]
    ).all()
    assert set(rows["origin"]) == {"measured-phantom"}


def test_no_sweep_is_cut_to_its_best(results):
    made = report(results)
    for name in ("overview", *SETS):
        table = made.tables[name]
        for method in ("clip", "kpl-closed-form"):
            part = table[(table["classifier"] == method) & (table["text"] == "top-k")]
            assert sorted(part["setting"]) == ["", "k=1", "k=2", "k=4"]  # 8 is the default
    assert sum(len(made.tables[name]) for name in SETS) == len(read_rows(results))
    text = made.markdown()
    assert all(f"| k={k} |" in text for k in KS[:3])


def test_every_table_says_origin_majority_and_who_used_labels(results):
    for table in report(results).tables.values():
        assert (table["origin"] == "measured-phantom").all() and (table["majority"] != "").all()
        assert table.loc[table["labels used"] == "yes", "classifier"].tolist() == ["class-means"]


def test_the_overview_holds_means_over_datasets(results):
    rows, table = read_rows(results), report(results).tables["overview"]
    line = table[(table["classifier"] == "kpl-closed-form") & (table["setting"] == "k=2")].iloc[0]
    mine = rows[(rows["classifier"] == "kpl-closed-form") & (rows["changed"].map(str) == "{'k': 2}")]
    assert len(mine) == line["datasets"] == 2
    assert line["balanced accuracy"] == f"{100 * mine['balanced_accuracy'].mean():.1f}"
    worst = f"{100 * mine['difference_balanced_accuracy'].min():+.1f}".replace("-", "−")
    assert line["Δ balanced, worst"] == worst
    only = mine[mine["dataset"] == SETS[0]]["balanced_accuracy"].iloc[0]
    assert line["balanced accuracy, unseen/even"] == f"{100 * only:.1f}"


def test_a_cell_holds_value_and_interval(results):
    row = next(r for r in lines(results) if r["dataset"] == SETS[0] and r["classifier"] == "clip")
    cell = report(results).tables[SETS[0]].iloc[0]["accuracy"]
    value, low, high = (f"{100 * x:.1f}" for x in row["metrics"]["accuracy"])
    assert cell == f"{value} [{low}, {high}]"


def test_the_same_set_in_two_sizes_stays_apart(results, tmp_path):
    rows = lines(results)
    more = [
        {**row, "key": row["key"] + "b", "options": {"n": 99}} for row in rows if row["dataset"] == SETS[0]
    ]
    out = tmp_path / "two.jsonl"
    out.write_text("".join(json.dumps(row) + "\n" for row in rows + more))
    names = list(report(out).tables)
    assert f"{SETS[0]} (n=24)" in names and f"{SETS[0]} (n=99)" in names and SETS[1] in names


def test_files_are_written_in_three_formats(results, tmp_path):
    made = report(results, tmp_path / "new" / "tables")
    names = {path.name for path in made.files}
    assert {"overview.md", "overview.csv", "overview.tex", "rows.csv", "report.md"} <= names
    assert names == {path.name for path in (tmp_path / "new" / "tables").iterdir()} and len(names) == 11
    with (tmp_path / "new" / "tables" / "overview.csv").open(newline="", encoding="utf-8") as file:
        assert [row["setting"] for row in csv.DictReader(file)] == list(made.tables["overview"]["setting"])
    assert len(pd.read_csv(tmp_path / "new" / "tables" / "rows.csv")) == 22
    latex = (tmp_path / "new" / "tables" / "phantom-chest-unseen-even.tex").read_text()
    rules = [latex.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")]
    assert rules == [1, 1, 1] and not re.search(r"(?<!\\)[%_&#](?![ }\n]|needs)", latex.split(r"\midrule")[1])
    with pytest.raises(InputError, match="choose a folder that you may write to"):
        report(results, results)


HOSTILE = pd.DataFrame({"a_b|c": ["50% & more_{x}", "x|y\nz"], "v": [0.123456, float("nan")]})


def test_hostile_text_is_escaped():
    lines_of = to_markdown(HOSTILE).splitlines()
    assert len(lines_of) == 4 and lines_of[0] == r"| a_b\|c | v |"
    assert lines_of[3] == r"| x\|y z |  |" and "0.1235" in lines_of[2]
    latex = to_latex(HOSTILE, "100 % of #1", "x")
    assert r"a\_b|c" in latex and r"50\% \& more\_\{x\}" in latex and r"\caption{100 \% of \#1}" in latex


def test_the_command_line_runs_resumes_and_reports(results, monkeypatch, capsys, tmp_path):
    home, grid, out = results.parent, tmp_path / "my.json", tmp_path / "x.jsonl"
    grid.write_text(json.dumps(small_grid()))
    monkeypatch.setenv("KPL_CACHE", str(home / "features"))
    command = ("benchmark", "run", "--grid", grid, "--out", out, "--jobs", 1)
    code, _, err = kpl(monkeypatch, capsys, *command, "--datasets", SETS[0], "--classifiers", "clip")
    assert code == 0 and "4 rows written, 0 kept, 0 runs failed" in err
    code, _, err = kpl(monkeypatch, capsys, *command, "--datasets", SETS[0])
    assert code == 0 and "2 rows written, 4 kept" in err and len(lines(out)) == 6
    code, text, err = kpl(monkeypatch, capsys, "benchmark", "report", out, "--out", tmp_path / "tables")
    assert code == 0 and "| kpl-closed-form | top-k |" in text and "files to" in err
    assert (tmp_path / "tables" / "overview.tex").is_file()
    code, text, err = kpl(monkeypatch, capsys, "benchmark", "report", tmp_path / "absent.jsonl")
    assert (code, text) == (2, "") and "no such file; make it with `kpl benchmark run`" in err


def test_a_failed_run_gives_exit_code_2(results, monkeypatch, capsys, tmp_path):
    grid = tmp_path / "my.json"
    wrong = {"name": SETS[1], "knowledge": "phantom-chest"}
    grid.write_text(json.dumps(small_grid(datasets=[SETS[0], wrong])))
    monkeypatch.setenv("KPL_CACHE", str(results.parent / "features"))
    command = ("benchmark", "run", "--grid", grid, "--out", tmp_path / "x.jsonl", "--jobs", 1)
    code, _, err = kpl(monkeypatch, capsys, *command)
    assert code == 2 and "6 rows written, 0 kept, 7 runs failed" in err and err.count("failed:") == 1
    assert len(lines(tmp_path / "x.jsonl")) == 6
