"""Figures that more than one chapter draws. Chapters import this module; the method never does."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.notebook import COLOURS


def image_grid(
    rows: Mapping[str, Sequence], note: str = "synthetic phantoms, not medical data", size: float = 1.15
) -> Figure:
    """Draw rows of images, each row with its name at the left.

    Args:
        rows: name of a row -> its images (PIL images or arrays `[S, S, 3]`).
        note: one line under the title place that says what the images are.
        size: width of one image in inches.

    Returns:
        The figure.

    Example:
        >>> figure = image_grid({"noise": [np.zeros((8, 8, 3))]})
        >>> len(figure.axes)
        1

    Chapter: ch-zero-shot
    """
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(size * columns + 1.4, size * len(rows) + 0.3), squeeze=False
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image)
        line[0].text(
            -0.08,
            0.5,
            name.replace(" ", "\n", 1) if len(name) > 14 else name,
            transform=line[0].transAxes,
            ha="right",
            va="center",
            fontsize=9,
        )
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
    axis: Axes, rows: Mapping[str, Mapping[str, tuple[float, float, float]]], unit: str = "%"
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
