"""Measured numbers in the prose: each is held by a claim, a setting, a named chapter or a file of data/."""

import inspect
import json
import re

import pytest

from book.tools.rules.number_code import settings
from book.tools.rules.number_text import plain, quoted
from book.tools.rules.numbers import EXEMPT, ROOT, findings, main, pages, pictures, read_page, strip_exempt
from book.tools.rules.page_text import BOOK, labels_of, notebook_blocks, page_blocks
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


CLAIMS = """
[[claim]]
says = "It gains 5.1 points."
measure."5.1" = "gain"

[[claim]]
says = "At 0.01 it is 1.9."
measure."1.9" = "other"
"""


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """The numbers that nothing holds on a page with one number of each kind, after some edits of page and claims."""
    prose = "(ch-x)=\n# T\n\nIt gains 5.1 points.\n\nAt 0.01 it is 1.9.\n\nFile `data/results/peers_real.csv`: 97.4 %."
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [prose]}, code("temperature = 0.01")]

    def found(*edits: tuple[str, str]) -> list[str]:
        notebook, claims = json.dumps({"cells": cells}), CLAIMS
        for old, new in edits:
            assert old in notebook + claims
            notebook, claims = notebook.replace(old, new), claims.replace(old, new)
        (tmp_path / "x.ipynb").write_text(notebook)
        (tmp_path / "x.toml").write_text(claims)
        read_page.cache_clear()
        return findings(tmp_path / "x.ipynb", {})

    for name in ("book.tools.rules.numbers", "kpl_lib.claim_files"):
        monkeypatch.setattr(f"{name}.claims_file", lambda name: tmp_path / f"{name}.toml")
    yield found
    read_page.cache_clear()


def test_a_number_that_nothing_holds_is_found(lines):
    assert lines() == []
    assert lines(("temperature = 0.01", "temperature = 0.1")) == ["x cell 0: 0.01 : At 0.01 it is 1.9."]
    assert len(lines(("peers_real", "closed_form_real"))) == 1
    # A claim holds the numbers that it measures, in its own sentence alone.
    unmeasured = lines(('measure."5.1" = "gain"', 'holds = "gain > 5"'))
    assert unmeasured == ["x cell 0: 5.1 points: It gains 5.1 points."]
    elsewhere = lines(('says = "It gains 5.1 points."', 'says = "5.1"'))
    assert elsewhere == []  # a part of the paragraph is enough, and the check of claims finds it on the page
    assert len(lines(("It gains 5.1 points.\\n\\nAt", "It gains 5.1 points.\\n\\n5.1 points. At"))) == 1


def test_a_number_of_another_chapter_is_held_where_the_paragraph_names_it(tmp_path, monkeypatch):
    other, page = tmp_path / "other.ipynb", tmp_path / "page.md"
    other.write_text(json.dumps({"cells": []}))
    (tmp_path / "other.toml").write_text(CLAIMS)
    for name in ("book.tools.rules.numbers", "kpl_lib.claim_files"):
        monkeypatch.setattr(f"{name}.claims_file", lambda name: tmp_path / f"{name}.toml")
    page.write_text("# T\n\nIt gains 5.1 points, as {ref}`ch-o` shows.\n\nYes, 5.1 points.\n")
    assert findings(page, {"ch-o": other}) == ["page cell 0: 5.1 points: Yes, 5.1 points."]
    assert len(findings(page, {})) == 2


def test_captions_and_alt_texts_count_and_drawing_code_holds_nothing():
    figure = {"figure": {"caption": "It falls to 0.4.", "name": "f"}, "image": {"alt": "A line at 0.6."}}
    cell = {"cell_type": "code", "metadata": {"mystnb": figure}, "source": ["plt.plot(x, alpha=0.4, lw=0.6)"]}
    assert [block.text for block in notebook_blocks("x", [cell])] == ["It falls to 0.4.", "A line at 0.6."]
    assert 0.4 not in settings([cell]) and 0.4 in settings([code("x = 0.4")])


def test_the_command_names_the_pages_it_knows(capsys):
    assert main(["no-such-page"]) == 2
    assert capsys.readouterr().err == "no page starts with no-such-page; try 04 or intro\n"
    assert (ROOT / "README.md") in PAGES
