"""A folder of rows that can be shown to others: the rows, what they were made from, and whether the two agree."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import open_clip
from filelock import FileLock

from kpl_lib.benchmark.row import VERSIONS
from kpl_lib.benchmark.rows import ResultsFile, parse, read_rows, to_line
from kpl_lib.classifiers.base import available as known_classifiers
from kpl_lib.classifiers.references import REFERENCES
from kpl_lib.common.errors import InputError, among, closest
from kpl_lib.common.extras import pandas as pd
from kpl_lib.common.files import data_dir, make_folder, read_json, write_json
from kpl_lib.datasets.load import card
from kpl_lib.encoders.load import available as shipped_encoders
from kpl_lib.encoders.table import encoder_table

ROWS, FACTS = "rows.jsonl", "run.json"
PARTS = ("sets", "encoders", "runs")
CHECKSUM = re.compile(r"[0-9a-f]{64}")
TEXTS = ("encoder", "knowledge", "classifier", "text", "prior", "device", "date")
AGAIN = "run `kpl reproduce` again on this folder"


class RunFolder:
    """Rows, and beside them `run.json`, which says what they were made from.

    Args:
        path: the folder; it is made when missing.

    Raises:
        InputError: if it cannot be written, or holds something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        make_folder(self.path)
        self.rows = ResultsFile(self.path / ROWS)
        self.rows.rows()  # refused, or mended, before anything is fetched
        self.facts()

    def facts(self) -> dict:
        """What `run.json` holds; empty parts where there is none yet."""
        there = (self.path / FACTS).exists()
        return {part: {} for part in PARTS} | (read_json(self.path / FACTS) if there else {})

    def note(self, part: str, name: str, found: dict, device: str | None = None) -> None:
        """Put one set, encoder or run into `run.json`, which another process may be writing to as well."""
        with FileLock(self.path / f".{FACTS}.lock"):
            facts = self.facts() | {"versions": VERSIONS | {"open_clip": open_clip.__version__}}
            facts |= {"date": datetime.now(UTC).isoformat(timespec="seconds")}
            facts |= {"device": device} if device else {}
            facts[part] = dict(sorted({**facts[part], name: found}.items()))
            write_json(self.path / FACTS, facts)


def run_name(dataset: str, encoder: str) -> str:
    """What the runs of a set and an encoder are called."""
    return f"{dataset}, {encoder}"


def digest(row: dict) -> str:
    """16 hexadecimal digits of a whole row, figures and all."""
    return hashlib.sha256(to_line(row)).hexdigest()[:16]


def check_folder(folder: str | Path) -> tuple[str, ...]:
    """What is wrong with a folder that `kpl reproduce` wrote; nothing if it can be shown to others.

    Rows must be whole, with figures in their range; each must be the one that `run.json` lists, made from the images
    and the weights that it names, which are known to this library by the same numbers and checksums.

    Args:
        folder: with `rows.jsonl` and `run.json`; features are not looked at.

    Returns:
        A line a problem: what, where, and what to do.

    Example:
        >>> check_folder("nowhere")
        ('nowhere/rows.jsonl: no such file; make it with `kpl benchmark run`',)

    Chapter: ch-benchmark
    """
    folder = Path(folder)
    try:
        rows, torn = parse(folder / ROWS)
        facts = read_json(folder / FACTS)
    except InputError as error:
        return (str(error),)
    where = folder / FACTS
    missing = [part for part in PARTS if not isinstance(facts.get(part), dict) or not facts[part]]
    missing += [part for part in ("versions", "device", "date") if not facts.get(part)]
    if missing or not rows:
        return (f"{where if missing else folder / ROWS}: no {', '.join(missing) or 'rows'} in it; {AGAIN}",)
    found = [f"{folder / ROWS}: {torn}; {AGAIN}"] if torn else []
    for part, look in (("sets", _of_set), ("encoders", _of_encoder)):
        found += [f"{where}: {line}" for name, one in facts[part].items() for line in look(name, one)]
    found += [f"{folder / ROWS}: {line}" for line in _alike(_of_rows(rows, facts))]
    return tuple(found)


def _of_set(name: str, one: dict) -> Iterable[str]:
    """What is wrong with what is said of a set."""
    try:
        known = card(name)
    except InputError as error:
        yield f"{error}; take its rows out"
        return
    if not CHECKSUM.fullmatch(str(one.get("fingerprint"))):
        yield f"set {name!r} has no fingerprint; {AGAIN}"
    if one.get("images") != known.images[""]:
        yield f"set {name!r} has {one.get('images')} images, published are {known.images['']}; get it whole"
    files = one.get("files") or {}
    for archive in known.archives:
        if archive.checksum and files.get(archive.file, archive.checksum) != archive.checksum:
            yield f"set {name!r}: {archive.file} has not the published checksum; get it again"


def _of_encoder(name: str, one: dict) -> Iterable[str]:
    """What is wrong with what is said of an encoder."""
    known = [*shipped_encoders(), *(row.name for row in encoder_table())]
    if name not in known and not re.fullmatch(r"hf-hub:[\w.-]+/[\w.-]+", name):
        near = closest(name, known)
        yield f"unknown encoder {name!r}; nearest: {near[0] if near else 'none'}; others cannot load it"
    if not CHECKSUM.fullmatch(str(one.get("fingerprint"))):
        yield f"encoder {name!r} has no fingerprint of its weights; {AGAIN}"
    if not isinstance(one.get("temperature"), float) or one["temperature"] <= 0:
        yield f"encoder {name!r} has no temperature; {AGAIN}"


def _of_rows(rows: list[dict], facts: dict) -> Iterable[tuple[str, str]]:
    """Set and encoder of each row with a problem, and the problem; and rows that are listed and not there."""
    left = {name: dict(run.get("rows") or {}) for name, run in facts["runs"].items()}
    for row in rows:
        name = run_name(row["dataset"], row.get("encoder", ""))
        yield from ((name, line) for line in _schema(row, facts))
        listed = left.get(name, {}).pop(row["key"], None)
        if listed is None:
            yield name, f"not listed in {FACTS}; {AGAIN}, or in a new one"
        elif listed != digest(row):
            yield name, f"changed since it was written; delete its line, and {AGAIN}"
    for name, run in facts["runs"].items():
        dataset, _, encoder = name.partition(", ")
        made = [facts[part].get(one, {}) for part, one in (("sets", dataset), ("encoders", encoder))]
        if [one.get("fingerprint") for one in made] != [run.get("set"), run.get("encoder")]:
            yield from [(name, f"made from other images or weights than {FACTS} says; {AGAIN}")]
        yield from ((name, f"listed in {FACTS}, but not there; {AGAIN}") for _ in left[name])


def _schema(row: dict, facts: dict) -> Iterable[str]:
    """What is wrong with one row by itself."""
    lacks = [key for key in TEXTS if not isinstance(row.get(key), str)]
    lacks += [key for key in ("parameters", "class_counts", "versions") if not isinstance(row.get(key), dict)]
    if lacks:
        yield f"has no {', '.join(lacks)}; {AGAIN}"
        return
    if row.get("origin") != "measured-real":
        yield "not measured on real images; take it out"
    if row["dataset"] not in facts["sets"] or row["encoder"] not in facts["encoders"]:
        yield f"of a set or an encoder that {FACTS} does not name; {AGAIN}"
    elif not row.get("n") == sum(row["class_counts"].values()) == facts["sets"][row["dataset"]].get("images"):
        yield f"of another number of images than {FACTS} says; {AGAIN}"
    known = (*known_classifiers(), *REFERENCES)
    if row["classifier"] not in known:
        yield f"unknown classifier {row['classifier']!r}: {among(row['classifier'], known)}"
    wrong = [name for name, triple in row["metrics"].items() if not _in_order(triple)]
    if wrong:
        yield f"{wrong[0]} is no value with an interval around it; {AGAIN}"


def _in_order(triple: object) -> bool:
    """Whether these are value, low and high of a metric; an undefined one is None."""
    if not isinstance(triple, list) or len(triple) != 3:
        return False
    if None in triple:
        return True
    if not all(isinstance(x, int | float) and math.isfinite(x) and -1 <= x <= 1 for x in triple):
        return False
    return triple[1] <= triple[2]


def _alike(problems: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each problem of a set and an encoder."""
    count = Counter(problems)
    return [f"{n} row{'s' if n > 1 else ''} of {name}: {line}" for (name, line), n in count.items()]


def real_rows(folder: str | Path | None = None) -> pd.DataFrame:
    """The rows on real images that lie in folders of `kpl reproduce`, as `read_rows` gives them.

    Args:
        folder: with such folders in it; None is `data/results/real`, which may be empty or missing.

    Returns:
        The table, with the name of the folder of each row in `folder`; without rows, a table with the columns that
        every row has.

    Example:
        >>> list(real_rows("nowhere").columns[:3])
        ['folder', 'origin', 'dataset']

    Chapter: ch-benchmark
    """
    folder = data_dir() / "results" / "real" if folder is None else Path(folder)
    files = sorted(folder.glob(f"*/{ROWS}"))
    found = [read_rows(file).assign(folder=file.parent.name) for file in files]
    columns = ["folder", "origin", "dataset", "changed", *TEXTS]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
