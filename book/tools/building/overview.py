"""The figure of the landing page: `python -m book.tools overview` measures its numbers again and draws it.

The numbers stand in data/results/overview.json. A claim of chapter "KPL in one sitting" compares them with what it
measures, and `make test` fails when the figure is not the one that this file draws from them.
"""

import io
import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kpl_lib import notebook
from kpl_lib.classifiers import create
from kpl_lib.common.files import atomic_path
from kpl_lib.datasets import load_dataset
from kpl_lib.encoders import load_encoder
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.metrics import evaluate

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = ROOT / "data" / "results" / "overview.json"
PICTURE = ROOT / "book" / "_static" / "overview.svg"
SETS = ("chest", "retinopathy", "malaria", "cataract")
METHODS = {
    "class name": create("clip"),
    "all descriptions": create("cupl"),
    "all descriptions, balanced and fitted": create("kpl", text="all"),
    "KPL": create("kpl", k=8),
}
MARKS = dict(zip(METHODS, (("grey", "o"), ("sky", "D"), ("orange", "s"), ("blue", "o")), strict=True))
Rows = dict[str, dict[str, list[float]]]  # set -> method -> accuracy, lower and upper end of its interval
ORIGIN = (
    "measured on synthetic phantoms by `python -m book.tools overview`: accuracy in %, then its "
    "95 % bootstrap interval; 2,000 test images a set, unseen scanner, even classes, seed 0"
)
SHOWN = {"chest": 1, "retinopathy": 3, "malaria": 1, "cataract": 3}  # class of the image beside the row
PLAIN = {"svg.hashsalt": "overview", "svg.fonttype": "path"}  # the same numbers give the same file


def measure() -> Rows:
    """Accuracy in per cent and its 95 % interval, for each set and method."""
    encoder, rows = load_encoder("phantom"), {}
    for name in SETS:
        dataset, base = load_dataset(f"phantom-{name}", n=2000), KnowledgeBase.load(f"phantom-{name}")
        data = encoder.encode_images(dataset, workers=2, progress=False, cache=notebook.CACHE)
        texts = encoder.encode_knowledge(base)
        made = {method: classifier.fit_predict(data.images, texts) for method, classifier in METHODS.items()}
        found = {method: evaluate(prediction, data.labels)["accuracy"] for method, prediction in made.items()}
        rows[name] = {
            method: [round(100 * x, 2) for x in (e.value, e.low, e.high)] for method, e in found.items()
        }
    return rows


def draw(rows: Rows) -> str:
    """The figure as SVG: one image and three dots with intervals for each set."""
    mpl.rcParams.update(notebook.STYLE | PLAIN)
    figure = Figure(figsize=(6.6, 3.7), layout="constrained")
    grid = figure.add_gridspec(len(SETS), 2, width_ratios=(1, 7), hspace=0.06, wspace=0.04)
    axis = figure.add_subplot(grid[:, 1])
    for place, (name, values) in enumerate(rows.items()):
        picture = figure.add_subplot(grid[place, 0])
        picture.imshow(phantom(name))
        picture.axis("off")
        draw_row(axis, place, values)
    axis.set_yticks(range(len(SETS)), SETS)
    axis.set(xlim=(20, 101), ylim=(len(SETS) - 0.5, -0.5), xlabel="accuracy, %")
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    words = io.StringIO()
    figure.savefig(words, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in words.getvalue().splitlines()) + "\n"


def phantom(name: str) -> np.ndarray:
    """The first image of the class that stands for a set."""
    dataset = load_dataset(f"phantom-{name}", n=60)
    return np.asarray(dataset[int(np.flatnonzero(np.asarray(dataset.labels) == SHOWN[name])[0])][0])


def draw_row(axis: Axes, place: int, values: dict[str, list[float]]) -> None:
    """The dots of one set; those of the first set carry the names of the methods."""
    found = [value for value, _, _ in values.values()]
    axis.plot([min(found), max(found)], [place, place], color="#D9D9D9", lw=5, zorder=1)
    for method, (value, low, high) in values.items():
        colour, shape = notebook.COLOURS[MARKS[method][0]], MARKS[method][1]
        axis.plot([low, high], [place, place], color=colour, lw=2, zorder=2)
        axis.plot(value, place, shape, ms=8, color=colour, mec="white", mew=0.8, zorder=3, label=method)
    if place == 0:
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, columnspacing=1.2, handletextpad=0.2)


def main() -> int:
    """Measure, then write the numbers and the figure."""
    rows = measure()
    with atomic_path(NUMBERS) as temporary:
        temporary.write_text(json.dumps({"origin": ORIGIN, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    with atomic_path(PICTURE) as temporary:
        temporary.write_text(draw(rows), encoding="utf-8")
    print(NUMBERS, PICTURE, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
