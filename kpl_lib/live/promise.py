"""What prediction sets hold and how long they are, over the coverage that is asked."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, menu, numbers, slider
from kpl_lib.plots import COLOURS


def set_sizes(asked: Sequence[int], ways: Mapping[str, tuple[Tensor, Tensor]]) -> alt.Chart:
    """Coverage against the size of sets: a slider for the coverage that is asked, a menu for what makes the sets.

    Args:
        asked: P coverages in percent, ascending, one step apart.
        ways: name -> coverage that D draws of the labelled images reached, `(P, D)`, and the share of sets with
            0, 1, ..., C classes, `(P, C + 1)`.

    Returns:
        A chart: bars of the sizes, and curves of coverage and mean size with the present point marked.

    Raises:
        InputError: unless each way has a row for each coverage that is asked.

    Example:
        >>> import torch
        >>> chart = set_sizes([50, 51], {"a coin": (torch.rand(2, 3), torch.tensor([[0.4, 0.6], [0.3, 0.7]]))})

    Chapter: ch-when-unsure
    """
    for name, parts in ways.items():
        if any(part.dim() != 2 or len(part) != len(asked) for part in parts):
            shapes = " and ".join(str(tuple(part.shape)) for part in parts)
            lines = f"{len(asked)} coverages; give (P, D), (P, C + 1)"
            raise InputError(f"live.set_sizes: {name!r} has {shapes} for {lines}")
    curves, bars = [], []
    for name, (reached, shares) in ways.items():
        sizes = (shares * shares.new_tensor(range(shares.shape[1]))).sum(dim=1)
        for p, draws, size, row in zip(asked, 100 * reached, sizes.tolist(), 100 * shares, strict=True):
            low, mean, high = (round(found.item(), 1) for found in (draws.min(), draws.mean(), draws.max()))
            curve = {"low": low, "reached": mean, "high": high, "size": round(size, 2)}
            curves.append({"way": name, "p": p} | curve)
            shown = enumerate(row.tolist())
            bars += [{"way": name, "p": p, "classes": k, "sets": round(share, 1)} for k, share in shown]
    x = alt.X("p:Q", title="coverage asked, %", scale=alt.Scale(domain=[asked[0], asked[-1]], nice=False))
    way = drawn(curves).transform_filter("datum.way == way").encode(x=x)
    reached = alt.Y("reached:Q", title="coverage reached, %", scale=alt.Scale(zero=False))
    diagonal = drawn([{"p": asked[0]}, {"p": asked[-1]}]).encode(x=x, y="p:Q")
    held = way.mark_area(opacity=0.35, color=COLOURS["sky"]).encode(y="low:Q", y2="high:Q")
    held += diagonal.mark_line(strokeDash=[4, 4], color=COLOURS["grey"]) + _marked(way, reached, ".1f")
    size = alt.Y("size:Q", title="classes in a set, mean", scale=alt.Scale(domain=[0, len(row) - 1]))
    thirds = {"scale": alt.Scale(domain=[0, 118]), "axis": alt.Axis(values=[0, 50, 100])}
    length = alt.X("sets:Q", title="sets, %", **thirds)
    rows = drawn(bars).transform_filter("datum.way == way && datum.p == asked")
    rows = rows.encode(x=length, y=alt.Y("classes:O", title="classes in the set"))
    counted = rows.mark_bar(color=COLOURS["blue"]) + numbers(rows, "sets:Q", ".1f")
    right = [part.properties(width=230, height=130) for part in (held, _marked(way, size, ".2f"))]
    chart = alt.hconcat(counted.properties(width=190, height=320), alt.vconcat(*right), spacing=30)
    moved = slider("asked", "coverage asked, %", asked[0], asked[-1], 1, 90)
    return chart.add_params(moved, menu("way", "sets by", list(ways)))


def _marked(curve: alt.Chart, y: alt.Y, digits: str) -> alt.LayerChart:
    """A curve with its point at the coverage that is asked, and its number."""
    point = curve.transform_filter("datum.p == asked").encode(y=y)
    number = point.mark_text(align="right", dx=-8, dy=-8, fontWeight="bold")
    number = number.encode(text=alt.Text(y.shorthand, format=digits))
    dot = point.mark_point(filled=True, size=70, color="black", opacity=1)
    return curve.mark_line(color=COLOURS["blue"]).encode(y=y) + dot + number
