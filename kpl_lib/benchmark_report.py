"""The tables of a benchmark: an overview, and every run of every dataset with its intervals."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kpl_lib.benchmark_rows import read_rows
from kpl_lib.benchmark_tables import slug, to_markdown, write
from kpl_lib.errors import InputError
from kpl_lib.paths import atomic_path

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_auroc": "AUROC",
    "macro_f1": "F1",
    "ece": "ECE",
}
METHOD = ["classifier", "text", "setting", "prior", "encoder", "knowledge", "origin", "labels used"]
NOTE = (
    "Values in %, with bootstrap 95 % intervals over the images, for the fitted method and seed. Δ is the paired "
    "difference against the plain text proxy on the same text. Majority is the share of the commonest class. "
    "Each value of a swept parameter has its own row."
)


@dataclass(frozen=True)
class Report:
    """Tables of a benchmark.

    Args:
        tables: by name: `overview` first, then one a dataset.
        files: what was written.

    Chapter: ch-benchmark
    """

    tables: dict[str, pd.DataFrame] = field(repr=False)
    files: tuple[Path, ...] = ()

    def markdown(self) -> str:
        """All tables as one Markdown text."""
        parts = [f"## {name}\n\n{to_markdown(table)}" for name, table in self.tables.items()]
        return "\n\n".join(["# Benchmark", NOTE, *parts]) + "\n"


def report(rows: pd.DataFrame | str | Path, out: str | Path | None = None) -> Report:
    """Make the tables of a benchmark.

    Every row of the file stands in the table of its dataset, also where a parameter was swept: nothing is cut to its
    best value.

    Args:
        rows: what `read_rows` gives, or a results file.
        out: folder for the tables as Markdown, CSV and LaTeX, and all rows as `rows.csv`; made when it is missing;
            None writes nothing.

    Returns:
        The tables, and the files.

    Raises:
        InputError: for a file that is missing, empty or broken, and for a folder that cannot be written.

    Chapter: ch-benchmark
    """
    rows = rows if isinstance(rows, pd.DataFrame) else read_rows(rows)
    rows = _named(rows)
    tables = {"overview": overview(rows)}
    for name, found in rows.groupby("dataset", sort=False):
        tables[str(name)] = _dataset_table(found)
    files = () if out is None else _write(tables, rows, Path(out))
    return Report(tables, files)


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what tables show: the setting in words, and whose knowledge it is."""
    rows = rows.copy()
    changed = [", ".join(f"{key}={value}" for key, value in row.items()) for row in rows["changed"]]
    several = rows["seed"].nunique() > 1
    seeds = [f"seed={seed}" if several else "" for seed in rows["seed"]]
    rows["setting"] = [", ".join(filter(None, pair)) for pair in zip(changed, seeds, strict=True)]
    own = rows["knowledge"] == rows["dataset"].str.split("/").str[0]
    rows["knowledge"] = rows["knowledge"].mask(own, "own")
    rows["labels used"] = ["yes" if reference else "no" for reference in rows["reference"]]
    options = [", ".join(f"{k}={v}" for k, v in found.items()) for found in rows["options"]]
    twice = rows.groupby("dataset")["options"].transform(lambda found: found.map(str).nunique()) > 1
    rows["dataset"] = [
        f"{name} ({text})" if many else name
        for name, text, many in zip(rows["dataset"], options, twice, strict=True)
    ]
    return rows.sort_values(["reference", "dataset"], kind="stable")


def overview(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over datasets for each method and setting; where datasets have variants, the mean of each variant too."""
    rows = rows.assign(variant=rows["dataset"].str.partition("/")[2])
    variants = sorted(set(rows["variant"]) - {""})
    lines = []
    for names, found in rows.groupby(METHOD, sort=False):
        line = dict(zip(METHOD, names, strict=True)) | {"datasets": found["dataset"].nunique()}
        line["majority"] = _percent(found["majority_rate"].mean())
        for key, title in METRICS.items():
            line[title] = _percent(found[key].mean())
        for variant in variants if len(variants) > 1 else ():
            part = found.loc[found["variant"] == variant, "balanced_accuracy"]
            line[f"balanced accuracy, {variant}"] = _percent(part.mean())
        if "difference_balanced_accuracy" in found:
            gain = found["difference_balanced_accuracy"]
            line |= {"Δ balanced, mean": _signed(gain.mean()), "Δ balanced, worst": _signed(gain.min())}
        line["seconds"] = f"{found['seconds'].mean():.3f}"
        lines.append(line)
    return pd.DataFrame(lines)


def _dataset_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Every run on one dataset."""
    lines = []
    for row in rows.to_dict("records"):
        line = {key: row[key] for key in METHOD} | {"n": row["n"], "majority": _percent(row["majority_rate"])}
        for key, title in METRICS.items():
            line[title] = _interval(row, key)
        for key in ("accuracy", "balanced_accuracy"):
            line[f"Δ {METRICS[key]}"] = _interval(row, f"difference_{key}", signed=True)
        lines.append(line | {"seconds": f"{row['seconds']:.3f}"})
    return pd.DataFrame(lines)


def _interval(row: dict, key: str, signed: bool = False) -> str:
    show = _signed if signed else _percent
    value, low, high = (row.get(f"{key}{end}", float("nan")) for end in ("", "_low", "_high"))
    return "" if pd.isna(value) else f"{show(value)} [{show(low)}, {show(high)}]"


def _percent(x: float) -> str:
    return "" if pd.isna(x) else f"{100 * x:.1f}"


def _signed(x: float) -> str:
    return "" if pd.isna(x) else f"{100 * x:+.1f}".replace("-", "−")


def _write(tables: dict[str, pd.DataFrame], rows: pd.DataFrame, out: Path) -> tuple[Path, ...]:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}; name a folder that you may write to"
        ) from None
    files = []
    for name, table in tables.items():
        files += write(table, out, slug(name), f"{name}. {NOTE}")
    for name, text in (("rows.csv", rows.to_csv(index=False)), ("report.md", Report(tables).markdown())):
        files.append(out / name)
        with atomic_path(files[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return tuple(files)
