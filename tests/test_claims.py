"""Claims: a file is read or refused in one line; what is measured is told; nothing stops a notebook."""

import json

import pytest
import torch

from kpl_lib import notebook
from kpl_lib.claim_files import Claim, Figure, Page, read_claims
from kpl_lib.claims import machine, measure
from kpl_lib.common.errors import InputError

GOOD = """
prepare = "twice = 2 * x"

[[claim]]
says = "It is 84.2 % on a, and  four\\nof 1,803 lose."
measure."84.2" = "100 * share"
measure."four" = "lost"
measure."1,803" = "n"
within."1,803" = 2

[[claim]]
says = "It is right nine times in ten."
measure."nine times in ten" = "10 * share"
said."nine times in ten" = 9
within."nine times in ten" = 1
holds = ["twice > x", "share < 1"]

[[claim]]
says = "A falls below b."
holds = "a < b"
"""


def write(tmp_path, text: str):
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path):
    page = read_claims(write(tmp_path, GOOD))
    assert page.name == "toy" and page.prepare == "twice = 2 * x" and len(page.digest) == 64
    first, second, third = page.claims
    assert first.says == "It is 84.2 % on a, and four of 1,803 lose."  # whitespace as one blank
    assert [(f.said, f.within) for f in first.figures] == [
        (84.2, pytest.approx(0.05)),
        (4.0, 0.5),
        (1803.0, 2.0),
    ]
    assert second.figures == (Figure("nine times in ten", "10 * share", 9.0, 1.0, 0.18),)
    assert second.conditions == ("twice > x", "share < 1") and third.conditions == ("a < b",)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[[claim]]", "[[claim", "no valid TOML"),
        ('prepare = "twice', 'prepares = "twice', "not prepares"),
        ("within.", "width.", "claim 1 ('It is 84.2"),
        ('measure."84.2"', 'measure."84.3"', "claim 1 ('It is 84.2 % on a, and  four\\nof 1,803 lo'): '84.3' does not"),
        ('measure."84.2"', 'measure."4.2"', "'4.2' does not stand in its sentence"),
        ('said."nine times in ten" = 9\n', "", "claim 2 ('It is right nine times in ten.'): 'nine times in ten' is no"),
        ('within."1,803"', 'within."1803"', "`within` of 1803, which it does not measure"),
        ('"a < b"', '"a <"', "claim 3 ('A falls below b.'): no expression: 'a <'"),
        ('holds = "a < b"', "", "claim 3 ('A falls below b.'): it measures nothing"),
        ("= 1\nholds", '= "1"\nholds', "are numbers"),
    ],
)  # fmt: skip
def test_a_bad_file_is_one_line_that_names_file_and_entry(tmp_path, old, new, told):
    assert old in GOOD
    with pytest.raises(InputError) as caught:
        read_claims(write(tmp_path, GOOD.replace(old, new)))
    line = str(caught.value)
    assert line.startswith("toy.toml") and told in line and "\n" not in line


def test_a_page_without_a_file_is_refused():
    with pytest.raises(InputError, match=r"99_none.toml: there is no file of claims for this page"):
        read_claims("99_none")


VALUES = {
    "x": 1,
    "share": 0.8424,
    "lost": torch.tensor(4),
    "n": 1802,
    "a": torch.zeros(3),
    "b": torch.ones(3),
}


def outcomes(tmp_path, **changed):
    return measure(read_claims(write(tmp_path, GOOD)), VALUES | changed)


def test_what_comes_out_and_what_differs(tmp_path):
    same = outcomes(tmp_path)
    assert [row.status for row in same.rows] == ["comes out"] * 3
    assert same.rows[0].measured == (pytest.approx(84.24), 4.0, 1802.0)
    assert repr(same).startswith("3 of 3 statements of this page came out on this machine (")
    other = outcomes(tmp_path, share=0.851, b=torch.tensor([1.0, 1.0, 0.0]))
    assert [row.status for row in other.rows] == ["differs", "comes out", "differs"]
    assert other.rows[0].found == "85.1 where the page says 84.2 (± 0.05)"
    assert other.rows[2].found == "it does not hold that a < b"
    shown = other._repr_html_()
    assert "A falls below b." in shown and "a &lt; b" in shown and "nine times" not in shown
    assert "- the page says: A falls below b." in repr(other)


def test_of_several_values_the_farthest_counts(tmp_path):
    claim = Claim("Each is 50.", (Figure("50", "shares", 50.0, 0.5),))
    row = measure(Page("toy", (claim,)), {"shares": [50.1, 49.2, 50.4]}).rows[0]
    assert row.measured == (49.2,) and row.status == "differs"


def test_what_raises_is_not_measured_and_stops_nothing(tmp_path):
    changed = VALUES.copy()
    del changed["n"], changed["x"]
    rows = measure(read_claims(write(tmp_path, GOOD)), changed).rows
    assert [row.status for row in rows] == ["not measured", "not measured", "comes out"]
    assert rows[0].measured[2] is None and "'n' raises NameError" in rows[0].found
    assert "prepare raises NameError: name 'x' is not defined" in rows[1].found
    (empty,) = measure(Page("toy", (Claim("0 left.", (Figure("0", "[]", 0.0, 0.5),)),)), {}).rows
    assert empty.status == "not measured" and "no number" in empty.found


def test_nothing_of_the_notebook_is_changed(tmp_path):
    values = VALUES.copy()
    before = torch.random.get_rng_state()
    measure(Page("toy", (), "x = 3\nimport torch\ntorch.rand(3)"), values)
    assert values["x"] == 1 and torch.equal(torch.random.get_rng_state(), before)


def test_a_notebook_writes_its_record_where_the_build_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("KPL_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.setitem(globals(), "by_hand", 0.97)
    notebook.claims("_template")
    record = json.loads((tmp_path / "claims" / "_template.json").read_text())
    assert record["digest"] == read_claims("_template").digest
    assert record["machine"] == machine() and "thread" in record["machine"]["threads"]
    (claim,) = record["claims"]
    assert claim["status"] == "differs" and claim["measured"] == [0.97]


def test_a_tolerance_does_not_ask_for_a_new_measurement_and_an_expression_does(tmp_path):
    page = read_claims(write(tmp_path, GOOD))
    wider = read_claims(write(tmp_path, GOOD.replace('within."1,803" = 2', 'within."1,803" = 3')))
    other = read_claims(write(tmp_path, GOOD.replace('"100 * share"', '"99 * share"')))
    assert page.digest == wider.digest != other.digest
