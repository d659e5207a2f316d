"""Sphinx extension: mark each sentence that did not come out on this machine, and list all of them on one page.

The build leaves what was measured in `_build/claims` (see `claims.statements`). A sentence that differs is marked
behind its last
word; an alt text says so at its end. The directive `{reproduced}` draws the page "Reproduced on this machine".
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools.claims.statements import claims_name, pages_with_claims, records, rows
from kpl_lib.claims import HELD, Outcome

MARK = ' <mark class="differs">(on this machine: {})</mark>'
HEAD = ("Page", "It says", "Said", "Measured here", "Outcome")
MATHS = re.compile(r"\$([^$]+)\$")
MARKUP = (
    (r"\{(?:numref|eq)\}`[^`]*`", "the display"),
    (r"\{[\w:-]+\}`([^`<]*?)\s*(?:<[^`]*>)?`", r"\1"),
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"[*`|]+", ""),
)


def folder(app: Sphinx) -> Path:
    """Where the build left what was measured."""
    return Path(app.srcdir).parent / "_build" / "claims"


def pattern(says: str) -> re.Pattern:
    """Finds a sentence over line ends."""
    return re.compile(r"\s+".join(re.escape(word) for word in says.split()))


def marked(text: str, row: Outcome, mark: str = MARK) -> str:
    """The text with a note behind the sentence of a row; in a table the note stays in the last cell."""
    note = mark.format(html.escape(row.found) if mark == MARK else row.found)

    def put(found: re.Match) -> str:
        whole = found[0]
        return (
            whole.rstrip("| ") + note + " |"
            if whole.startswith("|") and whole.endswith("|")
            else whole + note
        )

    return pattern(row.claim.says).sub(put, text)


def mark_notebook(text: str, off: list[Outcome]) -> str:
    """A notebook with notes in its prose, captions and alt texts; code stays as it is."""
    notebook = json.loads(text)
    for row in off:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = marked("".join(cell["source"]), row)
            shown = cell["metadata"].get("mystnb", {})
            if "caption" in shown.get("figure", {}):
                shown["figure"]["caption"] = marked(shown["figure"]["caption"], row)
            if "alt" in shown.get("image", {}):
                shown["image"]["alt"] = marked(shown["image"]["alt"], row, " (On this machine: {}.)")
    return json.dumps(notebook)


def mark(app: Sphinx, name: str, source: list[str]) -> None:
    """Mark the sentences of a page as it is read."""
    path = Path(app.env.doc2path(name))
    off = [row for _, row in rows(folder(app), claims_name(path)) if row.status != HELD]
    if off and path.suffix == ".ipynb":
        source[0] = mark_notebook(source[0], off)
        return
    for row in off:
        source[0] = marked(source[0], row)


def readable(says: str) -> str:
    """A sentence as HTML: no markup, formulas as MathJax reads them."""
    parts = []
    for number, part in enumerate(MATHS.split(says)):
        if number % 2:
            parts.append(f'<span class="math notranslate nohighlight">\\({html.escape(part)}\\)</span>')
            continue
        for old, new in MARKUP:
            part = re.sub(old, new, part)
        parts.append(html.escape(part))
    return "".join(parts)


def cells(row: Outcome, link: str) -> list[str]:
    """The cells of a statement: page, sentence, what it says, what was measured, the outcome."""
    said = "; ".join(f"{figure.text} ± {figure.within:.2g}" for figure in row.claim.figures) or "–"
    found = "; ".join("–" if value is None else f"{value:.4g}" for value in row.measured)
    holds = "it holds" if row.status == HELD else row.found
    return [link, readable(row.claim.says), html.escape(said), html.escape(found or holds), row.status]


def table(found: list[tuple[str, Outcome]], links: dict[str, str], label: str) -> str:
    """Statements as a table whose columns sort."""
    head = "".join(f'<th scope="col">{name}</th>' for name in HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells(row, links[page])) + "</tr>\n"
        for page, row in found
    )
    inner = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    frame = f'<div class="claims" tabindex="0" role="region" aria-label="{label}">'
    return f'{frame}<table class="table sortable" aria-label="{label}">{inner}</table></div>'


class Reproduced(SphinxDirective):
    """The statements of the book with what this machine measured."""

    def run(self) -> list[nodes.Node]:
        measured = rows(folder(self.env.app))
        off = [(page, row) for page, row in measured if row.status != HELD]
        links = {name: self.link(path) for name, path in pages_with_claims().items()}
        total = f"<p><strong>{len(measured) - len(off)} of {len(measured)} statements came out"
        parts = [f"{total} on this machine</strong>: {self.machines()}.</p>"]
        if off:
            parts += ["<p>These did not:</p>", table(off, links, "Statements that differ on this machine")]
        every = table(measured, links, "All statements of the book")
        parts.append(f"<details><summary>All {len(measured)} statements</summary>{every}</details>")
        return [nodes.raw("", "\n".join(parts), format="html")]

    def link(self, path: Path) -> str:
        """A link to a page; a page that is not on the site is named."""
        name = claims_name(path)
        inside = path.is_relative_to(self.env.srcdir) and not path.stem.startswith("_")
        target = path.relative_to(self.env.srcdir).with_suffix(".html").as_posix() if inside else ""
        return f'<a href="{target}">{name}</a>' if target else name

    def machines(self) -> str:
        """The machines that ran the notebooks, each once."""
        run = {name for name, path in pages_with_claims().items() if path.suffix == ".ipynb"}
        made = [record for record in records(folder(self.env.app)) if record["page"] in run]
        found = dict.fromkeys(", ".join(record["machine"].values()) for record in made)
        return html.escape("; and ".join(found)) or "nothing was measured: run make book"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", mark)
    app.add_directive("reproduced", Reproduced)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
