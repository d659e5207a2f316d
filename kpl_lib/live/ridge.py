"""The border of ridge regression between two clouds in the plane, turned by its ridge."""

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, readings, slider
from kpl_lib.plots import COLOURS

STYLES = {"no ridge": [6, 3], "ridge λ": [1, 0], "endless ridge": [2, 3]}  # dashes
BELOW = alt.Legend(orient="bottom")
CROSS = "M-1,-1L1,1M-1,1L1,-1"


def ridge_border(points: Tensor, labels: Tensor) -> alt.VConcatChart:
    """Two clouds and the border of the ridge regression of their labels, with a slider for its ridge.

        w = (S + lambda I)^-1 b,    S = X^T X / N,    b = X^T s / N

    Args:
        points: X, with the mean zero, `(N, 2)`.
        labels: 0 or 1, `(N,)`; s is -1 or 1.

    Returns:
        A chart: the points, wrong ones crossed, their class means, and the border w . x = 0, with those of no ridge
        and of an endless one. As numbers: the ridge, the angle between its border and the line through the means, and
        the share of points on their own side.

    Raises:
        InputError: unless points are (N, 2) with the mean zero, and labels N zeros and ones, both present.

    Example:
        >>> points = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> chart = ridge_border(points, torch.tensor([0, 1, 1, 0]))

    Chapter: ch-primer-ridge
    """
    fits = points.shape == (len(labels), 2) and labels.ndim == 1 and set(labels.tolist()) == {0, 1}
    if not fits or not torch.allclose(points.mean(dim=0), torch.zeros(2).to(points), atol=1e-5):
        shapes = f"points {tuple(points.shape)}, labels {tuple(labels.shape)}"
        raise InputError(f"live.ridge_border: {shapes}; give (N, 2), centred, and (N,) of 0 and 1")
    scatter, b = points.T @ points / len(points), points.T @ (2 * labels - 1).to(points) / len(points)
    (xx, xy), (_, yy) = scatter.tolist()
    bx, by = b.tolist()
    params = {
        "ridge": "pow(10, power_of_ten)",
        "wx": f"({yy} + ridge) * {bx} - {xy} * {by}",  # Cramer's rule, without the determinant
        "wy": f"({xx} + ridge) * {by} - {xy} * {bx}",
        "angle": f"180 / PI * asin(abs(wx * {bx} + wy * {by}) / hypot(wx, wy) / hypot({bx}, {by}))",
    }
    rows = [{"x": x, "y": y, "class": c} for (x, y), c in zip(points.tolist(), labels.tolist(), strict=True)]
    right = "(wx * datum.x + wy * datum.y > 0) == (datum.class == 1)"
    dots = drawn(rows).transform_calculate(right=right)
    ends = {"no ridge": [yy * bx - xy * by, xx * by - xy * bx], "endless ridge": [bx, by]}
    reach = 1.05 * torch.maximum(points[:, 0].abs().max(), 1.5 * points[:, 1].abs().max()).item()
    texts = {
        "ridge λ": "format(ridge, '.3f')",
        "angle between border and line of means, degrees": "format(angle, '.1f')",
        "points on their own side, %": "format(100 * datum.share, '.1f')",
    }
    below = readings(dots.transform_aggregate(share="mean(right)"), texts)
    return (picture(dots, ends, reach) & below).add_params(
        slider("power_of_ten", "log10 of the ridge", -2, 2, 0.1, 0),
        *(alt.param(name=name, expr=expression) for name, expression in params.items()),
    )


def picture(dots: alt.Chart, normals: dict[str, list[float]], reach: float) -> alt.LayerChart:
    """Points, means and borders; those of `normals` stay."""
    x = alt.X("x:Q", title=None, scale=alt.Scale(domain=[-reach, reach]))
    y = alt.Y("y:Q", title=None, scale=alt.Scale(domain=[-reach / 1.5, reach / 1.5]))
    colour = alt.Color("class:N", legend=BELOW, scale=alt.Scale(range=[COLOURS["blue"], COLOURS["orange"]]))
    shape = alt.Shape("class:N", legend=BELOW, scale=alt.Scale(range=["circle", "square"]))
    dots = dots.encode(x, y)
    clouds = dots.mark_point(filled=True, size=25, opacity=0.6).encode(color=colour, shape=shape)
    wrong = dots.transform_filter("!datum.right").mark_point(shape=CROSS, color="black", size=60)
    means = dots.transform_aggregate(x="mean(x)", y="mean(y)", groupby=["class"])
    means = means.mark_line(color="black", point={"color": "black", "size": 120, "shape": "diamond"})
    dashes = alt.StrokeDash("border:N", sort=None, legend=BELOW, scale=alt.Scale(range=list(STYLES.values())))
    rows = [{"border": name, "normal": normals.get(name)} for name in STYLES]
    lines = (
        drawn(rows)
        .transform_calculate(normal="datum.normal || [wx, wy]")
        .transform_calculate(far=f"{2 * reach} / hypot(datum.normal[0], datum.normal[1])")
        .transform_calculate(x="datum.normal[1] * datum.far", y="-datum.normal[0] * datum.far")
        .transform_calculate(x2="-datum.x", y2="-datum.y")
        .mark_rule(clip=True, strokeWidth=2.5, color=COLOURS["green"])
        .encode(x, y, x2="x2", y2="y2", strokeDash=dashes)
    )
    return (clouds + wrong + means + lines).properties(width=420, height=280)
