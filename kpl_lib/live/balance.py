"""Sinkhorn's algorithm on a small table, half a sweep at a time."""

from collections.abc import Sequence

from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, slider
from kpl_lib.plots import COLOURS

STEPS = 10
HEADING = """step == 0 ? 'Start: each row is a softmax' : 'Step ' + step + (step % 2
? ': columns scaled to what they are to receive' : ': rows scaled to one')"""


def half_steps(logits: Tensor, names: Sequence[str]) -> alt.Chart:
    """A table of six images and three classes, whose columns and rows are scaled to their sums in turn.

        Y_ic <- Y_ic N q_c / sum_j Y_jc    at steps 1, 3, ...
        Y_ic <- Y_ic / sum_d Y_id          at steps 2, 4, ...

    Args:
        logits: scores over the temperature, `(6, 3)`; the table starts at the softmax of each row.
        names: of the three classes.

    Returns:
        A chart: the table after as many steps as its first slider says, with the sums of its columns and rows, and
        two sliders for what the first two columns receive; the third takes the rest.

    Raises:
        InputError: unless logits are (6, 3) and finite, and there are three names.

    Example:
        >>> import torch
        >>> chart = half_steps(torch.zeros(6, 3), ["A", "B", "C"])

    Chapter: ch-primer-transport
    """
    if logits.shape != (6, 3) or len(names) != 3 or not logits.isfinite().all():
        found = f"logits {tuple(logits.shape)}, {len(names)} names"
        raise InputError(f"live.half_steps: {found}; give (6, 3), finite, and three")
    rows = [
        {"image": i + 1, "class": name, "place": c, "logit": logits[i, c].item()}
        for i in range(6)
        for c, name in enumerate(names)
    ]
    table = drawn(rows).transform_calculate(
        wanted="[first, second, 6 - first - second][datum.place]", y="exp(datum.logit)", one="1"
    )
    table = scaled(table, "y", "y0", "image", "one")
    for step in range(1, STEPS + 1):
        side = ("class", "wanted") if step % 2 else ("image", "one")
        table = scaled(table, f"y{step - 1}", f"y{step}", *side)
    frames = ", ".join(f"datum.y{step}" for step in range(STEPS + 1))
    table = table.transform_calculate(share=f"[{frames}][step]")
    table = table.transform_joinaggregate(most="max(share)", groupby=["image"])
    x = alt.X("class:N", sort=None, title=None, axis=None)
    largest = alt.when("datum.share == datum.most").then(alt.value(COLOURS["orange"]))
    depth = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 2.5], clamp=True), legend=None)
    cells = table.mark_rect(strokeWidth=3).encode(color=depth, stroke=largest)
    cells += table.mark_text().encode(text=alt.Text("share:Q", format=".3f"))
    cells = cells.encode(x=x, y=alt.Y("image:O")).properties(width=240, height=186)
    above = sums(table, "class", "wanted", alt.Y, [0, 6])
    above = above.encode(x=x.axis(orient="top", labelAngle=0, title=None))
    beside = sums(table, "image", "one", alt.X, [0, 2.5]).encode(y=alt.Y("image:O", axis=None))
    beside = beside.properties(width=160, height=186)
    charts = alt.vconcat(above.properties(width=240, height=90), cells | beside)
    return charts.properties(title=alt.Title(alt.expr(HEADING))).add_params(
        slider("step", "steps", 0, STEPS, 1, 1),
        slider("first", f"images for {names[0]}", 0.5, 2.5, 0.5, 2),
        slider("second", f"images for {names[1]}", 0.5, 2.5, 0.5, 2),
    )


def scaled(table: alt.Chart, old: str, new: str, side: str, wanted: str) -> alt.Chart:
    """Scale a column of the data so that it sums to what is wanted in each group of `side`."""
    table = table.transform_joinaggregate(groupby=[side], **{f"sum_{new}": f"sum({old})"})
    return table.transform_calculate(**{new: f"datum.{old} * datum.{wanted} / datum.sum_{new}"})


def sums(table: alt.Chart, side: str, wanted: str, along: type, domain: list[float]) -> alt.LayerChart:
    """The sum of each group of `side` as a bar with its number, and a line at what is wanted."""
    each = table.transform_aggregate(total="sum(share)", wanted=f"max({wanted})", groupby=[side])
    each = each.transform_calculate(end="max(datum.total, datum.wanted)")
    axis, place = ("x", {"align": "left", "dx": 5}) if along is alt.X else ("y", {"dy": -8})
    length = along("total:Q", title="sum (line: wanted)", scale=alt.Scale(domain=domain))
    bars = each.mark_bar(color=COLOURS["grey"], opacity=0.6).encode(**{axis: length})
    lines = each.mark_tick(color=COLOURS["red"], thickness=3).encode(**{axis: along("wanted:Q")})
    numbers = each.mark_text(**place).encode(**{axis: along("end:Q")}, text=alt.Text("total:Q", format=".3f"))
    return bars + lines + numbers
