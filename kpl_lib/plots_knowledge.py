"""A figure of a knowledge base: each description's mean cosine to the images, and what retrieval keeps."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kpl_lib.errors import InputError
from kpl_lib.knowledge_coverage import Coverage
from kpl_lib.notebook import COLOURS
from kpl_lib.paths import atomic_path

KINDS = {  # colour and shape both say it, so that neither is needed
    True: ("can be seen", COLOURS["blue"], "o"),
    False: ("cannot be seen", COLOURS["red"], "^"),
    None: ("not tagged", COLOURS["grey"], "D"),
}
FORMATS = (".png", ".svg")
WIDTH = 10.0  # inches


def knowledge_figure(coverage: Coverage, title: str = "") -> Figure:
    """Draw for each class its descriptions, sorted by mean cosine to the images.

    `s_m = (1/N) Σ_i x_i · t_m`; full marks are the k that retrieval keeps, open ones are dropped, small
    open ones are dropped on every half of the images.

    Args:
        coverage: of `KnowledgeBase.check(encoder=..., images=...)`.
        title: above the figure.

    Returns:
        The figure; `figure_words` says it in words.

    Example:
        >>> from kpl_lib.knowledge_spread import Spread
        >>> spread = Spread("demo", {"cat": 2}, (0.5,), (1.0,))
        >>> flags = ((True, False),)
        >>> coverage = Coverage(9, 1, {"cat": ("a", "b")}, flags, ((0.3, 0.1),), flags, flags, (0,), (0,), (1,), spread)
        >>> len(knowledge_figure(coverage).axes)
        1

    Chapter: ch-knowledge
    """
    count = len(coverage.texts)
    columns = 2 if count == 4 else count if count <= 3 else 3 if count <= 9 else 5 if count <= 25 else 7
    lines = -(-count // columns)
    height = {2: 3.4, 3: 3.0, 1: 3.4}.get(columns, 2.5 if columns == 3 else 1.75 if columns == 5 else 1.45)
    figure = Figure(figsize=(WIDTH, height * lines + 1.0), dpi=110, layout="constrained", facecolor="white")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    size = {5: 3.8, 7: 3.4}.get(columns, 5.0)
    for c, (axis, name) in enumerate(zip(axes, coverage.texts, strict=False)):
        _class_panel(axis, coverage, c, size)
        axis.set_title(_wrapped(name, columns), fontsize={5: 9, 7: 7.5}.get(columns, 10.5), loc="left")
    _trim(axes, count, columns)
    figure.supylabel("mean cosine to the images", fontsize=10)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    _legend(figure, coverage)
    return figure


def figure_words(coverage: Coverage) -> str:
    """What the figure shows, in words, for readers who do not see it.

    Args:
        coverage: what `knowledge_figure` draws.

    Returns:
        A few sentences.

    Chapter: ch-knowledge
    """
    total = sum(map(len, coverage.texts.values()))
    gone = len(coverage.never)
    parts = []
    for name, flags, kept in zip(coverage.texts, coverage.visual, coverage.kept, strict=True):
        unseen = sum(flag is False for flag, k in zip(flags, kept, strict=True) if k)
        parts.append(f"{name}: {sum(kept)} of {len(kept)} kept, {unseen} of these cannot be seen")
    return (
        f"One panel a class. Its descriptions are sorted by mean cosine to {coverage.images} images; the "
        f"{coverage.k} best are kept. {gone} of {total} never survive on any half of the images. "
        + ". ".join(parts)
        + "."
    )


def save_figure(coverage: Coverage, path: str | Path, title: str = "") -> None:
    """Write the figure as .png or .svg, whole or not at all, with its words inside the file.

    Args:
        coverage: of `KnowledgeBase.check(encoder=..., images=...)`.
        path: the file; its ending says the format.
        title: above the figure.

    Raises:
        InputError: for another kind of file, or if it cannot be written.

    Chapter: ch-knowledge
    """
    check_figure(path)
    with atomic_path(path) as temporary:
        knowledge_figure(coverage, title).savefig(
            temporary, metadata={"Description": figure_words(coverage)}, bbox_inches="tight"
        )


def check_figure(path: str | Path) -> None:
    """Raise an InputError unless the name of the file ends in .png or .svg."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"cannot draw {path}: name a file that ends in {' or '.join(FORMATS)}")


def _class_panel(axis: Axes, coverage: Coverage, c: int, size: float) -> None:
    """Draw the descriptions of one class."""
    cosine = np.array(coverage.cosine[c])
    order = np.argsort(-cosine, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    kept, fine = np.array(coverage.kept[c]), np.array(coverage.survives[c])
    axis.axvspan(0.5, kept.sum() + 0.5, color=COLOURS["sky"], alpha=0.18, lw=0)
    for visual, (_, colour, shape) in KINDS.items():
        mine = np.array([flag is visual for flag in coverage.visual[c]])
        for where, full, scale in ((kept, True, 1.0), (~kept & fine, False, 1.0), (~fine, False, 0.6)):
            axis.plot(
                rank[mine & where],
                cosine[mine & where],
                shape,
                ms=size * scale,
                color=colour,
                mfc=colour if full else "white",
                mew=0.9,
                ls="none",
            )
    axis.set_xlim(0, max(map(len, coverage.cosine)) + 1)
    axis.grid(axis="y", color="#E6E6E6")
    axis.grid(axis="x", visible=False)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _trim(axes: np.ndarray, count: int, columns: int) -> None:
    """Take away empty panels; the last panel of each column keeps its numbers."""
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("place in the class" if columns <= 5 else "place", fontsize=8.5)


def _wrapped(name: str, columns: int) -> str:
    """A class name on at most two lines."""
    lines = textwrap.wrap(name, {5: 20, 7: 16}.get(columns, 34)) or [name]
    return "\n".join(lines if len(lines) <= 2 else [lines[0], lines[1][:-1] + "…"])


def _legend(figure: Figure, coverage: Coverage) -> None:
    """What the marks mean; only kinds that are there."""
    there = {flag for flags in coverage.visual for flag in flags}
    ink = "#333333"
    marks = [
        Line2D([], [], marker=shape, color=colour, ls="none", ms=6, label=label)
        for flag, (label, colour, shape) in KINDS.items()
        if flag in there
    ]
    marks += [
        Line2D([], [], marker="s", color=ink, ls="none", ms=6, label=f"kept (best {coverage.k})"),
        Line2D([], [], marker="s", color=ink, mfc="white", ls="none", ms=6, label="dropped"),
        Line2D([], [], marker="s", color=ink, mfc="white", ls="none", ms=3.4, label="dropped on every half"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=9)
