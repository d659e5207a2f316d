"""What all live figures share: one look, sliders and menus."""

import sys
from collections.abc import Mapping, Sequence

from kpl_lib.common.extras import altair as alt
from kpl_lib.plots import COLOURS

#: On a white card in both modes of the page, as the figures of matplotlib are; letters as large as theirs.
THEME = {
    "background": "white",
    "font": "sans-serif",
    "title": {"anchor": "start", "fontSize": 14, "color": "#222222"},
    "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "gridColor": "#E6E6E6"},
    "header": {"labelFontSize": 12, "titleFontSize": 12},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
    "text": {"fontSize": 12},
    "view": {"stroke": "transparent"},
    "range": {"category": list(COLOURS.values())},
}


def use_style() -> None:
    """Set the look of live figures, and the renderer of the program that shows them: Colab, or any other notebook."""
    alt.theme.register("book", enable=True)(lambda: alt.theme.ThemeConfig(config=THEME))
    alt.renderers.enable("colab" if "google.colab" in sys.modules else "mimetype")


def drawn(rows: Sequence[Mapping]) -> alt.Chart:
    """A chart of rows that lie in it."""
    return alt.Chart(alt.InlineData(values=rows))


def numbers(bars: alt.Chart, field: str, digits: str) -> alt.Chart:
    """The numbers right of bars, or of what else has the same places."""
    return bars.mark_text(align="left", dx=4).encode(text=alt.Text(field, format=digits))


def slider(name: str, label: str, start: float, stop: float, step: float, value: float) -> alt.Parameter:
    """A number that the reader moves, by mouse or by arrow keys."""
    moved = alt.binding_range(min=start, max=stop, step=step, name=f"{label} ")
    return alt.param(name=name, value=value, bind=moved)


def menu(name: str, label: str, choices: Sequence[str] | Mapping[str, object]) -> alt.Parameter:
    """One of several names, the first at the beginning; a mapping shows its keys and gives its values."""
    shown = list(choices)
    values = list(choices.values()) if isinstance(choices, Mapping) else shown
    chosen = alt.binding_select(options=values, labels=shown, name=f"{label} ")
    return alt.param(name=name, value=values[0], bind=chosen)


def readings(chart: alt.Chart, texts: Mapping[str, str]) -> alt.Chart:
    """Numbers below a figure, a line for each: its name, and the expression of its text; the chart has one row."""
    axis = alt.Axis(orient="right", labelLimit=320, domain=False, ticks=False)
    return (
        chart.transform_calculate(**texts)
        .transform_fold(list(texts))
        .mark_text(align="left", x=0, fontWeight="bold")
        .encode(y=alt.Y("key:N", sort=None, title=None, axis=axis), text="value:N")
        .properties(width=50, height=20 * len(texts))
    )


def percents(data: alt.Chart, columns: Sequence[str], heading: str, width: int = 130) -> alt.LayerChart:
    """Bars with their numbers for some columns of the one row of a chart, in %."""
    bars = data.transform_fold(list(columns), as_=["what", "percent"]).encode(
        x=alt.X("percent:Q", axis=None, scale=alt.Scale(domain=[0, 160])),
        y=alt.Y("what:N", title=None, sort=list(columns), axis=alt.Axis(ticks=False, domain=False)),
    )
    shown = bars.mark_bar(color=COLOURS["grey"]) + numbers(bars, "percent:Q", ".1f")
    return shown.properties(width=width, height=18 * len(columns), title=alt.Title(heading, fontSize=12))
