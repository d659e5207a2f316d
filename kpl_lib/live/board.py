"""The rows of a benchmark, chosen, sorted and compared by hand."""

from collections.abc import Mapping, Sequence

from kpl_lib.common.errors import InputError
from kpl_lib.common.extras import altair as alt
from kpl_lib.live.style import drawn, menu
from kpl_lib.plots import COLOURS

#: What the menu says -> the metric of a row, and the letter that stands for it in the page.
METRICS = {
    "balanced accuracy": ("balanced_accuracy", "b"),
    "accuracy": ("accuracy", "a"),
    "AUROC": ("macro_auroc", "r"),
    "calibration error (ECE): low is good": ("ece", "c"),
}
ORDERS = {"value, best first": "v", "difference to its text, best first": "d", "name": "m"}
NEEDED = {"method", "reads", "images", "encoder", "classes", "majority_rate", "where"}
ENCODERS = ["first", "second", "third"]
WIDTH = 320

#: A constant answer has 1/C of the classes, the share of the commonest one, and a ranking by chance.
CONSTANT = "metric == 'b' ? 100 / datum.C : metric == 'a' ? datum.q : metric == 'r' ? 50 : null"
MINE = (
    "datum.e == encoder || datum.e == 'real' || (datum.e == 'labels' && encoder == 'first')"
    f" || (encoder == 'three' && indexof({ENCODERS}, datum.e) >= 0)"
)
KEY = (
    "order == 'm' ? 0 : order == 'd' ? (datum.first_d == null ? 999 : -datum.first_d)"
    " : metric == 'c' ? datum.first_v : -datum.first_v"
)
MEANS = ("v", "low", "high", "d", "d_low", "d_high", "zero")  # the first six are those of a row
DIGIT = "isValid(datum.{0}) ? floor(10 * datum.{0} + 0.500001) / 10 : null"  # a half goes up always
ENDS = "isValid(datum.low) ? format(datum.low, '.1f') + ' to ' + format(datum.high, '.1f') : 'not measured'"
GAP = (
    "datum.d == null ? '–' : format(datum.d, '+.1f') + (datum.runs > 1 ? ', the worst of ' + datum.runs"
    " : datum.d_low == null ? '' : ' (' + format(datum.d_low, '+.1f') + ' to ' + format(datum.d_high, '+.1f') + ')')"
)
FROM = "datum.runs > 1 ? 'mean of ' + datum.runs + ' runs' : datum.any.o"
#: Its line, where it would not press all others together; further left it is only said.
AT = "isValid(datum.zero) && datum.zero > datum.lowest - 15 ? datum.zero : datum.lowest"
SAID = (
    "!isValid(datum.zero) ? '' : (metric == 'r' ? 'chance ' : 'constant answer ') + format(datum.zero, '.1f')"
    " + (datum.zero > datum.lowest - 15 ? ', dashed' : ', further left')"
)
REAL = "indexof(images, 'real') >= 0"
FEW = f"{REAL} && indexof(images, ' by ') < 0"  # of the peers, whose accuracies alone are kept
NONE = f"{FEW} && (metric == 'r' || metric == 'c') ? 'not measured on real images' : ''"


def leaderboard(
    rows: Sequence[Mapping], images: Mapping[str, str], encoders: Mapping[str, str], texts: Mapping[str, str]
) -> alt.Chart:
    """The rows of a benchmark, of which menus choose images, encoder, text, metric and order.

    A row gives `method`, `reads` (its text, "" where that is no choice), `images`, `encoder`, `classes`,
    `majority_rate`, `where` (its origin) and `parameters`, and metrics as `kpl_lib.benchmark.read_rows` names them.
    Rows of one method are shown as one: value and ends of the interval are means, the difference to the text proxy is
    the worst. Rows of the encoder `labels` stand with the first, those of `real` with any.

    Args:
        rows: of all runs.
        images: what the menu says -> a part of the `images` of the rows that are shown.
        encoders: what the menu says -> an `encoder`, or `three` for the mean of first, second and third.
        texts: what the menu says -> a `reads`.

    Returns:
        A chart with a line for each method.

    Raises:
        InputError: for a row that lacks one of its facts.

    Example:
        >>> row = {"method": "clip", "reads": "n", "images": "eyes", "encoder": "first", "classes": 2,
        ...        "majority_rate": 0.6, "where": "a file", "accuracy": 0.9}
        >>> chart = leaderboard([row], {"eyes": "eyes"}, {"first": "first"}, {"class names": "n"})

    Chapter: ch-benchmark
    """
    for number, row in enumerate(rows):
        if NEEDED - set(row):
            raise InputError(f"live.leaderboard: row {number} lacks {', '.join(sorted(NEEDED - set(row)))}")
    facts = {row["method"]: {"m": row["method"], "p": row.get("parameters", "")} for row in reversed(rows)}
    chart = (
        alt.layer(*_layers(), data=alt.InlineData(values=[_short(row) for row in rows]))
        .transform_filter("indexof(datum.s, images) >= 0 && (datum.t == '' || datum.t == text)")
        .transform_calculate(
            **{name: f"datum[metric][{place}]" for place, name in enumerate(MEANS[:6])}, zero=CONSTANT
        )
        .transform_aggregate(**_means() | {"runs": "count()"}, groupby=["m", "e", "o"])
        .transform_calculate(mine=MINE)
        .transform_calculate(**{f"my_{name}": f"datum.mine ? datum.{name} : null" for name in "vd"})
        .transform_joinaggregate(first_v="mean(my_v)", first_d="min(my_d)", groupby=["m"])
        .transform_filter("isValid(datum.first_v)")
        .transform_calculate(key=KEY)
        .transform_window(place="dense_rank()", sort=[alt.SortField("key"), alt.SortField("m")])
        .transform_lookup("m", alt.LookupData(alt.InlineData(values=list(facts.values())), "m", ["p"]))
    )
    metrics = {name: letter for name, (_, letter) in METRICS.items()}
    menus = {"images": images, "encoder": encoders, "text": texts, "metric": metrics}
    params = [menu(name, name, choices) for name, choices in menus.items()]
    title = alt.Title(alt.expr(f"{REAL} ? 'real images' : 'synthetic phantoms'"), offset=34)
    sized = chart.properties(width=WIDTH, height=alt.Step(18), title=title)
    return sized.add_params(*params, menu("order", "sorted by", ORDERS))


def _means() -> dict[str, str]:
    """Each number as a mean over runs, but the worst difference."""
    return {name: f"mean({name})" for name in MEANS} | {"d": "min(d)"}


def _layers() -> list[alt.Chart]:
    """Intervals, encoders, dots, numbers, the constant answer, and what the columns are."""
    own = (
        alt.Chart()
        .transform_filter("datum.mine")
        .transform_aggregate(
            **_means() | {"runs": "sum(runs)", "any": "argmin(v)"}, groupby=["m", "place", "p"]
        )
        .transform_calculate(shown=DIGIT.format("v"), lost=DIGIT.format("d"), ends=ENDS, gap=GAP, origin=FROM)
    )
    y = alt.Y("m:N", title=None, sort=alt.EncodingSortField("place", "min"), axis=alt.Axis(labelLimit=170))
    titles = {"m": "method", "shown": "value", "ends": "95 % interval", "gap": "difference to its text"}
    titles |= {"p": "parameters", "origin": "from"}
    line = own.encode(y=y, tooltip=[alt.Tooltip(f"{name}:N", title=title) for name, title in titles.items()])
    kinds = {"scale": alt.Scale(domain=ENCODERS, range=["circle", "square", "triangle-up"])}
    colours = alt.Scale(domain=ENCODERS, range=[COLOURS[name] for name in ("blue", "orange", "green")])
    x = alt.X("v:Q", title="%", scale=alt.Scale(zero=False))
    each = alt.Chart().transform_filter(f"indexof({ENCODERS}, datum.e) >= 0")
    legend = alt.Legend(orient="bottom")
    each = each.mark_point(size=45, strokeWidth=1.6).encode(
        x=x,
        y=y,
        color=alt.Color("e:N", scale=colours, title="encoder", legend=legend),
        shape=alt.Shape("e:N", title="encoder", legend=legend, **kinds),
        tooltip=[
            alt.Tooltip("m:N", title="method"),
            alt.Tooltip("e:N", title="encoder"),
            alt.Tooltip("v:Q", title="value", format=".1f"),
        ],
    )
    text = line.mark_text(align="right")
    constant = own.transform_aggregate(zero="mean(zero)", lowest="min(v)")
    constant = constant.transform_calculate(said=SAID, at=AT)
    head = drawn([{}])
    heads = [(WIDTH + 50, -8, "value", "right"), (0, 12, alt.expr(NONE), "left")]
    heads += [(WIDTH + 155, -22, ["worst difference", "to its text"], "right")]
    return [
        line.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q"),
        each,
        line.mark_point(size=45, filled=True, color="black", opacity=1).encode(x=x),
        text.encode(x=alt.value(WIDTH + 50), text=alt.Text("shown:Q", format=".1f")),
        text.transform_filter("datum.d != null").encode(
            x=alt.value(WIDTH + 120), text=alt.Text("lost:Q", format="+.1f")
        ),
        constant.mark_rule(strokeDash=[5, 3], strokeWidth=2, aria=False).encode(
            x="at:Q", opacity=alt.condition("datum.at == datum.zero", alt.value(1), alt.value(0))
        ),
        constant.mark_text(align="left").encode(x=alt.value(0), y=alt.value(-8), text="said:N"),
        *(
            head.mark_text(align=side, fontWeight="bold").encode(
                x=alt.value(x), y=alt.value(y), text=alt.value(said)
            )
            for x, y, said, side in heads
        ),
    ]


def _short(row: Mapping) -> dict:
    """A row in few letters and digits, as thousands of them travel in a page."""
    facts = {"m": "method", "t": "reads", "s": "images", "e": "encoder", "o": "where", "C": "classes"}
    short = {letter: row[fact] for letter, fact in facts.items()} | {"q": _percent(row["majority_rate"])}
    for name, letter in METRICS.values():
        kinds = [f"{start}{name}{end}" for start in ("", "difference_") for end in ("", "_low", "_high")]
        found = [_percent(row.get(kind)) for kind in kinds]
        short[letter] = found if found[3] is not None else found[:3] if found[0] is not None else []
    return short


def _percent(share: float | None) -> float | None:
    return None if share is None or share != share else round(100 * share, 2)
