"""The claims of the book: each sentence stands on its page, tolerances have an origin, a reader's run ends."""

import csv
import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from book.tools.claims import spread as claims_spread
from book.tools.claims import statements as claims
from book.tools.claims.statements import check, main, pages_with_claims, stray, too_wide
from book.tools.extensions import claims_on_pages
from book.tools.rules.page_text import BOOK
from kpl_lib.claim_files import Claim, Figure, Page, claims_file, read_claims
from kpl_lib.claims import Outcome
from kpl_lib.common.files import data_dir

PAGES = pages_with_claims()
NOTEBOOKS = sorted([*(BOOK / "chapters").glob("*.ipynb"), *(BOOK / "primer").glob("*.ipynb")])


@pytest.mark.parametrize("name", PAGES)
def test_each_sentence_stands_on_its_page_and_may_be_off_by_less_than_it_states(name):
    assert check([name]) == []


def test_every_chapter_has_claims():
    assert {claims.claims_name(path) for path in NOTEBOOKS} <= set(PAGES)


def test_a_sentence_that_is_on_no_page_is_found():
    page = Page("_template", (Claim("The cosine of 0.96 says the same  as a number.", (), ("True",)),))
    assert list(stray(page, BOOK / "_template.ipynb")) == [
        "_template.toml, claim 1: no sentence of _template.ipynb reads "
        "'The cosine of 0.96 says the same  as a number.'"
    ]
    caption = Page("_template", (Claim("Two vectors at a small angle.", (), ("True",)),))
    alt = Page("_template", (Claim("Two lines from the origin with", (), ("True",)),))
    assert [*stray(caption, BOOK / "_template.ipynb"), *stray(alt, BOOK / "_template.ipynb")] == []


@pytest.mark.parametrize(
    ("numbers", "widest"),
    [((86.0, 90.0), 2.0), ((86.0, 90.0, 90.5), 0.25), ((5.0,), 2.5), ((0.0, 3.0), 1.5), ((50.0, 50.0), 25.0)],
)
def test_a_tolerance_is_at_most_half_of_what_a_sentence_states(numbers, widest):
    def claim(within: float) -> Claim:
        return Claim("x", tuple(Figure(str(said), "1", said, within) for said in numbers))

    assert list(too_wide(Page("p", (claim(widest),)))) == []
    assert len(list(too_wide(Page("p", (claim(1.01 * widest),))))) == 1


def spread() -> list[dict]:
    """The rows of data/results/claims_spread.csv."""
    lines = (data_dir() / "results" / "claims_spread.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize("name", PAGES)
def test_tolerances_are_those_that_the_spread_gives(name):
    measured = {(row["claim"], row["figure"]): row for row in spread() if row["page"] == name}
    for number, claim in enumerate(read_claims(name).claims, 1):
        for figure in claim.figures:
            row = measured.pop((str(number), figure.text))
            values = {run: float(row[run]) for run in claims_spread.FOUR}
            due = claims_spread.tolerance(figure, values, claims.room(claim))
            assert figure.within == pytest.approx(figure.half if due is None else due), (number, figure.text)
        if claim.conditions:
            row = measured.pop((str(number), "condition"))
            assert {row[run] for run in (*claims_spread.FOUR, *claims_spread.LEFT_OUT)} == {"holds"}, number
    assert measured == {}, "the table has rows of claims that are gone: run claims_spread.py"


def test_of_the_arithmetic_that_was_left_out_one_claim_in_a_hundred_may_differ():
    figures = {
        (name, str(number), figure.text): figure
        for name in PAGES
        for number, claim in enumerate(read_claims(name).claims, 1)
        for figure in claim.figures
    }
    (left_out,) = claims_spread.LEFT_OUT
    off = [
        row
        for row in spread()
        if row["figure"] != "condition"
        and abs(float(row[left_out]) - (f := figures[row["page"], row["claim"], row["figure"]]).said)
        > f.within * (1 + 1e-6)
    ]
    assert len({(row["page"], row["claim"]) for row in off}) <= 0.01 * sum(
        len(read_claims(name).claims) for name in PAGES
    )


def test_tolerances_follow_from_four_values():
    values = dict.fromkeys(claims_spread.FOUR, 84.22)
    figure = Figure("84.2", "x", 84.2, 0.05, 0.05)
    assert claims_spread.tolerance(figure, values, 40.0) is None
    moved = values | {"sse": 84.27}
    assert claims_spread.tolerance(figure, values, 0.03) == 0.03
    assert claims_spread.tolerance(figure, moved, 40.0) == 0.23  # 0.07 off, 3 x 0.05, a margin of 0.01
    assert claims_spread.tolerance(figure, moved, 0.1) == pytest.approx(
        0.22
    )  # more than it states: write tells


# A reader who changes the code.


def test_a_notebook_whose_claims_fail_runs_to_its_end_and_shows_them():
    notebook = nbformat.read(BOOK / "_template.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "torch.tensor([3.0, 4.0])" in cell.source)
    cell.source = cell.source.replace("[4.0, 3.0]", "[4.0, 1.0]")
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[-1].outputs
    assert output.data["text/plain"].startswith("0 of 1 statements of this page came out on this machine")
    assert (
        "The cosine of 0.96" in output.data["text/html"]
        and "0.7761 where the page says" in output.data["text/html"]
    )


@pytest.mark.slow
def test_a_chapter_with_another_k_runs_to_its_end(tmp_path):
    notebook = nbformat.read(BOOK / "chapters" / "02_kpl_in_one_sitting.ipynb", as_version=4)
    planted = 0
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        planted += cell.source.count("k=8")
        cell.source = cell.source.replace("k=8", "k=3")
    assert planted
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    (output,) = notebook.cells[-1].outputs
    held, total = (int(word) for word in output.data["text/plain"].split()[:3:2])
    assert 0 < held < total and output.data["text/html"].count("<tr>") == total - held + 1


# The build.

NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["It is\n", "84.2 % here. And more.\n\n| a | 84.2 % |"]},
        {"cell_type": "code", "metadata": {"mystnb": {"figure": {"caption": "It is 84.2 % here."}}}, "source": ["x"]},
        {"cell_type": "code", "metadata": {"mystnb": {"image": {"alt": "It is 84.2 % here."}}}, "source": ["x"]},
    ]
}  # fmt: skip


def test_a_sentence_that_differs_is_marked_where_it_stands():
    rows = [
        Outcome(Claim("It is 84.2 % here."), (), (), "84.9 <here>"),
        Outcome(Claim("| a | 84.2 % |"), (), (), "x"),
    ]
    words, caption, alt = json.loads(claims_on_pages.mark_notebook(json.dumps(NOTEBOOK), rows))["cells"]
    note = '<mark class="differs">(on this machine: 84.9 &lt;here&gt;)</mark>'
    assert words["source"] == (
        f"It is\n84.2 % here. {note} And more.\n\n"
        '| a | 84.2 % <mark class="differs">(on this machine: x)</mark> |'
    )
    assert caption["metadata"]["mystnb"]["figure"]["caption"] == f"It is 84.2 % here. {note}"
    assert alt["metadata"]["mystnb"]["image"]["alt"] == "It is 84.2 % here. (On this machine: 84.9 <here>.)"


def test_a_sentence_is_readable_without_its_markup():
    says = "**The** {term}`gap <modality gap>` of $u < v$ in {numref}`fig-x` is [small](a.md)."
    assert claims_on_pages.readable(says) == (
        'The gap of <span class="math notranslate nohighlight">\\(u &lt; v\\)</span> in the display is small.'
    )


# The command.


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "book.tools", "claims", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)


def record(folder, measured: float | None, error: str = "") -> None:
    """What the template would have left, with this number."""
    row = {"says": "", "status": "", "error": error, "measured": [measured], "held": []}
    text = json.dumps(
        {"page": "_template", "digest": read_claims("_template").digest, "machine": {}, "claims": [row]}
    )
    (folder / "_template.json").write_text(text)


@pytest.mark.parametrize(
    ("measured", "error", "strict", "code", "told"),
    [
        (0.96, "", True, 0, "1 of 1 statements"),
        (
            0.97,
            "",
            False,
            0,
            "_template: differs: 0.97 where the page says 0.96 (± 0.005). It says: The cosine of",
        ),
        (0.97, "", True, 1, "_template: differs: 0.97 where"),
        (
            None,
            "'x' raises NameError",
            True,
            2,
            "_template: not measured: 'x' raises NameError. It says: The cosine",
        ),
    ],
)
def test_the_report_says_what_differs(tmp_path, capsys, measured, error, strict, code, told):
    record(tmp_path, measured, error)
    assert main(["report", str(tmp_path), *["--strict"] * strict]) == code
    out = capsys.readouterr().out
    assert told in out and ("0 of 1 statements of the book" in out) == (measured != 0.96)


def test_a_record_of_other_statements_is_refused(tmp_path, capsys):
    record(tmp_path, 0.96)
    path = tmp_path / "_template.json"
    path.write_text(path.read_text().replace('"digest": "', '"digest": "0'))
    assert main(["report", str(tmp_path)]) == 2
    assert "_template.toml has changed since its page was measured" in capsys.readouterr().err


def test_a_page_that_left_no_record_is_named(tmp_path, capsys):
    record(tmp_path, 0.96)
    assert main(["report", str(tmp_path), "--whole"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("nothing was measured for ") and "primer_clip" in err and "_template" not in err


def test_a_wrong_file_is_one_line_and_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(claims, "data_dir", lambda: tmp_path)
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "99_nowhere.toml").write_text("")
    assert main(["check"]) == 2
    assert capsys.readouterr().err == (
        "99_nowhere.toml: no page of the book has this name; rename or remove the file\n"
    )
    (tmp_path / "claims" / "99_nowhere.toml").unlink()
    text = claims_file("_template").read_text().replace("0.96 says", "0.97 says")
    (tmp_path / "claims" / "_template.toml").write_text(text)
    monkeypatch.setattr("kpl_lib.claim_files.data_dir", lambda: tmp_path)
    assert main(["check"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("_template.toml, claim 1 (") and "'0.96' does not stand in its sentence" in err
