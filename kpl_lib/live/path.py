"""Class vectors on their way through the gradient steps, seen along the mean image and across it."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, menu, readings, slider
from kpl_lib.plots import COLOURS

MOMENTS = 40  # after the start: the first twelve steps, then steps that lie ever further apart
PALETTE = [COLOURS[name] for name in ("blue", "orange", "green", "purple", "sky", "red")]
UNIT = {"scale": alt.Scale(domain=[-1.1, 1.1]), "axis": alt.Axis(values=[-1, -0.5, 0, 0.5, 1])}
SIDE = 250  # pixels of a panel
READINGS = {
    "step": "datum.step",
    "mean cosine of the class vectors with the mean image": "format(datum.x, '.3f')",
    "right labels, %": "format(datum.right, '.1f')",
    "magnification of the right panel": "format(1 / datum.length, '.1f')",
}


def proxy_path(
    images: Tensor, labels: Tensor, names: Sequence[str], runs: Mapping[str, Tensor]
) -> alt.VConcatChart:
    """Where the class vectors of a run are after each step, with a slider for the step and a menu for the run.

        left: (w_c . u, w_c . d_1),    right: (w_c - mean of w) . (d_1, d_2), divided by the longest of them

    Args:
        images: unit features, `(N, D)`; u is the direction of their mean, d_1 and d_2 the first principal directions
            across it.
        labels: of the images, `(N,)`.
        names: of the C classes.
        runs: by name, the class vectors W at the start and after each step, `(steps + 1, C, D)`.

    Returns:
        A chart: images and class vectors by their cosine with u; beside it how the class vectors differ, and how the
        centres of the classes do (hollow); as numbers the step, the cosine, the accuracy and the magnification.

    Raises:
        InputError: unless labels, names and runs fit the images.

    Example:
        >>> images = F.normalize(torch.rand(12, 8), dim=1)
        >>> chart = proxy_path(images, torch.arange(12) % 2, ["a", "b"], {"run": images[None, :2].repeat(5, 1, 1)})

    Chapter: ch-vision-proxies
    """
    shape = (len(names), images.shape[-1])
    if labels.shape != images.shape[:1] or any(run.shape[1:] != shape for run in runs.values()):
        raise InputError(
            f"live.proxy_path: images {tuple(images.shape)}, labels {tuple(labels.shape)}, {len(names)} names, runs"
            f" {[tuple(run.shape) for run in runs.values()]}; give (N, D), (N,), C names, (steps + 1, C, D)"
        )
    along = F.normalize(images.mean(dim=0), dim=0)
    rest = images - torch.outer(images @ along, along)
    axes = torch.cat([along[:, None], torch.linalg.eigh(rest.T @ rest).eigenvectors[:, -2:].flip(1)], dim=1)
    centres = torch.stack([images[labels == c].mean(dim=0) for c in range(len(names))])
    dots = marks_of(images, axes, [names[c] for c in labels.tolist()])
    path = [
        row | {"run": name, "moment": moment, "step": step, "right": right(run[step], images, labels)}
        for name, run in runs.items()
        for moment, step in enumerate(moments(len(run) - 1))
        for row in marks_of(run[step], axes, names)
    ]
    vectors = drawn(path).transform_filter("datum.run == run")
    now = vectors.transform_filter("datum.moment == moment")
    means = now.transform_aggregate(x="mean(x)", step="max(step)", right="max(right)", length="max(length)")
    scale = alt.Scale(domain=list(names), range=PALETTE)
    spots = drawn(marks_of(centres, axes, names))
    left = places(drawn(dots), vectors, now, scale)
    panels = (left | differences(spots, now, scale)).resolve_scale(color="independent", shape="independent")
    moved = slider("moment", "how far the run has come", 0, MOMENTS, 1, MOMENTS)
    return (panels & readings(means, READINGS)).add_params(moved, menu("run", "run", list(runs)))


def moments(last: int) -> list[int]:
    """The steps of the frames: the last one again where a run has fewer."""
    later = torch.logspace(math.log10(13), math.log10(max(last, 13)), MOMENTS - 12)
    return [min(step, last) for step in (*range(13), *later.round().int().tolist())]


def right(weights: Tensor, images: Tensor, labels: Tensor) -> float:
    """Accuracy in percent."""
    return 100 * ((images @ weights.T).argmax(dim=1) == labels).double().mean().item()


def marks_of(vectors: Tensor, axes: Tensor, names: Sequence[str]) -> list[dict[str, str | float]]:
    """A row for each vector: its place, and how it differs from their mean across the first axis."""
    flat = vectors @ axes
    apart = flat[:, 1:] - flat[:, 1:].mean(dim=0)
    length = apart.norm(dim=1).max().clamp_min(1e-30)
    columns = torch.cat([flat[:, :2], apart / length, length.expand(len(flat), 1)], dim=1).tolist()
    return [
        dict(zip(("class", "x", "y", "dx", "dy", "length"), (name, *values), strict=True))
        for name, values in zip(names, columns, strict=True)
    ]


def places(dots: alt.Chart, vectors: alt.Chart, now: alt.Chart, scale: alt.Scale) -> alt.LayerChart:
    """Where images and class vectors are, inside the circle of unit vectors, and the way of the latter so far."""
    x = alt.X("x:Q", title="cosine with the mean image", **UNIT)
    y = alt.Y("y:Q", title="first direction across it", **UNIT)
    colour = alt.Color("class:N", scale=scale, legend=None)
    circle = drawn([{"x": 0, "y": 0}]).encode(x, y)
    circle = circle.mark_point(size=(2 * SIDE / 2.2) ** 2, color=COLOURS["grey"], strokeWidth=1)
    way = vectors.transform_filter("datum.moment <= moment").mark_line(opacity=0.4)
    return (
        circle
        + dots.mark_point(size=8, filled=True, opacity=0.4).encode(x, y, colour)
        + way.encode(x, y, colour, order="moment:Q")
        + vectors.transform_filter("datum.moment == 0").mark_point(size=80).encode(x, y, colour)
        + now.mark_point(size=120, filled=True, stroke="black", shape="diamond").encode(x, y, colour)
    ).properties(width=SIDE, height=SIDE)


def differences(centres: alt.Chart, now: alt.Chart, scale: alt.Scale) -> alt.LayerChart:
    """How the class vectors differ across the mean image (filled), and how the centres of the classes do (hollow)."""
    x = alt.X("dx:Q", title="first direction across, magnified", **UNIT)
    y = alt.Y("dy:Q", title="second direction, magnified", **UNIT)
    legend = alt.Legend(orient="bottom", columns=2, title=None)
    colour = alt.Color("class:N", scale=scale, legend=legend)
    shape = alt.Shape("class:N", scale=alt.Scale(domain=scale.domain), legend=legend)
    hollow = centres.mark_point(size=180).encode(x, y, colour, shape)
    filled = now.mark_point(size=120, filled=True, stroke="black").encode(x, y, colour, shape)
    return (hollow + filled).properties(width=SIDE, height=SIDE)
