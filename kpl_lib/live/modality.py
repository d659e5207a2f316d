"""Images and texts of several sets as one map, while the gap between them is closed by hand."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.common.pictures import thumbnail
from kpl_lib.features import Features, TextBank
from kpl_lib.live.style import drawn, menu, percents, slider
from kpl_lib.plots import COLOURS

ALL = "all sets"
CHOSEN = f"chosen == '{ALL}' || datum.set == chosen"
ROOM = (600, 270)  # of the map, in pixels
HUES = ("blue", "orange", "green", "purple", "sky", "grey")
KINDS = {  # colour of its edge, size, shape, and what the pointer shows
    "image": ("white", 45, "circle", "image"),
    "text": ("black", 70, "triangle-up", "line"),
}


def gap_map(
    features: Mapping[str, Features],
    banks: Mapping[str, TextBank],
    proxies: Mapping[str, Tensor],
    pictures: Mapping[str, Sequence[Image.Image]],
    maps: Mapping[str, Tensor],
) -> alt.ConcatChart:
    """Images and texts of some sets in a plane, with a slider that closes the gap of each set.

        texts move, t + a d:   score of class c  x . t_c + a x . d,   d = u - v
        images move, x - a d:  score of class c  x . t_c - a d . t_c

    The browser adds these numbers to the scores, picks the largest again, and counts the labels that change.

    Args:
        features: the N images of each set, with labels.
        banks: the M lines of each set that are shown, with their texts; u and v are the means of images and lines.
        proxies: class vectors of each set, `[C, D]`, which give the labels.
        pictures: N of each set.
        maps: name of a map -> places of all images, then of all lines, set by set: `[S, sum(N) + sum(M), 2]` for S
            even steps of the share a from 0 to 1.

    Returns:
        A chart: the map, what a frame drawn in it holds, the distance of the means, and the labels.

    Raises:
        InputError: unless pictures, labels, texts and places are as many as images and lines.

    Example:
        >>> x, bank = torch.eye(2), TextBank(("a", "b"), [torch.eye(2)[:1]] * 2, torch.eye(2), (("one",), ("two",)))
        >>> found = {"demo": Features(x, [0, 1])}, {"demo": bank}, {"demo": x}, {"demo": [Image.new("L", (8, 8))] * 2}
        >>> chart = gap_map(*found, {"PCA": torch.rand(3, 4, 2)})

    Chapter: ch-gap
    """
    rows = [row for name in features for row in _images(name, features, banks, proxies, pictures)]
    rows += [row for name in features for row in _lines(name, banks[name])]
    for title, places in maps.items():
        if places.ndim != 3 or places.shape[1:] != (len(rows), 2):
            shape = f"{tuple(places.shape)} of {title!r}; give (S, {len(rows)}, 2)"
            raise InputError(f"live.gap_map: {len(rows)} images and lines, and places {shape}")
        for row, path in zip(rows, _fitted(places).transpose(0, 1).tolist(), strict=True):
            row["maps"][title] = [[round(value, 1) for value in place] for place in path]
    spots = drawn(rows).transform_calculate(
        path="datum.maps[picture]",
        place="datum.path[round(share * (length(datum.path) - 1))]",
        x="datum.place[0]",
        y="datum.place[1]",
    )
    frame = alt.selection_interval(name="frame")
    hues = alt.Scale(domain=list(features), range=[COLOURS[name] for name in HUES[: len(features)]])
    classes = [label for name in features for label in banks[name].class_names]
    counts = Counter((row["kind"], row["class"]) for row in rows)
    most = {kind: max(n for (one, _), n in counts.items() if one == kind) for kind in KINDS}
    inside = _inside(spots, frame, hues, classes, most)
    below = alt.hconcat(inside, alt.vconcat(_distances(spots), *_labels(spots), spacing=12), spacing=20)
    whole = alt.concat(_map(spots, frame, hues), below, columns=1, align="none", spacing=8)
    return whole.resolve_scale(color="independent").add_params(
        menu("picture", "Map", list(maps)),
        menu("chosen", "Set", [ALL, *features]),
        slider("share", "Share of the gap closed", 0, 1, 0.05, 0),
    )


def _images(name: str, features: Mapping, banks: Mapping, proxies: Mapping, pictures: Mapping) -> list[dict]:
    """A row for each image of a set: its picture, its scores, and what closing the gap adds to them."""
    found, bank, weights = features[name], banks[name], proxies[name]
    if found.labels is None or len(pictures[name]) != len(found) or len(weights) != len(bank):
        many = f"{len(found)} images and {len(pictures[name])} pictures, {len(bank)} classes, {len(weights)}"
        raise InputError(f"live.gap_map: {name!r} has {many} proxies; give one each, and labels")
    gap = found.images.mean(dim=0) - torch.cat(list(bank.descriptions)).mean(dim=0)
    shared = {"set": name, "kind": "image", "offset": _digits(weights @ gap), "order": [*range(len(bank))]}
    each = zip(
        found.labels.tolist(),
        map(thumbnail, pictures[name], [30] * len(found)),
        _digits(found.images @ weights.T),
        _digits(found.images @ gap),
        strict=True,
    )
    return [
        {"id": f"{name} {number}", "class": bank.class_names[label], "image": picture, "maps": {}}
        | {"label": label, "score": scores, "along": along}
        | shared
        for number, (label, picture, scores, along) in enumerate(each)
    ]


def _digits(values: Tensor) -> list:
    """Cosines with six digits: more would only weigh."""
    return values.double().round(decimals=6).tolist()


def _lines(name: str, bank: TextBank) -> list[dict]:
    """A row for each line of a set."""
    if any(len(lines) != count for lines, count in zip(bank.texts, bank.counts, strict=True)):
        raise InputError(f"live.gap_map: the bank of {name!r} has no texts; give a line for each description")
    return [
        {"set": name, "kind": "text", "class": label, "line": line, "maps": {}}
        for label, lines in zip(bank.class_names, bank.texts, strict=True)
        for line in lines
    ]


def _fitted(places: Tensor) -> Tensor:
    """Places in pixels of the map, with one scale for both directions and all shares."""
    low, high = places.amin(dim=(0, 1)), places.amax(dim=(0, 1))
    room = torch.tensor(ROOM, dtype=places.dtype)
    return (places - (low + high) / 2) * (room / (high - low).clamp(min=1e-6)).min() + room / 2


def _map(spots: alt.Chart, frame: alt.Parameter, hues: alt.Scale) -> alt.LayerChart:
    """Circles for images and triangles for texts, pale outside the frame and the chosen set."""
    shapes = alt.Scale(domain=list(KINDS), range=[shape for _, _, shape, _ in KINDS.values()])
    above = alt.Legend(orient="top")
    layers = [
        spots.transform_filter(f"datum.kind == '{kind}'")
        .mark_point(filled=True, stroke=edge, strokeWidth=0.8, size=size)
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-8, ROOM[0] + 8], nice=False)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-8, ROOM[1] + 8], nice=False)),
            color=alt.Color("set:N", title=None, scale=hues, legend=above),
            shape=alt.Shape("kind:N", title=None, scale=shapes, legend=above),
            opacity=alt.condition(
                {"test": {"and": [{"param": "frame"}, CHOSEN]}}, alt.value(0.85), alt.value(0.08)
            ),
            tooltip=["class:N", f"{told}:N"],
        )
        for kind, (edge, size, _, told) in KINDS.items()
    ]
    room = {"width": ROOM[0], "height": ROOM[1], "view": alt.ViewConfig(stroke="#CCCCCC")}
    return (layers[0].add_params(frame) + layers[1]).properties(**room)


def _inside(
    spots: alt.Chart, frame: alt.Parameter, hues: alt.Scale, classes: list[str], most: dict[str, int]
) -> alt.HConcatChart:
    """How many images and lines of each class lie inside the frame and belong to the chosen set."""
    names = alt.Axis(labelLimit=205, labelPadding=8, ticks=False, domain=False)
    sides = []
    for kind, heading in (("image", "images inside"), ("text", "texts inside")):
        left = kind == "image"
        title = alt.Title(heading, fontSize=12, anchor="start" if left else "end")
        bars = (
            spots.transform_filter(frame)
            .transform_filter(CHOSEN)
            .transform_filter(f"datum.kind == '{kind}'")
            .transform_aggregate(count="count()", groupby=["set", "class"])
            .encode(
                x=alt.X("count:Q", axis=None, scale=alt.Scale(domain=[0, 1.4 * most[kind]], reverse=left)),
                y=alt.Y("class:N", title=None, axis=None if left else names, scale=alt.Scale(domain=classes)),
            )
            .properties(width=75, height=17 * len(classes), title=title)
        )
        place = {"align": "right", "dx": -3} if left else {"align": "left", "dx": 3}
        number = bars.mark_text(**place).encode(text="count:Q")
        sides.append(bars.mark_bar().encode(color=alt.Color("set:N", scale=hues, legend=None)) + number)
    return alt.hconcat(*sides, spacing=4)


def _distances(spots: alt.Chart) -> alt.LayerChart:
    """What is left of the distance of the means, as a mean over the chosen sets."""
    names, sign = ("x", "y", "x0", "y0"), "datum.kind == 'image' ? 1 : -1"
    both = (
        spots.transform_filter(CHOSEN)
        .transform_calculate(sign=sign, x0="datum.path[0][0]", y0="datum.path[0][1]")
        .transform_joinaggregate(many="count()", groupby=["set", "kind"])
        .transform_calculate(**{name: f"datum.sign * datum.{name} / datum.many" for name in names})
        .transform_aggregate(**{name: f"sum({name})" for name in names}, groupby=["set"])
        .transform_calculate(left="100 * hypot(datum.x, datum.y) / hypot(datum.x0, datum.y0)")
        .transform_aggregate(drawn="mean(left)")
        .transform_calculate(**{"in the space": "100 * (1 - share)", "on the map": "datum.drawn"})
    )
    return percents(both, ["in the space", "on the map"], "What is left of the gap, %")


def _labels(spots: alt.Chart) -> list[alt.LayerChart]:
    """How many labels of the chosen sets change, and how many are right, if texts or images move."""
    ways = {
        "texts move": "datum.score + share * datum.along",
        "images move instead": "datum.score - share * datum.offset",
    }
    largest = {f"best, {way}": f"max({way})" for way in ways}
    each = (
        alt.Chart(spots.data)
        .transform_filter("datum.kind == 'image'")
        .transform_filter(CHOSEN)
        .transform_flatten(["score", "offset", "order"])
        .transform_calculate(**ways)
        .transform_joinaggregate(best="max(score)", **largest, groupby=["id"])
    )
    picked = {way: f"datum['{way}'] == datum['best, {way}']" for way in ways}
    changed = {way: f"100 * (datum.score == datum.best && !({test}))" for way, test in picked.items()}
    right = {way: f"100 * (datum.order == datum.label && {test})" for way, test in picked.items()}
    return [
        percents(
            each.transform_calculate(**found)
            .transform_aggregate(**{way: f"sum({way})" for way in ways}, many="distinct(id)")
            .transform_calculate(**{way: f"datum['{way}'] / datum.many" for way in ways}),
            list(ways),
            heading,
        )
        for heading, found in (("Labels that change, %", changed), ("Labels that are right, %", right))
    ]
