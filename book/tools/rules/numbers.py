"""Measured numbers in prose, captions and alt texts, and whether something holds them.

    python -m book.tools numbers [PAGE ...]     prints the numbers that nothing holds

A number is measured if it has a decimal point or a unit: %, points, seconds, times. It is held if

- a claim of the page measures it: the sentence stands in the paragraph, and the number in data/claims;
- or it is a setting: the same constant stands in code that the page shows;
- or its paragraph names a chapter by {ref}, and a claim of that chapter measures it;
- or its paragraph names a file of `data/` (JSON or CSV) in which the value stands.

The numbers of transfer questions are invented; each question carries a condition that a test evaluates.

What else may stand is listed in EXEMPT, with a reason each.
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from book.tools.claims.statements import claims_name, plain_text
from book.tools.rules.number_code import Numbers, hold, name, settings
from book.tools.rules.number_text import Quoted, plain, quoted, sentence
from book.tools.rules.page_text import BOOK, Block, labels_of, notebook_blocks, read_cells, toc_pages
from book.tools.teaching.self_checks import LEADS, TAG
from kpl_lib.claim_files import Claim, claims_file, read_claims

ROOT = BOOK.parent
EXEMPT = {
    r"^Time: .*$": "a plan for the reader's hour, not a measurement; the build holds each chapter to its time",
    r"\b95 % (?:\w+ )?intervals?": "the level of the intervals of the library, not a result",
    r"\bPython 3\.\d+|\bCC BY 4\.0": "versions, not measurements",
    r"^\| \$\\(?:tau_t|tau_i|alpha)\$ .*$": "constants of the method; a test compares them with the library",
    r"^A colleague reports: .KPL reaches 84 %": "an invented report that the reader is asked to judge",
}


@dataclass(frozen=True)
class Page:
    """What a page says and what its code holds."""

    path: Path
    blocks: tuple[Block, ...]
    claims: tuple[Claim, ...]
    settings: Numbers

    def measured(self, block: Block | None = None) -> Numbers:
        """The numbers that claims measure: all of the page, or those of the sentences of one block."""
        said = plain_text(block.text) if block else ""
        claims = [claim for claim in self.claims if block is None or claim.says in said]
        return frozenset(abs(figure.said) for claim in claims for figure in claim.figures)


def without_invented(cells: list[dict]) -> list[dict]:
    """The cells of a page, its transfer questions left out."""
    return [
        cell | {"source": "".join(cell["source"]).partition(LEADS["transfer"])[0]}
        if TAG in cell["metadata"].get("tags", [])
        else cell
        for cell in cells
    ]


@cache
def read_page(path: Path) -> Page:
    """A page with the numbers of its code."""
    cells, name = read_cells(path), claims_name(path)
    claims = read_claims(name).claims if claims_file(name).is_file() else ()
    blocks = notebook_blocks(path.stem, without_invented(cells))
    return Page(path, tuple(blocks), claims, settings(cells))


def numbers_in(value: object) -> Iterator[float]:
    """All numbers of a JSON value or of rows of a table."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)
    elif not isinstance(value, bool) and re.fullmatch(r"-?\d+(\.\d*)?(e-?\d+)?", str(value)):
        yield abs(float(value))


@cache
def of_file(path: Path) -> Numbers:
    """The numbers of a data file. Rows of a benchmark (.jsonl) hold so many that any number would be found: none."""
    if path.suffix == ".json":
        return frozenset(numbers_in(json.loads(path.read_text(encoding="utf-8"))))
    if path.suffix == ".csv":
        return frozenset(numbers_in(list(csv.reader(path.read_text(encoding="utf-8").splitlines()))))
    return frozenset()


def sources(block: Block, labels: dict[str, Path]) -> Numbers:
    """The numbers of what a paragraph names: chapters and files of `data/`."""
    held: Numbers = frozenset()
    for label in re.findall(r"\{ref\}`(?:[^`<]*<)?(ch-[\w-]+)>?`", block.context):
        if label in labels:
            held |= read_page(labels[label]).measured()
    files = [ROOT / name for name in re.findall(r"\bdata/[\w./-]+\.\w+", block.context)]
    for file in files:
        held |= of_file(file) if file.is_file() else frozenset()
    return held


def is_setting(number: Quoted, page: Page) -> bool:
    """Whether the same constant stands in the code; a whole number only for times: 3 is everywhere, 0.03 is not."""
    values = [value for value, _ in number.readings if value % 1 or number.unit == "times"]
    return not number.unit.startswith("point") and any(name(page.settings, value) for value in values)


def held(number: Quoted, page: Page, block: Block, labels: dict[str, Path]) -> bool:
    """Whether something holds the number."""
    pinned = page.measured(block) | sources(block, labels)
    return any(hold(pinned, *reading) for reading in number.readings) or is_setting(number, page)


def strip_exempt(text: str) -> str:
    """The text without what may stand unasserted."""
    for pattern in EXEMPT:
        text = re.sub(pattern, " ", text, flags=re.MULTILINE)
    return text


def findings(path: Path, labels: dict[str, Path]) -> list[str]:
    """The numbers of a page that nothing holds: page, cell, number and sentence."""
    page, lines = read_page(path), []
    for block in page.blocks:
        prose = plain(strip_exempt(block.text))
        lines += [
            f"{path.stem} cell {block.cell}: {number.text} {number.unit}: {sentence(prose, number.text)[:160]}"
            for number in reversed(list(quoted(prose)))
            if not held(number, page, block, labels)
        ]
    return lines


def pictures(path: Path) -> list[str]:
    """Pictures of a Markdown page that no tool of the book draws; a notebook draws its own."""
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
    named = re.findall(r"^[`:]{3,}\{(?:figure|image)\} (\S+)|!\[[^\]]*\]\((\S+?)\)", text, re.MULTILINE)
    files = [Path("".join(names)).name for names in named]
    tools = "".join(tool.read_text(encoding="utf-8") for tool in Path(__file__).parents[1].rglob("*.py"))
    return [f"{path.stem}: no tool draws {file}" for file in files if f'"{file}"' not in tools]


def pages() -> list[Path]:
    """The pages of the book, the template of a chapter, and the README."""
    return [*toc_pages(BOOK), BOOK / "_template.ipynb", ROOT / "README.md"]


def main(names: list[str]) -> int:
    """Print the findings of the pages whose name starts with one of `names`, or of all; 1 if there are any."""
    every = pages()
    labels = labels_of(every)
    chosen = [path for path in every if not names or path.stem.startswith(tuple(names))]
    if not chosen:
        print(f"no page starts with {' or '.join(names)}; try 04 or intro", file=sys.stderr)
        return 2
    lines = [line for path in chosen for line in (*findings(path, labels), *pictures(path))]
    print(*lines, f"{len(lines)} numbers and pictures that nothing holds, on {len(chosen)} pages", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
