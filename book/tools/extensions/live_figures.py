"""Sphinx extension: live figures on the pages, with no network.

A notebook leaves an Altair chart as its specification. The page shows it as a picture first, drawn here; where
scripts run, the chart itself takes that place. Vega comes out of the package vl-convert, once for the site, and only
pages with a live figure load it. MyST-NB takes further renderers from the entry points of installed packages alone;
a checkout has none, so `setup` hands it this one.
"""

import json
from base64 import b64encode
from pathlib import Path

import altair as alt
import vl_convert
from docutils import nodes
from myst_nb.core import render
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from book.tools.extensions.light_pages import SCALE

MIME = f"application/vnd.vegalite.v{alt.SCHEMA_VERSION[1]}+json"
VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
SCRIPT = "live.js"
DRAW = """
for (const figure of document.querySelectorAll(".live-figure")) {
  const chart = figure.querySelector(".live-chart");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  vegaEmbed(chart, spec, { actions: false, renderer: "svg" }).then(() => {
    chart.tabIndex = 0;
    chart.querySelectorAll("[class*='_brush']").forEach((drawn) => (drawn.ariaHidden = "true"));
    figure.classList.add("ready");
  });
}
"""


class LiveFigure:
    """Renders the specification of a chart: see `myst_nb.core.render.MimeRenderPlugin`."""

    mime_priority_overrides = (("*", MIME, 0),)

    @staticmethod
    def handle_mime(
        renderer: render.NbElementRenderer, data: render.MimeData, inline: bool
    ) -> list[nodes.Element] | None:
        """The chart as a picture, and its specification beside it."""
        if inline or data.mime_type != MIME:
            return None
        alt_text = data.cell_metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        picture = b64encode(vl_convert.vegalite_to_png(data.content, vl_version=VERSION, scale=1 / SCALE))
        shown = render.MimeData("image/png", picture, cell_metadata=data.cell_metadata, line=data.line)
        spec = json.dumps(data.content | {"description": alt_text}, separators=(",", ":")).replace(
            "</", "<\\/"
        )
        html = f'<div class="live-chart"></div><script type="application/json">{spec}</script>'
        parts = [*renderer.render_image(shown), nodes.raw("", html, format="html")]
        return [nodes.container("", *parts, classes=["live-figure"])]


def write_script(app: Sphinx, env: BuildEnvironment) -> None:
    """Put Vega and the lines that draw into the site; after the pages are read, as no fork can use vl-convert then."""
    if app.builder.format == "html":
        path = Path(app.outdir, "_static", SCRIPT)
        path.parent.mkdir(parents=True, exist_ok=True)
        bundle = vl_convert.javascript_bundle(DRAW, vl_version=VERSION)
        path.write_text(f"(() => {{{bundle}}})();", encoding="utf-8")  # its names stay inside


def load_script(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Let a page with live figures load the script, after its text."""
    if 'class="live-figure' in context.get("body", ""):
        app.add_js_file(SCRIPT, loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    render.load_mime_renders = lambda: [LiveFigure]
    app.connect("env-updated", write_script)
    app.connect("html-page-context", load_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
