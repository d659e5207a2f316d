"""A screening test among a thousand people, at a prevalence and a threshold set by hand."""

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, menu, slider
from kpl_lib.plots import COLOURS

EDGE, STEPS = 8, 10  # log odds beyond the edge count as the edge; the threshold moves in tenths
#: What becomes of a person -> how many of 1,000, the colour and the shape.
FATES = {
    "sick, found": ("found", COLOURS["red"], "circle"),
    "sick, missed": ("sick - found", "black", "cross"),
    "healthy, alarmed": ("alarmed", COLOURS["orange"], "triangle-up"),
    "healthy, left alone": ("1000 - sick - alarmed", "#C8C8C8", "square"),
}
FATE = (
    "datum.i < found ? 'sick, found' : datum.i < sick ? 'sick, missed'"
    " : datum.i < sick + alarmed ? 'healthy, alarmed' : 'healthy, left alone'"
)


def screening(log_odds: Tensor, sick: Tensor) -> alt.Chart:
    """Sick found, healthy alarmed and PPV among 1,000 people: sliders for prevalence and threshold.

        alarm where l + log(π / (1 - π)) >= log(h / (1 - h)), with π = 1/2 where the prevalence is not told

    Args:
        log_odds: l of N images, of sick against healthy as even shares give them, `(N,)`.
        sick: which images are sick, bool `(N,)`.

    Returns:
        A chart: log odds of both kinds with the threshold, a thousand marks, and their counts.

    Raises:
        InputError: unless there are finite log odds of sick and of healthy images.

    Example:
        >>> chart = screening(torch.tensor([2.0, 0.5, -1.0]), torch.tensor([True, False, False]))

    Source: Bayes' rule.
    Chapter: ch-when-unsure
    """
    fit = log_odds.shape == sick.shape and log_odds.dim() == 1 and log_odds.isfinite().all()
    if not fit or len(sick.unique()) < 2:
        shapes = f"log odds {tuple(log_odds.shape)}, sick {tuple(sick.shape)}"
        raise InputError(f"live.screening: {shapes}; give (N,), finite, both kinds")
    place = (log_odds.double().clamp(-EDGE, EDGE) * STEPS).floor().long() + EDGE * STEPS
    places = 2 * EDGE * STEPS + 1
    counts = torch.stack([place[kind].bincount(minlength=places).double() for kind in (sick, ~sick)])
    shares = counts / counts.sum(dim=1, keepdim=True)
    above = [[round(x, 9) for x in row.flip(0).cumsum(0).flip(0).tolist()] for row in shares]
    rows = [
        {"l": k / STEPS - EDGE, "sick": round(a, 9), "healthy": round(b, 9)}
        for k, (a, b) in enumerate(shares.T.tolist())
    ]
    cut = "log(threshold / (100 - threshold)) - (told ? log(prevalence / (100 - prevalence)) : 0)"
    index = f"clamp(round({STEPS} * cut), {-EDGE * STEPS}, {EDGE * STEPS}) + {EDGE * STEPS}"
    signals = {"sick": "round(10 * prevalence)", "cut": cut, "at": index, "tpr": f"{above[0]}[at]"}
    signals |= {"fpr": f"{above[1]}[at]", "found": "round(sick * tpr)"}
    signals["alarmed"] = "round((1000 - sick) * fpr)"
    signals["ppv"] = "100 * prevalence * tpr / (prevalence * tpr + (100 - prevalence) * fpr)"
    chart = alt.vconcat(_odds(rows), alt.hconcat(_people(), _counts(), spacing=30), spacing=20)
    return chart.resolve_scale(color="independent").add_params(
        slider("prevalence", "prevalence, %", 0.5, 50, 0.5, 5),
        slider("threshold", "alarm from a probability of, %", 1, 99, 1, 50),
        menu("told", "probabilities are made for", {"even shares": False, "this prevalence": True}),
        *(alt.param(name=name, expr=expr) for name, expr in signals.items()),
    )


def _odds(rows: list[dict]) -> alt.LayerChart:
    """How many of 1,000 people have which log odds, and the threshold."""
    hues = alt.Scale(domain=["sick", "healthy"], range=[COLOURS["red"], "#9A9A9A"])
    kinds = alt.Color("kind:N", title=None, scale=hues, legend=alt.Legend(orient="top"))
    title = "log odds of sick against healthy, at even shares"
    odds = (
        drawn(rows)
        .transform_fold(["sick", "healthy"], as_=["kind", "share"])
        .transform_calculate(
            people="datum.share * (datum.kind == 'sick' ? sick : 1000 - sick)", bin="floor(2 * datum.l) / 2"
        )
        .transform_aggregate(people="sum(people)", groupby=["kind", "bin"])
        .transform_calculate(end="datum.bin + 0.5")
        .mark_bar(opacity=0.75)
        .encode(
            x=alt.X("bin:Q", title=title, scale=alt.Scale(domain=[-EDGE, EDGE])),
            x2="end:Q",
            y=alt.Y("people:Q", title="of 1,000 people", stack=None),
            y2=alt.datum(0),
            color=kinds,
        )
    )
    line = drawn([{}]).transform_calculate(x="cut").mark_rule(strokeWidth=2, strokeDash=[6, 3])
    return (odds + line.encode(x="x:Q")).properties(width=560, height=120)


def _people() -> alt.Chart:
    """A mark for each of 1,000 people, in rows of fifty."""
    return (
        alt.Chart(alt.sequence(0, 1000, as_="i"))
        .transform_calculate(what=FATE, x="datum.i % 50", y="floor(datum.i / 50)")
        .mark_point(filled=True, opacity=1, size=22)
        .encode(x=alt.X("x:O", axis=None), y=alt.Y("y:O", axis=None), **_look())
        .properties(width=330, height=160)
    )


def _look() -> dict:
    """Colour and shape of what becomes of a person."""
    colours, shapes = ([fate[part] for fate in FATES.values()] for part in (1, 2))
    return {
        "color": alt.Color("what:N", legend=None, scale=alt.Scale(domain=list(FATES), range=colours)),
        "shape": alt.Shape("what:N", legend=None, scale=alt.Scale(domain=list(FATES), range=shapes)),
    }


def _counts() -> alt.LayerChart:
    """The counts with their marks, and what an alarm is worth, as numbers."""
    told = {fate: f"format({count}, 'd')" for fate, (count, _, _) in FATES.items()}
    told |= {"sensitivity, %": "format(100 * tpr, '.1f')", "specificity, %": "format(100 - 100 * fpr, '.1f')"}
    told["PPV, %"] = "found + alarmed > 0 ? format(ppv, '.1f') : 'no alarm'"
    lines = drawn([{"what": what} for what in told]).transform_calculate(
        said=" : ".join(f"datum.what == '{what}' ? {said}" for what, said in told.items()) + " : ''"
    )
    axis = alt.Axis(domain=False, ticks=False, labelPadding=8)
    lines = lines.encode(y=alt.Y("what:N", sort=None, title=None, axis=axis))
    keys = lines.transform_filter({"field": "what", "oneOf": list(FATES)})
    keys = keys.mark_point(filled=True, opacity=1, size=60)
    numbers = lines.mark_text(align="right", fontWeight="bold").encode(x=alt.value(60), text="said:N")
    return (keys.encode(x=alt.value(8), **_look()) + numbers).properties(width=64, height=160)
