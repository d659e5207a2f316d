"""Code for a slide: a cell, or the first function that it defines, in at most fifteen short lines."""

import ast
import subprocess
import sys

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

LONGEST = 15  # lines
WIDTH = 76  # characters of a line: what fits at 24 pixels
STYLE = "a11y-high-contrast-light"


def wrapped(code: str) -> str:
    """The code with no line longer than WIDTH, where the formatter finds a place to break it."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length", str(WIDTH), "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout.strip()


def fits(code: str) -> bool:
    """Whether the code can be read from the last row."""
    lines = code.splitlines()
    return len(lines) <= LONGEST and max(map(len, lines), default=0) <= WIDTH


def short_code(code: str) -> str:
    """The cell if it is short and defines or computes something, or else its first short function, highlighted."""
    if any(line.lstrip().startswith(("%", "!")) for line in code.splitlines()):
        return ""
    tree = ast.parse(code)
    functions = [
        ast.get_source_segment(code, node) for node in tree.body if isinstance(node, ast.FunctionDef)
    ]
    for candidate in [code, *functions]:
        if fits(shown := wrapped(candidate)):
            return highlight(shown, PythonLexer(), HtmlFormatter(style=STYLE, nowrap=True)).rstrip()
    return ""


def style_sheet() -> str:
    """The colours of the code."""
    return HtmlFormatter(style=STYLE).get_style_defs("code")
