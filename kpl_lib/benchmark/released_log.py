"""Your own rows beside the log that KPL's authors released: stage by stage, with differences and intervals."""

import csv
import io
from collections.abc import Iterable

from kpl_lib.benchmark.published import LOG
from kpl_lib.benchmark.tables import to_markdown
from kpl_lib.common.extras import pandas as pd
from kpl_lib.common.files import data_dir, read_text

#: Column of the log -> the classifier that computes the same, on the k nearest descriptions.
STAGES = {"text_proxy": "clip", "vision_proxy": "inmap", "vision_proxy_transport": "kpl-released"}
COLUMNS = ["dataset", "encoder", "k", "stage", "theirs", "ours", "low", "high", "difference", "within"]
NOTE = (
    "Accuracies in %. Theirs: the log that the authors of KPL released, with their descriptions. Ours: the same stage "
    "and k with the descriptions of this library, and the bootstrap 95 % interval over the images. Difference: ours "
    "minus theirs. Within: how many of the intervals hold the published figure."
)


def beside_log(rows: Iterable[dict]) -> pd.DataFrame:
    """Set rows beside the figures of the authors' log that have the same set, encoder, stage and k.

    Args:
        rows: of a results file, as `parse` gives them.

    Returns:
        A line a pair, accuracies in %; empty where no row has its figure in the log.

    Raises:
        InputError: if the file of the log is missing.

    Example:
        >>> row = {"dataset": "shenzhen", "encoder": "ViT-L-14-quickgelu/openai", "classifier": "clip",
        ...        "text": "top-k", "parameters": {"k": 5}, "prior": "uniform", "knowledge": "shenzhen",
        ...        "metrics": {"accuracy": [0.6, 0.55, 0.65]}}
        >>> beside_log([row])["ours"].tolist()
        [60.0]

    Chapter: ch-benchmark
    """
    ours = {}
    for row in rows:
        own = row["knowledge"] == row["dataset"] and row["prior"] == "uniform" and row["text"] == "top-k"
        accuracy = row["metrics"]["accuracy"]
        if own and accuracy[0] is not None:
            encoder = row["encoder"].replace("-quickgelu/openai", "")
            ours[row["dataset"], encoder, row["parameters"].get("k"), row["classifier"]] = accuracy
    lines = []
    text = read_text(data_dir() / "published" / LOG, what="table of published figures")
    for one in csv.DictReader(io.StringIO(text)):
        for stage, classifier in STAGES.items():
            known = one["dataset"], one["encoder"], int(one["k"])
            if (*known, classifier) in ours:
                value, low, high = (round(100 * x, 2) for x in ours[(*known, classifier)])
                theirs = float(one[stage])
                line = (*known, stage, theirs, value, low, high, round(value - theirs, 2))
                lines.append((*line, low <= theirs <= high))
    return pd.DataFrame(lines, columns=COLUMNS)


def log_page(pairs: pd.DataFrame) -> str:
    """The pairs as a page of Markdown: means for each set, encoder and stage over the values of k."""
    if pairs.empty:
        return "# Beside the released log\n\nNo row has the set, encoder and k of a figure there yet.\n"
    groups = pairs.groupby(["dataset", "encoder", "stage"], sort=False)
    table = groups[["theirs", "ours", "difference"]].mean().round(1).reset_index()
    table["within"] = [f"{group['within'].sum()} of {len(group)}" for _, group in groups]
    return f"# Beside the released log\n\n{NOTE} Means over k.\n\n{to_markdown(table)}\n"
