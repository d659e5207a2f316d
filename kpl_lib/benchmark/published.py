"""What others published, beside your own rows: the tables of `data/published/` against rows on real images."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir, read_text

METRICS = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "AUROC": "macro_auroc"}
LOG, COLLECTED = "kpl_released_log.csv", "zero_shot.csv"


class Published(NamedTuple):
    """A published figure, in %; `encoder` is empty where it is not told.

    Chapter: ch-benchmark
    """

    dataset: str
    encoder: str
    metric: str
    value: float
    file: str


def read_published(folder: str | Path | None = None) -> list[Published]:
    """The published zero-shot figures on sets that load by name; a figure whose metric is not told is left out.

    Args:
        folder: with both files; None takes the one that ships.

    Returns:
        The figures, in the order of the files.

    Raises:
        InputError: if a file is missing, has no rows or lacks a column, or a figure is no number.

    Example:
        >>> sorted({one.file for one in read_published() if one.dataset == "shenzhen"})
        ['kpl_released_log.csv', 'zero_shot.csv']

    Chapter: ch-benchmark
    """
    folder, found = data_dir() / "published" if folder is None else Path(folder), []
    for file, figures in ((LOG, _of_log), (COLLECTED, _of_collected)):
        text = read_text(folder / file, what="table of published figures")
        table = csv.DictReader(io.StringIO(text, newline=""), restval="")
        try:
            made = [one for row in table for one in figures(row)]
        except (KeyError, ValueError, csv.Error) as error:
            why = f"no column {error}" if isinstance(error, KeyError) else error
            where = f"{folder / file}: line {table.line_num}"
            raise InputError(f"{where}: {why}; take the file of the repository again") from None
        if not made:
            raise InputError(f"{folder / file}: no figures in it; take the file of the repository again")
        found += made
    return found


def _of_log(row: dict) -> list[Published]:
    values = [float(row[column]) for column in ("text_proxy", "vision_proxy", "vision_proxy_transport")]
    return [Published(row["dataset"], f"{row['encoder']}/openai", "accuracy", x, LOG) for x in values]


def _of_collected(row: dict) -> list[Published]:
    value, metric = float(row["value"]) * (1 if row["unit"] == "%" else 100), row["metric"]
    known = row["dataset_here"] and metric in METRICS
    return [Published(row["dataset_here"], row["encoder"], metric, value, COLLECTED)] if known else []


def compare(rows: Iterable[dict], published: Iterable[Published] | None = None) -> tuple[str, ...]:
    """Where rows lie among published figures: one line for each set, encoder and metric that has some.

    Figures of the same encoder are taken where there are any, else those of all. Rows on phantoms are left out, and
    rows that read labels.

    Args:
        rows: of a results file.
        published: as `read_published` gives them, with its errors; None reads those that ship.

    Returns:
        The lines, in the order of the rows.

    Example:
        >>> row = {"origin": "measured-real", "reference": False, "dataset": "cub", "encoder": "x", "accuracy": 0.5}
        >>> compare([row], [Published("cub", "", "accuracy", 56.0, COLLECTED)])[0].partition("; yours ")[2]
        'with x: 50.0 %, below what others report'

    Chapter: ch-benchmark
    """
    mine: dict[tuple, list[float]] = {}
    for row in rows:
        for metric, column in METRICS.items():
            x = row.get(column)
            if row["origin"] == "measured-real" and not row["reference"] and x is not None and x == x:
                mine.setdefault((row["dataset"], row["encoder"], metric), []).append(round(100 * x, 1))
    theirs = read_published() if mine and published is None else list(published or ())
    return tuple(filter(None, (_line(*key, yours, theirs) for key, yours in mine.items())))


def _line(dataset: str, encoder: str, metric: str, yours: list[float], theirs: list[Published]) -> str:
    def plain(name: str) -> str:
        return name.replace("-quickgelu/openai", "/openai")  # two names of the same weights

    def span(values: list[float]) -> str:
        return " to ".join(dict.fromkeys(f"{x:.1f}" for x in (min(values), max(values)))) + " %"

    found = [one for one in theirs if (one.dataset, one.metric) == (dataset, metric)]
    same = [one for one in found if plain(one.encoder) == plain(encoder)]
    values = [round(one.value, 1) for one in same or found]
    if not values:
        return ""
    kinds = ("below" if x < min(values) else "above" if x > max(values) else "within" for x in sorted(yours))
    files = ", ".join(sorted({one.file for one in same or found}))
    whose, mine = (f" with {encoder}", "") if same else ("", f" with {encoder}")
    count = f"{len(values)} figure{'s' if len(values) > 1 else ''}"
    return (
        f"published zero-shot {metric} on {dataset}{whose}: {span(values)} ({count}; {files}); "
        f"yours{mine}: {span(yours)}, {' to '.join(dict.fromkeys(kinds))} what others report"
    )
