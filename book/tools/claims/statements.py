"""The statements of the pages against what was measured: `python -m book.tools claims check | report FOLDER`.

`check` holds each file of data/claims against its page: the sentence stands there word for word (captions and alt
texts count), the names and expressions are right. `report` reads what notebooks wrote into FOLDER (the variable
KPL_CLAIMS), measures the statements of pages without code, and lists what does not come out; --strict makes that fail.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from book.tools.rules.page_text import BOOK, page_blocks, toc_pages
from kpl_lib.claim_files import Claim, Page, claims_file, read_claims
from kpl_lib.claims import HELD, UNMEASURED, Outcome, measure
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

ROOT = BOOK.parent
CALL = 'notebook.claims("{}")'


def claims_name(path: Path) -> str:
    """The name of a page's file of claims: its own, with the folder before it for pages of the primer."""
    return f"primer_{path.stem}" if path.parent.name == "primer" else path.stem


def every_page() -> list[Path]:
    """Pages that may have claims: those of the book, the template of a chapter, the README."""
    return [*toc_pages(BOOK), BOOK / "_template.ipynb", ROOT / "README.md"]


def pages_with_claims() -> dict[str, Path]:
    """Name of the file of claims -> its page.

    Raises:
        InputError: if a file of claims belongs to no page.
    """
    pages = {claims_name(path): path for path in every_page()}
    files = sorted((data_dir() / "claims").glob("*.toml"))
    for file in files:
        if file.stem not in pages:
            raise InputError(f"{file.name}: no page of the book has this name; rename or remove the file")
    return {name: path for name, path in pages.items() if claims_file(name).is_file()}


def plain_text(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def stray(page: Page, path: Path) -> Iterator[str]:
    """Sentences of a file of claims that do not stand on its page, one line each."""
    blocks = [plain_text(block.text) for block in page_blocks(path)]
    for number, claim in enumerate(page.claims, 1):
        if not any(claim.says in block for block in blocks):
            yield f"{page.name}.toml, claim {number}: no sentence of {path.name} reads {claim.says[:100]!r}"


def room(claim: Claim) -> float:
    """Half of the smallest difference between two numbers that a sentence sets side by side, or one from nothing."""
    said = [abs(figure.said) for figure in claim.figures]
    apart = [abs(a - b) for place, a in enumerate(said) for b in said[:place]]
    return min([value for value in (*said, *apart) if value > 0], default=np.inf) / 2


def too_wide(page: Page) -> Iterator[str]:
    """Tolerances wider than half of the smallest difference that their sentence states."""
    for number, claim in enumerate(page.claims, 1):
        widest = max((figure.within for figure in claim.figures), default=0.0)
        if widest > room(claim) * (1 + 1e-9):
            wide = f"may be off by {widest:g}, half of what it states is {room(claim):g}"
            yield f"{page.name}.toml, claim {number}: {wide}"


def check(names: list[str]) -> list[str]:
    """What is wrong with the files of claims, one line each; files that cannot be read raise.

    Raises:
        InputError: for the first entry that is not of the form of a claim.
    """
    lines = []
    for name, path in pages_with_claims().items():
        if names and not name.startswith(tuple(names)):
            continue
        page = read_claims(name)
        lines += [*stray(page, path), *too_wide(page)]
        if path.suffix == ".ipynb" and CALL.format(name) not in path.read_text().replace('\\"', '"'):
            lines.append(f"{path.name}: its last cell does not call {CALL.format(name)}")
    return lines


def results(name: str) -> Any:
    """A file of data/results: a table of a .csv or .jsonl, else the value of the JSON."""
    path = data_dir() / "results" / name
    if path.suffix == ".csv":
        return pd.read_csv(path, comment="#")
    return (
        pd.read_json(path, lines=True)
        if path.suffix == ".jsonl"
        else json.loads(path.read_text(encoding="utf-8"))
    )


def without_code(folder: Path) -> None:
    """Measure the statements of pages that are no notebooks, from the recorded results, into a folder."""
    scope = {"results": results, "np": np, "pd": pd, "ROOT": ROOT, "data_dir": data_dir}
    for name, path in pages_with_claims().items():
        if path.suffix == ".md":
            measure(read_claims(name), scope).save(folder)


def records(folder: Path) -> list[dict]:
    """What was measured, a record a page, in the order of the book."""
    order = [claims_name(path) for path in every_page()]
    files = sorted(
        folder.glob("*.json"), key=lambda file: order.index(file.stem) if file.stem in order else 999
    )
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def judged(record: dict) -> list[Outcome]:
    """What was measured on a page, held against today's tolerances.

    Raises:
        InputError: if the record is of other statements than today's.
    """
    page = read_claims(record["page"])
    if record["digest"] != page.digest:
        raise InputError(f"{page.name}.toml has changed since its page was measured: run the notebook again")
    return [
        Outcome(claim, tuple(row["measured"]), tuple(row["held"]), row["error"])
        for claim, row in zip(page.claims, record["claims"], strict=True)
    ]


def rows(folder: Path, page: str | None = None) -> list[tuple[str, Outcome]]:
    """The statements that were measured into a folder, of one page or all, each with the name of its page."""
    wanted = [record for record in records(folder) if page in (None, record["page"])]
    return [(record["page"], row) for record in wanted for row in judged(record)]


def report(folder: Path) -> list[Outcome]:
    """Print how many statements came out, and each that did not; gives those."""
    found = rows(folder)
    off = [(page, row) for page, row in found if row.status != HELD]
    for page, row in off:
        print(f"{page}: {row.status}: {row.found}. It says: {row.claim.says[:160]}")
    pages = len({page for page, _ in off})
    tail = f"; {len(off)} on {pages} pages differ, listed above" if off else ""
    print(
        f"{len(found) - len(off)} of {len(found)} statements of the book came out on this machine{tail}.",
        flush=True,
    )
    return [row for _, row in off]


def main(arguments: list[str]) -> int:
    """Run one of the two; 2 for a file of claims that is wrong, 1 for a statement that does not come out (--strict)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("check", "report"))
    parser.add_argument("names", nargs="*", help="check: the first letters of pages; report: the folder")
    parser.add_argument("--strict", action="store_true", help="report: end with 1 if a statement differs")
    parser.add_argument("--whole", action="store_true", help="report: every page, those without code too")
    asked = parser.parse_args(arguments)
    try:
        if asked.what == "check":
            lines = check(asked.names)
            print(*lines, sep="\n", file=sys.stderr, end="\n" if lines else "")
            return 2 if lines else 0
        folder = Path(asked.names[0]) if asked.names else ROOT / "_build" / "claims"
        if asked.whole:
            without_code(folder)
            missing = set(pages_with_claims()) - {record["page"] for record in records(folder)}
            if missing:
                raise InputError(
                    f"nothing was measured for {', '.join(sorted(missing))}: run all notebooks again"
                )
        off = report(folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    unmeasured = any(row.status == UNMEASURED for row in off)
    return 0 if not (off and asked.strict) else 2 if unmeasured else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
