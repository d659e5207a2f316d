"""Measured numbers in the prose: each is held by an assertion, a setting, a named chapter or a file of data/."""

import inspect
import json
import re

import pytest
from number_code import asserted, settings
from number_rules import EXEMPT, ROOT, findings, main, pages, pictures, read_page, strip_exempt
from number_text import plain, quoted
from page_text import BOOK, labels_of, notebook_blocks, page_blocks

from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import fit_proxies

PAGES = pages()
LABELS = labels_of(PAGES)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_measured_number_is_held(path):
    assert findings(path, LABELS) == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.suffix == ".md"], ids=lambda path: path.stem)
def test_a_tool_draws_every_picture_of_a_page(path):
    assert pictures(path) == []


def test_pictures_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```{figure} _static/mine.svg\n:alt: x\n```\n\n![the overview](_static/overview.svg) ![](a.png)\n"
    )
    assert pictures(page) == ["page: no tool draws mine.svg", "page: no tool draws a.png"]


def test_every_exemption_is_used():
    text = "\n".join(block.text for path in PAGES for block in page_blocks(path))
    assert [pattern for pattern in EXEMPT if not re.search(pattern, text, re.MULTILINE)] == []
    assert all(len(reason) > 20 for reason in EXEMPT.values()) and len(EXEMPT) <= 8


def test_the_constants_of_the_notation_are_those_of_the_library():
    defaults = [
        (name, inspect.signature(function).parameters[parameter].default)
        for name, function, parameter in (
            ("tau_t", sinkhorn, "temperature"),
            ("tau_i", fit_proxies, "temperature"),
            ("alpha", fit_proxies, "confidence"),
        )
    ]
    notation = (BOOK / "notation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \$\\(\w+)\$ \| ([\d.]+) \|", notation, re.MULTILINE)
    assert [(name, float(value)) for name, value in rows] == defaults


def found(text: str) -> list[str]:
    return [
        f"{number.text} {number.unit}".strip() for number in reversed(list(quoted(plain(strip_exempt(text)))))
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It is right on 86 % and 90.5 % of 2,000 images.", ["86 %", "90.5 %"]),
        ("from 4 to 6 points, and 0.97 for 12 classes", ["4 points", "6 points", "0.97"]),
        ("It gains 5.1 points in 12 s, 40 times faster", ["5.1 points", "12 s", "40 times"]),
        ("$\\sqrt{18.4} = 4.3$ times, so $13\\,\\%$ and $0.2 \\cdot x$", ["4.3 times", "13 %"]),
        ("ViT-B/16, version 1.2.3, top-8, `x = 0.3`, {ref}`ch-a`, 10 of 12, the 95 % interval, CC BY 4.0", []),
        ("[a link](page-1.5) and `84.8 %` as code", ["84.8 %"]),
    ],
)  # fmt: skip
def test_what_counts_as_measured(text, numbers):
    assert [number.replace("  ", " ") for number in found(text)] == numbers


def code(source: str, *tags: str) -> dict:
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": [source]}


@pytest.mark.parametrize(
    ("source", "number", "holds"),
    [
        ("near(100 * x, 81.8, 0.1)", 81.8, True),
        ("assert near(x, 0.5, 81.8)", 81.8, False),  # the slack
        ("assert round(x, 1) == 81.8", 81.8, True),
        ("assert round(x, 81) == 3", 81, False),
        ("assert abs(x - 81.75) < 0.2", 81.8, True),  # 81.75 rounds to it
        ("assert abs(x - 81.9) < 0.2", 81.8, False),
        ("assert abs(x - 3) < 81.8", 81.8, False),
        ("assert 81.5 < x < 82", 81.8, True),
        ("assert 60 < x < 95", 81.8, False),  # says little about 81.8
        ("assert x.between(81.6, 82).all()", 81.8, True),
        ("for a in (81.8, 3): assert f(a) == a", 81.8, True),
        ("if there:\n    assert x == 81.8", 81.8, False),  # may never run
        ("assert len(x) == 82", 82, False),
        ("assert x[82] == 1", 82, False),
        ("assert x == -81.8", 81.8, True),
    ],
)
def test_what_an_assertion_pins_down(source, number, holds):
    cell = code(f"assert near\n{source}", "remove-cell")
    assert asserted([cell]).hold(number, 10.0 ** -len(str(number).partition(".")[2])) is holds


def test_a_number_without_an_assertion_is_found(tmp_path):
    """A page with one number of each kind, held; then each hold is taken away."""
    prose = "(ch-x)=\n# T\n\nIt gains 5.1 points.\n\nAt 0.01 it is 1.9.\n\nA file, `data/results/natural7.csv`: 97.4 %."
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": [prose]},
        code("temperature = 0.01"),
        code("assert round(gain, 1) == 5.1 and round(other, 1) == 1.9", "remove-cell"),
    ]

    def lines(*edits: tuple[str, str]) -> list[str]:
        text = json.dumps({"cells": cells})
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "x.ipynb"
        path.write_text(text)
        read_page.cache_clear()
        return findings(path, {})

    assert lines() == []
    assert lines(("== 5.1", "== 5.4")) == ["x cell 0: 5.1 points: It gains 5.1 points."]
    assert lines(("temperature = 0.01", "temperature = 0.1")) == ["x cell 0: 0.01 : At 0.01 it is 1.9."]
    assert len(lines(("natural7", "closed_form_real"))) == 1
    assert len(lines(("assert round", "print(round"), (" == 1.9", ")"))) == 2


def test_a_number_of_another_chapter_is_held_where_the_paragraph_names_it(tmp_path):
    other, page = tmp_path / "other.ipynb", tmp_path / "page.md"
    other.write_text(json.dumps({"cells": [code("assert round(gain, 1) == 5.1", "remove-cell")]}))
    page.write_text("# T\n\nIt gains 5.1 points, as {ref}`ch-o` shows.\n\nYes, 5.1 points.\n")
    assert findings(page, {"ch-o": other}) == ["page cell 0: 5.1 points: Yes, 5.1 points."]
    assert len(findings(page, {})) == 2


def test_captions_and_alt_texts_count_and_drawing_code_holds_nothing():
    figure = {"figure": {"caption": "It falls to 0.4.", "name": "f"}, "image": {"alt": "A line at 0.6."}}
    cell = {"cell_type": "code", "metadata": {"mystnb": figure}, "source": ["plt.plot(x, alpha=0.4, lw=0.6)"]}
    assert [block.text for block in notebook_blocks("x", [cell])] == ["It falls to 0.4.", "A line at 0.6."]
    assert not settings([cell]).name(0.4) and settings([code("x = 0.4")]).name(0.4)


def test_the_command_names_the_pages_it_knows(capsys):
    assert main(["no-such-page"]) == 2
    assert capsys.readouterr().err == "no page starts with no-such-page; try 04 or intro\n"
    assert (ROOT / "README.md") in PAGES
