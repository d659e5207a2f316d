"""How far figures move between kinds of arithmetic, and the tolerances that follow.

    python -m book.tools spread measure [NAME ...]  every notebook under each arithmetic, features encoded afresh
    python -m book.tools spread write               data/results/claims_spread.csv, `within` in data/claims
    python -m book.tools spread check               how many claims differ under the one that was left out

A tolerance comes from the arithmetics of FOUR: the largest distance from what the page says, and three times the range
that the figure covers, and a margin for rounding; at least half of the last digit that is quoted. It is checked on the
one in LEFT_OUT.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10

import tomlkit

from book.tools.claims.statements import ROOT, pages_with_claims, records, room, rows
from kpl_lib.claim_files import Claim, Figure, claims_file, read_claims
from kpl_lib.claims import HELD
from kpl_lib.common.files import atomic_path, data_dir

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
SSE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}
FOUR = {"one thread": {}, "avx2": AVX2, "sse": SSE, "two threads": {"OMP_NUM_THREADS": "2"}}
LEFT_OUT = {"colab": AVX2 | {"OMP_NUM_THREADS": "2"}}  # at Colab's versions of what the library needs
RUNS = ROOT / "_build" / "spread"
TABLE = data_dir() / "results" / "claims_spread.csv"
FACTOR = 3
MARGIN = 0.2  # of half a digit: a figure that lies where it is rounded may flip


@dataclass(frozen=True)
class Spread:
    """A statement's figure, or its conditions, under every arithmetic."""

    page: str
    number: int
    figure: str
    values: dict[str, float | str]


def measure(names: list[str]) -> int:
    """Execute every notebook under each arithmetic; gives 1 if one did not leave a record of every page."""
    for name, settings in (FOUR | LEFT_OUT).items():
        if names and name not in names:
            continue
        folder = RUNS / name.replace(" ", "_")
        arguments = [f"CLAIMS={folder}", f"KPL_CACHE={folder}_features"]
        if name in LEFT_OUT:
            python = ROOT / ".venv-colab"
            subprocess.run(
                [sys.executable, "tests/house/colab_environment.py", str(python)], cwd=ROOT, check=True
            )
            arguments += [f"VENV={python}", f"STAMP={python / 'bin' / 'python'}"]
        print(f"{name}: {settings or 'nothing set'}", flush=True)
        subprocess.run(["make", "notebooks", *arguments], cwd=ROOT, env=os.environ | settings)
        missing = set(pages_with_claims()) - {record["page"] for record in records(folder)}
        if missing:
            print(f"{name}: nothing was measured for {', '.join(sorted(missing))}", file=sys.stderr)
            return 1
    return 0


def spreads() -> Iterator[Spread]:
    """Every figure and every set of conditions, as measured under each arithmetic that was run."""
    names = [name for name in FOUR | LEFT_OUT if (RUNS / name.replace(" ", "_")).is_dir()]
    runs = {name: {r["page"]: r for r in records(RUNS / name.replace(" ", "_"))} for name in names}
    for page in pages_with_claims():
        for number, claim in enumerate(read_claims(page).claims, 1):
            rows = {name: runs[name][page]["claims"][number - 1] for name in names}
            for place, figure in enumerate(claim.figures):
                exact = {name: row["measured"][place] for name, row in rows.items()}
                found = {
                    name: None if x is None else float(f"{x:.7g}") for name, x in exact.items()
                }  # as kept
                yield Spread(page, number, figure.text, found)
            if claim.conditions:
                held = {name: "holds" if all(row["held"]) else "fails" for name, row in rows.items()}
                yield Spread(page, number, "", held)


def tolerance(figure: Figure, values: dict[str, float], widest: float) -> float | None:
    """How far a figure may be off, by the four; None where half of the last quoted digit is enough.

    It is at most `widest`, half of what the sentence states, but for a figure that moves farther: that one is reported.
    """
    found = [values[name] for name in FOUR]
    moved = max(abs(value - figure.said) for value in found) + FACTOR * (max(found) - min(found))
    needed = min(max(moved + MARGIN * figure.half, figure.half), max(widest, moved))
    if abs(needed - figure.half) <= 1e-9 * figure.half:
        return None
    step = 10.0 ** (floor(log10(needed)) - 2)
    return float(f"{min(step * ceil(needed / step - 1e-9), max(widest, moved)):.6g}")


def write() -> int:
    """Write the table and the tolerances; gives 1 if a tolerance is wider than its sentence allows."""
    found, code = list(spreads()), 0
    names = list(found[0].values)
    with atomic_path(TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Measured by book/tools/claims/spread.py: each figure of the pages under several arithmetics.\n"
        )
        for name in names:
            record = records(RUNS / name.replace(" ", "_"))[-1]  # of a notebook: the first page is none
            file.write(f"# {name}: {', '.join(record['machine'].values())}\n".replace('"', ""))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["page", "claim", "figure", *names])
        for row in found:
            cells = [f"{v:.7g}" if isinstance(v, float) else v for v in row.values.values()]
            writer.writerow([row.page, row.number, row.figure or "condition", *cells])
    for page in pages_with_claims():
        code = max(code, write_page(page, [row for row in found if row.page == page]))
    return code


def write_page(page: str, found: list[Spread]) -> int:
    """Write the tolerances of a page; gives 1 if one is too wide for its sentence or a figure was not measured."""
    path, code = claims_file(page), 0
    document, claims = tomlkit.parse(path.read_text(encoding="utf-8")), read_claims(page).claims
    for number, (entry, claim) in enumerate(zip(document["claim"], claims, strict=True), 1):
        values = {row.figure: row.values for row in found if row.number == number and row.figure}
        gaps = [figure.text for figure in claim.figures if None in values[figure.text].values()]
        if gaps:
            print(f"{page}.toml, claim {number}: not measured everywhere: {', '.join(gaps)}", file=sys.stderr)
            code = 1
            continue
        code = max(code, write_claim(page, number, entry, claim, values))
    with atomic_path(path) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8")
    return code


def write_claim(
    page: str, number: int, entry: dict, claim: Claim, values: dict[str, dict[str, float]]
) -> int:
    """Write the tolerances of one claim; gives 1 if one is too wide."""
    widest = room(claim)
    needed = {figure.text: tolerance(figure, values[figure.text], widest) for figure in claim.figures}
    entry.pop("within", None)
    needed = {text: value for text, value in needed.items() if value is not None}
    if needed:
        table = tomlkit.inline_table()
        table.update(needed)
        entry["within"] = table
    if max(needed.values(), default=0.0) <= widest * (1 + 1e-6):
        return 0
    print(
        f"{page}.toml, claim {number}: moves too far for what it says: {needed}: {claim.says[:100]}",
        file=sys.stderr,
    )
    return 1


def check() -> int:
    """Print how many claims differ under the arithmetic that was left out, with today's tolerances."""
    name = next(iter(LEFT_OUT))
    found = rows(RUNS / name)
    off = [f"{page}: {row.found}: {row.claim.says[:100]}" for page, row in found if row.status != HELD]
    total = len(found)
    print(*off, f"{len(off)} of {total} claims differ under {name}", sep="\n")
    return 1 if len(off) > 0.01 * total else 0


def main(arguments: list[str]) -> int:
    """Run one of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("measure", "write", "check"))
    parser.add_argument("names", nargs="*", help="measure: these arithmetics alone")
    asked = parser.parse_args(arguments)
    return measure(asked.names) if asked.what == "measure" else write() if asked.what == "write" else check()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
