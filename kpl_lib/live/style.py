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


def slider(name: str, label: str, start: float, stop: float, step: float, value: float) -> alt.Parameter:
    """A number that the reader moves, by mouse or by arrow keys."""
    return alt.param(
        name=name, value=value, bind=alt.binding_range(min=start, max=stop, step=step, name=f"{label} ")
    )


def menu(name: str, label: str, choices: Sequence[str] | Mapping[str, object]) -> alt.Parameter:
    """One of several names, the first at the beginning; a mapping shows its keys and gives its values."""
    shown = list(choices)
    values = list(choices.values()) if isinstance(choices, Mapping) else shown
    return alt.param(
        name=name, value=values[0], bind=alt.binding_select(options=values, labels=shown, name=f"{label} ")
    )
