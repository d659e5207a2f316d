"""Sphinx extension: the page of the command line, made from the commands themselves when the book is built.

The page holds the marker `<!-- commands -->`; in its place come usage, arguments and options of every command.
"""

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

PAGE, MARKER = "api/cli", "<!-- commands -->"


def commands(app: typer.Typer, name: str) -> str:
    """Markdown of all commands, one heading each, as `--help` tells them."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=name)
    return text[text.index("\n## ") + 1 :].strip()


def fill_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the commands in the place of the marker."""
    if page == PAGE:
        from kpl_lib.cli import app as kpl

        before, after = source[0].split(MARKER)
        source[0] = before + commands(kpl, "kpl") + after


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("source-read", fill_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
