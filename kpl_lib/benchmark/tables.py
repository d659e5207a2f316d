"""The tables of a benchmark: an overview, and every run of every dataset with its intervals.

As text: Markdown, CSV and LaTeX, each with its own escapes.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from kpl_lib.benchmark.published import compare
from kpl_lib.benchmark.rows import read_rows
from kpl_lib.common.extras import pandas as pd
from kpl_lib.common.files import atomic_path, make_folder


def to_markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; `|` and line breaks inside cells are escaped.

    Args:
        table: columns of text and numbers.

    Returns:
        The lines of the table.

    Example:
        >>> print(to_markdown(pd.DataFrame({"a|b": [1.0]})))
        | a\\|b |
        |---|
        | 1 |

    Chapter: ch-benchmark
    """
    rows = [table.columns, *table.itertuples(index=False)]
    lines = ["| " + " | ".join(_escape(_cell(x)) for x in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])


def to_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A table in LaTeX with the rules of booktabs; text is escaped.

    Args:
        table: columns of text and numbers.
        caption: what stands above it.
        label: for `\\ref`.

    Returns:
        The lines of a `table` environment.

    Chapter: ch-benchmark
    """
    text = table.map(lambda x: _tex(_cell(x))).rename(columns=lambda name: _tex(str(name)))
    body = text.to_latex(index=False, escape=False, caption=_tex(caption), label=f"tab:{label}")
    return f"% needs \\usepackage{{booktabs}}\n{body}"


def _cell(x: object) -> str:
    if x is None or x != x:
        return ""
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


TEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "Δ": r"$\Delta$",
}


def _tex(text: str) -> str:
    return text.translate(str.maketrans(TEX))


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
BESIDE = "Published figures are others' own, on their splits, with their texts: data/published/README.md."


@dataclass(frozen=True)
class Tables:
    """Tables of a benchmark.

    Args:
        tables: by name: `overview` first, then one a dataset.
        files: what was written.
        published: lines that set rows on real images beside published figures; none where nothing is known.

    Chapter: ch-benchmark
    """

    tables: dict[str, pd.DataFrame] = field(repr=False)
    files: tuple[Path, ...] = ()
    published: tuple[str, ...] = ()

    def summary(self) -> str:
        """The first table in Markdown, and below it where real rows lie among published figures."""
        lines = [f"- {line}" for line in (*self.published, BESIDE)] if self.published else []
        return "\n\n".join([to_markdown(self.tables["overview"]), *(["\n".join(lines)] if lines else [])])

    def markdown(self) -> str:
        """All tables as one Markdown text."""
        texts = {name: to_markdown(table) for name, table in self.tables.items()}
        parts = [f"## {name}\n\n{text}" for name, text in (texts | {"overview": self.summary()}).items()]
        return "\n\n".join(["# Benchmark", NOTE, *parts]) + "\n"


def report(rows: pd.DataFrame | str | Path, out: str | Path | None = None) -> Tables:
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
    published, rows = compare(rows.to_dict("records")), _named(rows)
    tables = {"overview": overview(rows)}
    for name, found in rows.groupby("dataset", sort=False):
        tables[str(name)] = _dataset_table(found)
    made = Tables(tables, published=published)
    return made if out is None else replace(made, files=_write(made, rows, Path(out)))


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what tables show: the setting in words, and whose knowledge it is."""
    rows = rows.copy()
    several = rows["seed"].nunique() > 1
    told = zip(rows["changed"], rows["seed"], strict=True)
    rows["setting"] = [_pairs(changed | {"seed": seed} if several else changed) for changed, seed in told]
    own = rows["knowledge"] == rows["dataset"].str.split("/").str[0]
    rows["knowledge"] = rows["knowledge"].mask(own, "own")
    rows["labels used"] = rows["reference"].map({True: "yes", False: "no"})
    options = rows["options"].map(_pairs)
    many = options.groupby(rows["dataset"]).transform("nunique") > 1
    rows["dataset"] = rows["dataset"].mask(many, rows["dataset"] + " (" + options + ")")
    return rows.sort_values(["reference", "dataset"], kind="stable")


def _pairs(found: dict) -> str:
    return ", ".join(f"{key}={value}" for key, value in found.items())


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
            line["Δ balanced, mean"] = _percent(gain.mean(), "+")
            line["Δ balanced, worst"] = _percent(gain.min(), "+")
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
            line[f"Δ {METRICS[key]}"] = _interval(row, f"difference_{key}", "+")
        lines.append(line | {"seconds": f"{row['seconds']:.3f}"})
    return pd.DataFrame(lines)


def _interval(row: dict, key: str, sign: str = "") -> str:
    value, low, high = (_percent(row.get(f"{key}{end}", float("nan")), sign) for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]" if value else ""


def _percent(x: float, sign: str = "") -> str:
    return "" if pd.isna(x) else f"{100 * x:{sign}.1f}".replace("-", "−")


def _write(made: Tables, rows: pd.DataFrame, out: Path) -> tuple[Path, ...]:
    """Write each table three times, all rows and the report; each file whole or not at all."""
    make_folder(out)
    texts = {}
    for title, table in made.tables.items():
        name = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower()
        shown = made.summary() if title == "overview" else to_markdown(table)
        texts[f"{name}.md"] = f"{title}. {NOTE}\n\n{shown}\n"
        texts[f"{name}.csv"] = table.map(_cell).to_csv(index=False, lineterminator="\n")
        texts[f"{name}.tex"] = to_latex(table, f"{title}. {NOTE}", name)
    texts["rows.csv"] = rows.to_csv(index=False, lineterminator="\n")
    texts["report.md"] = made.markdown()
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return tuple(out / name for name in texts)
