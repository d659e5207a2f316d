"""Figures that more than one chapter draws: images, intervals, a knowledge base, features in a plane.

Chapters import this module; the method never does.
"""

import hashlib
import json
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kpl_lib.common.checks import check_count, check_float_matrix, shape_of
from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import matplotlib as mpl
from kpl_lib.common.extras import missing, need
from kpl_lib.common.extras import pyplot as plt
from kpl_lib.common.files import atomic_path, make_folder
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.knowledge.coverage import Coverage

#: Okabe and Ito's colours: they stay apart for colour-blind readers.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "grey": "#6E6E6E",
}

STYLE = {  # of every figure in the book
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": mpl.cycler(color=list(COLOURS.values())),
    "image.interpolation": "nearest",
}


def image_grid(
    rows: Mapping[str, Sequence], note: str = "synthetic phantoms, not medical data", size: float = 1.15
) -> plt.Figure:
    """Draw rows of images, each row with its name at the left.

    Args:
        rows: name of a row -> its images (PIL images or arrays `[S, S, 3]`).
        note: one line above that says what the images are.
        size: width of one image in inches.

    Returns:
        The figure.

    Example:
        >>> figure = image_grid({"noise": [np.zeros((8, 8, 3))]})
        >>> len(figure.axes)
        1

    Chapter: ch-zero-shot
    """
    columns = max(map(len, rows.values()))
    room = (size * columns + 1.4, size * len(rows) + 0.3)
    figure, axes = plt.subplots(len(rows), columns, figsize=room, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image)
        name = name.replace(" ", "\n", 1) if len(name) > 14 else name
        line[0].text(-0.08, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
    figure.suptitle(note, x=0.99, ha="right", fontsize=8, color=COLOURS["grey"])
    return figure


def examples(dataset: ImageDataset, count: int = 6) -> dict[str, list]:
    """The first `count` images of every class, by class name: rows for `image_grid`.

    Args:
        dataset: labelled images.
        count: images of each class.

    Returns:
        Class name -> its images.

    Chapter: ch-zero-shot
    """
    return {
        name: [dataset[int(i)][0] for i in np.flatnonzero(np.asarray(dataset.labels) == label)[:count]]
        for label, name in enumerate(dataset.class_names)
    }


def interval_dots(
    axis: plt.Axes, rows: Mapping[str, Mapping[str, tuple[float, float, float]]], unit: str = "%"
) -> None:
    """Dots with 95 % intervals: one group of dots a set, one colour a method.

    Args:
        axis: where to draw.
        rows: set -> method -> (value, low, high), in the same unit.
        unit: written on the axis.

    Example:
        >>> figure, axis = plt.subplots()
        >>> interval_dots(axis, {"chest": {"names": (50.0, 48.0, 52.0)}})
        >>> axis.get_xlabel()
        '%'

    Chapter: ch-one-sitting
    """
    methods = list(next(iter(rows.values())))
    colours = dict(zip(methods, COLOURS.values(), strict=False))
    for place, values in enumerate(rows.values()):
        for step, method in enumerate(methods):
            value, low, high = values[method]
            y = place + 0.7 * ((step + 0.5) / len(methods) - 0.5)
            axis.plot([low, high], [y, y], color=colours[method], lw=2, solid_capstyle="round")
            axis.plot(value, y, "o", ms=6, color=colours[method], label=method if place == 0 else None)
        if place:
            axis.axhline(place - 0.5, color="#DDDDDD", lw=0.8)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(unit)


KINDS = {  # colour and shape both say it, so that neither is needed
    True: ("can be seen", COLOURS["blue"], "o"),
    False: ("cannot be seen", COLOURS["red"], "^"),
    None: ("not tagged", COLOURS["grey"], "D"),
}
FORMATS = (".png", ".svg")
WIDTH = 10.0  # inches
#: Panels side by side -> inches of height, size of a mark, size of a title, letters in a line of it.
PANELS = {
    2: (3.4, 5.0, 10.5, 34),
    3: (3.0, 5.0, 10.5, 34),
    5: (1.75, 3.8, 9, 20),
    7: (1.45, 3.4, 7.5, 16),
}


@mpl.rc_context(STYLE)
def knowledge_figure(coverage: Coverage, title: str = "") -> plt.Figure:
    """Draw for each class its descriptions, sorted by mean cosine to the images.

    `s_m = (1/N) Σ_i x_i · t_m`; full marks are the k that retrieval keeps, open ones are dropped, small open ones on
    every half of the images.

    Args:
        coverage: of `coverage_of`.
        title: above the figure.

    Returns:
        The figure; `figure_words` says it in words.

    Example:
        >>> from kpl_lib.knowledge.coverage import Spread
        >>> spread = Spread("demo", {"cat": 2}, (0.5,), (1.0,))
        >>> flags = ((True, False),)
        >>> coverage = Coverage(9, 1, {"cat": ("a", "b")}, flags, ((0.3, 0.1),), flags, flags, (0,), (0,), (1,), spread)
        >>> len(knowledge_figure(coverage).axes)
        1

    Chapter: ch-knowledge
    """
    count = len(coverage.texts)
    columns = 2 if count == 4 else count if count <= 3 else 3 if count <= 9 else 5 if count <= 25 else 7
    height, size, letters, width = PANELS[max(2, columns)]
    lines = -(-count // columns)
    figure = plt.Figure(figsize=(WIDTH, height * lines + 1.0))
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for c, (axis, name) in enumerate(zip(axes, coverage.texts, strict=False)):
        _class_panel(axis, coverage, c, size)
        title_lines = textwrap.wrap(name, width) or [name]
        if len(title_lines) > 2:
            title_lines = [title_lines[0], title_lines[1][:-1] + "…"]
        axis.set_title("\n".join(title_lines), fontsize=letters)
        if c >= count - columns:  # the last panel of its column keeps its numbers
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("place in the class" if columns <= 5 else "place", fontsize=8.5)
    for axis in axes[count:]:
        axis.remove()
    figure.supylabel("mean cosine to the images", fontsize=10)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    marks = _marks(coverage)
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), fontsize=9)
    return figure


def figure_words(coverage: Coverage) -> str:
    """What the figure shows, in words, for readers who do not see it.

    Args:
        coverage: what `knowledge_figure` draws.

    Returns:
        A few sentences.

    Chapter: ch-knowledge
    """
    total, parts = sum(map(len, coverage.texts.values())), []
    for name, flags, kept in zip(coverage.texts, coverage.visual, coverage.kept, strict=True):
        unseen = sum(flag is False for flag, k in zip(flags, kept, strict=True) if k)
        parts.append(f"{name}: {sum(kept)} of {len(kept)} kept, {unseen} of these cannot be seen")
    return (
        f"One panel a class. Its descriptions are sorted by mean cosine to {coverage.images} images; the "
        f"{coverage.k} best are kept. {len(coverage.never)} of {total} never survive on any half of the "
        f"images. {'. '.join(parts)}."
    )


def save_figure(coverage: Coverage, path: str | Path, title: str = "") -> None:
    """Write the figure as .png or .svg, whole or not at all, with its words inside the file.

    Args:
        coverage: of `coverage_of`.
        path: the file; its ending says the format.
        title: above the figure.

    Raises:
        InputError: for another kind of file, or if it cannot be written.

    Chapter: ch-knowledge
    """
    check_figure(path)
    with atomic_path(path) as temporary:
        words = {"Description": figure_words(coverage)}
        knowledge_figure(coverage, title).savefig(temporary, metadata=words, bbox_inches="tight")


def check_figure(path: str | Path) -> None:
    """Raise an InputError unless the name of the file ends in .png or .svg."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"cannot draw {path}: name a file that ends in {' or '.join(FORMATS)}")


def _class_panel(axis: plt.Axes, coverage: Coverage, c: int, size: float) -> None:
    """Draw the descriptions of one class."""
    cosine = np.array(coverage.cosine[c])
    rank = np.argsort(np.argsort(-cosine, kind="stable")) + 1
    kept, fine = np.array(coverage.kept[c]), np.array(coverage.survives[c])
    axis.axvspan(0.5, kept.sum() + 0.5, color=COLOURS["sky"], alpha=0.18, lw=0)
    for visual, (_, colour, shape) in KINDS.items():
        mine = np.array([flag is visual for flag in coverage.visual[c]])
        for where, fill, scale in ((kept, colour, 1.0), (~kept & fine, "white", 1.0), (~fine, "white", 0.6)):
            look = {"ms": size * scale, "color": colour, "mfc": fill, "mew": 0.9, "ls": "none"}
            axis.plot(rank[mine & where], cosine[mine & where], shape, **look)
    axis.set_xlim(0, max(map(len, coverage.cosine)) + 1)
    axis.grid(axis="x", visible=False)
    axis.tick_params(labelsize=8)


def _marks(coverage: Coverage) -> list[plt.Line2D]:
    """What the marks mean, for the legend; only kinds that are there."""
    there = {flag for flags in coverage.visual for flag in flags}
    ink, kinds = "#333333", [kind for flag, kind in KINDS.items() if flag in there]
    told = [(label, shape, colour, colour, 6) for label, colour, shape in kinds]
    told += [(f"kept (best {coverage.k})", "s", ink, ink, 6), ("dropped", "s", ink, "white", 6)]
    told += [("dropped on every half", "s", ink, "white", 3.4)]
    return [
        plt.Line2D([], [], marker=shape, color=colour, mfc=fill, ls="none", ms=size, label=label)
        for label, shape, colour, fill, size in told
    ]


@torch.no_grad()
def plane(
    features: Tensor,
    method: Literal["pca", "umap"] = "pca",
    *,
    seed: int = 0,
    neighbours: int = 15,
    cache: str | Path | None = None,
) -> Tensor:
    """Coordinates in a plane, for a picture: PCA (a projection) or UMAP (a drawing of neighbourhoods).

    PCA: (X − u) V₂, V₂ the two leading right singular vectors, each signed so that its largest entry is positive.
    UMAP keeps who is near whom; distances between clusters, their sizes and the gap between them mean nothing.

    Args:
        features: rows `[N, D]`; for images and texts together, stack them.
        method: "pca" or "umap".
        seed: of UMAP.
        neighbours: of UMAP; its least distance is 0.1.
        cache: folder that keeps UMAP's coordinates, or None. A file is named by features, settings and the versions
            of UMAP and numpy: changed input or software never meets an old picture.

    Returns:
        `[N, 2]`, float32, on the CPU.

    Raises:
        InputError: if the method is unknown, rows are too few, or UMAP is not installed.

    >>> plane(torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))[:, 0].tolist()
    [-2.0, 0.0, 2.0]

    Source: UMAP, McInnes et al. 2018 (arXiv 1802.03426).
    Chapter: ch-gap
    """
    check_float_matrix(features, "features")
    if len(features) < 3 or features.shape[1] < 2:
        raise InputError(f"features {shape_of(features)} must have at least 3 rows and 2 columns for a plane")
    if method == "pca":
        return _pca(features)
    if method != "umap":
        raise InputError(f"method must be 'pca' or 'umap', not {method!r}")
    settings = {"seed": seed, "n_neighbors": check_count(neighbours, "neighbours", 2), "min_dist": 0.1}
    rows = features.detach().float().cpu().contiguous()
    if cache is None:
        return _umap(rows, settings)
    file = _cache_file(Path(cache), rows, settings)
    with suppress(InputError):  # where it is missing, or broken, it is made
        return read_tensors(file, "plane", ("plane",))[0]["plane"]
    drawn = _umap(rows, settings)
    write_tensors(file, "plane", {"plane": drawn}, {"settings": settings})
    return drawn


def _pca(features: Tensor) -> Tensor:
    x = features.double() - features.double().mean(dim=0)
    axes = torch.linalg.svd(x, full_matrices=False).Vh[:2]
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return (x @ (axes * largest.sign()).T).float().cpu()


def _cache_file(folder: Path, rows: Tensor, settings: dict) -> Path:
    try:
        versions = [version("umap-learn"), version("numpy")]
    except PackageNotFoundError:
        raise missing("umap", "method 'umap'") from None
    make_folder(folder)
    key = json.dumps([settings, versions, list(rows.shape)], sort_keys=True).encode()
    digest = hashlib.sha256(key + rows.numpy().tobytes()).hexdigest()[:32]
    return folder / f"umap-{digest}.safetensors"


def _umap(rows: Tensor, settings: dict) -> Tensor:
    umap = need("umap", "method 'umap'")
    near = {"n_neighbors": min(settings["n_neighbors"], len(rows) - 1), "min_dist": settings["min_dist"]}
    model = umap.UMAP(n_components=2, metric="cosine", random_state=settings["seed"], n_jobs=1, **near)
    return torch.from_numpy(model.fit_transform(rows.numpy())).float()
