"""The lines of a class in the order of their choice, and how many of them are kept."""

from collections.abc import Mapping

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.features import Features, TextBank, mean_image
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.live.style import drawn, menu, percents, slider
from kpl_lib.plots import COLOURS, KINDS
from kpl_lib.text_proxies import text_proxies_sweep

KEPT = "datum.place <= k"
SHAPES = {"o": "circle", "^": "triangle-up", "D": "diamond"}  # of matplotlib -> of Vega


def kept_lines(
    knowledge: Mapping[str, KnowledgeBase], banks: Mapping[str, TextBank], features: Mapping[str, Features]
) -> alt.HConcatChart:
    """The lines of a class, best first, with a slider for the number k that is kept of each class.

        s_m = u . t_m,   the k largest are kept;   t_c(k) = normalize(sum of the kept)

    Args:
        knowledge: sets of records that say what can be seen.
        banks: the lines of each set, encoded, in the order of the records.
        features: the images of each set, with labels; u is their mean.

    Returns:
        A chart: the lines of the chosen class, the accuracy of its set over k, and the share of lines that can be seen.

    Raises:
        InputError: unless each line has its record, and each image its label.

    Example:
        >>> import torch
        >>> from kpl_lib.knowledge.description import Description
        >>> kb = {"demo": KnowledgeBase("demo", {"a": [Description("one", (), True)], "b": [Description("two")]})}
        >>> x, bank = torch.eye(2), TextBank(("a", "b"), [torch.eye(2)[:1]] * 2, torch.eye(2), (("one",), ("two",)))
        >>> chart = kept_lines(kb, {"demo": bank}, {"demo": Features(x, [0, 1])})

    Chapter: ch-text-proxies
    """
    lines, curves, most = [], [], min(min(bank.counts) for bank in banks.values())
    for name, bank in banks.items():
        records, found = list(knowledge[name].records.values()), features[name]
        if found.labels is None or bank.counts != tuple(map(len, records)):
            counts = f"{bank.counts} lines and {tuple(map(len, records))} records"
            raise InputError(f"live.kept_lines: {name!r} has {counts}; give a record for each, and labels")
        u = mean_image(found.images)
        ranked = [(rows.double() @ u).argsort(descending=True, stable=True) for rows in bank.descriptions]
        titles = [f"{name}: {label}" for label in bank.class_names]
        for title, rows, order in zip(titles, records, ranked, strict=True):
            for place, m in enumerate(order.tolist(), start=1):
                said = {"line": rows[m].text[:70], "kind": KINDS[rows[m].visual][0]}
                lines.append({"class": title, "place": place} | said)
        for k, one in enumerate(text_proxies_sweep(bank, found.images, range(1, most + 1)), start=1):
            right = (found.images @ one.weights.T).argmax(dim=1) == found.labels
            accuracy = 100 * right.double().mean().item()
            curves += [{"class": title, "k": k, "accuracy": accuracy} for title in titles]
    beside = alt.vconcat(_curve(curves), _seen(lines), spacing=24)
    return alt.hconcat(_list(lines), beside, spacing=18).add_params(
        menu("chosen", "Class", list(dict.fromkeys(row["class"] for row in lines))),
        slider("k", "Lines kept of each class, k", 1, most, 1, min(8, most)),
    )


def _list(lines: list[dict]) -> alt.LayerChart:
    """The lines, dark above the cut and pale below it, with a mark for what can be seen."""
    longest = max(row["place"] for row in lines)
    rows = (
        drawn(lines)
        .transform_filter("datum.class == chosen")
        .encode(y=alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[longest + 0.5, 0.5], nice=False)))
    )
    kinds = [kind for kind in KINDS.values() if any(row["kind"] == kind[0] for row in lines)]
    names, hues, shapes = ([kind[part] for kind in kinds] for part in range(3))
    hues, shapes = (alt.Scale(domain=names, range=said) for said in (hues, [SHAPES[s] for s in shapes]))
    above = alt.Legend(orient="top")
    marks = rows.mark_point(filled=True, size=45).encode(
        x=alt.value(8),
        color=alt.Color("kind:N", title=None, scale=hues, legend=above),
        shape=alt.Shape("kind:N", title=None, scale=shapes),
        opacity=alt.condition(KEPT, alt.value(1), alt.value(0.35)),
    )
    words = rows.mark_text(align="left", fontSize=12).encode(
        x=alt.value(18), text="line:N", color=alt.condition(KEPT, alt.value("#111111"), alt.value("#767676"))
    )
    cut = (
        alt.Chart()
        .mark_rule(color="#111111", strokeDash=[4, 3], aria=False)
        .encode(y=alt.YDatum(alt.expr("k + 0.5"), type="quantitative"))
    )
    return (marks + words + cut).properties(width=345, height=14.5 * longest)


def _curve(curves: list[dict]) -> alt.LayerChart:
    """The accuracy of the chosen class's set over k, with its number at the slider's k."""
    rows = (
        drawn(curves)
        .transform_filter("datum.class == chosen")
        .encode(
            x=alt.X("k:Q", axis=alt.Axis(grid=False, tickCount=4)),
            y=alt.Y("accuracy:Q", title=None, scale=alt.Scale(zero=False)),
        )
    )
    here = rows.transform_filter("datum.k == k")
    number = here.mark_text(dy=-14, fontWeight="bold").encode(text=alt.Text("accuracy:Q", format=".1f"))
    point = here.mark_point(filled=True, size=80, opacity=1, color="#111111")
    return (rows.mark_line(color=COLOURS["blue"]) + point + number).properties(
        width=200, height=170, title=alt.Title("Accuracy of the set, %", fontSize=12)
    )


def _seen(lines: list[dict]) -> alt.LayerChart:
    """The share of lines that can be seen, among the kept ones of the class and among all of them."""
    seen = f"datum.kind == '{KINDS[True][0]}'"
    shares = (
        drawn(lines)
        .transform_filter("datum.class == chosen")
        .transform_calculate(kept=KEPT, seen=seen, both=f"{KEPT} && {seen}")
        .transform_aggregate(kept="sum(kept)", seen="sum(seen)", both="sum(both)", all="count()")
        .transform_calculate(
            **{"kept lines": "100 * datum.both / datum.kept", "all lines": "100 * datum.seen / datum.all"}
        )
    )
    return percents(shares, ["kept lines", "all lines"], "Can be seen, %", width=130)
