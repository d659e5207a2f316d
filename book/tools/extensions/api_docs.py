"""Sphinx extension: docstrings of the library, as they read in `help()`, to the pages of the reference.

The docstrings are plain text in Google style. Here code in single backticks becomes code, or a formula where it
holds Greek letters and the like; an indented paragraph becomes a displayed formula; `arXiv 2501.11231` becomes a
link; and `Chapter: ch-name` a link to the chapter, which must exist. Then napoleon reads the sections.
"""

import re
import unicodedata
from itertools import pairwise

from sphinx.application import Sphinx

from book.tools.extensions.formula_tex import is_formula, lines_to_tex, to_tex

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Example):")
TWINS = re.compile(
    r"^( +)(\w+)((?:, \w+)+): (.*(?:\n\1 .*)*)", re.MULTILINE
)  # of Args: several names at once
GIVES = re.compile(r"^(Returns|Yields):\n +", re.MULTILINE)
VALUES = {
    "attribute",
    "data",
    "property",
}  # as after GIVES, napoleon takes what stands before a colon for a type
FIELD = re.compile(r"(Source|Cost|Chapter): ")  # a line of its own at the end of a docstring
PIECES = re.compile(
    r"`(?P<code>[^`]+)`"
    r"|arXiv (?P<arxiv>\d{4}\.\d{4,5})|doi (?P<doi>10\.\d+/[\w.()/-]*\w)"
    r"|(?P<symbol>‖\w‖|(?<!\w)[^\W\d_][\u0302-\u0304]?(?:_\w{1,3})?(?![\w\u0300-\u036f]))"
    r"|(?P<special>[*|\\]|_(?!\w))"
)
PARAMETERS = re.compile(r"<dl>\n((?:<dd><em class=\"sig-param\">.*?</dd>\n?)+)</dl>")
OWN = re.compile(r"kpl_lib(\.\w+)+")


def inline(text: str) -> str:
    """The text of a paragraph as reStructuredText."""
    return PIECES.sub(_piece, unicodedata.normalize("NFD", text)).replace("\\ \n", "\n").replace("\\  ", " ")


def _piece(match: re.Match) -> str:
    kind, found = match.lastgroup, match[match.lastgroup]
    if kind == "special":
        return "\\" + found
    if kind == "symbol" and not is_formula(found):
        return found
    if kind == "arxiv":
        made = f"`arXiv {found} <https://arxiv.org/abs/{found}>`__"
    elif kind == "doi":
        made = f"`doi {found} <https://doi.org/{found}>`__"
    elif OWN.fullmatch(found):
        made = f":py:obj:`~{found}`"
    elif is_formula(found):
        made = f":math:`{to_tex(found)}`"
    else:
        made = f"``{found}``"
    before = match.string[: match.start()][-1:]
    return ("" if before.isspace() or not before else r"\ ") + made + r"\ "


def field(paragraph: str) -> list[str]:
    """A line such as `Source: ...` or `Chapter: ch-a, ch-b` as a field."""
    name, _, body = paragraph.partition(": ")
    links = [f":ref:`{label.strip()}`" for label in body.split(",")]
    text = ", ".join(links) if name == "Chapter" else inline(body)
    return [f":{name}: {' '.join(text.split())}"]


def convert(docstring: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText with Google sections."""
    result: list[str] = []
    inside = code = False  # a section, where indented lines are entries; after `::`, where they are code
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(docstring).strip("\n")):
        lines = block.split("\n")
        inside = bool(SECTION.fullmatch(lines[0])) or (inside and lines[0].startswith(" "))
        if lines[0].lstrip().startswith(">>>"):
            result += lines
        elif lines[0].startswith("    ") and not inside:
            result += lines if code else [".. math::", "", "   " + lines_to_tex(lines)]
        else:
            result += prose(lines)
        result.append("")
        code = lines[-1].endswith("::") or (code and lines[0].startswith("    "))
    return result


def prose(lines: list[str]) -> list[str]:
    """A block without formulas: a paragraph, fields, or a section with its entries."""
    result: list[str] = []
    for number, line in enumerate(lines):
        if line.lstrip().startswith(">>>"):
            return result + lines[number:]
        if FIELD.match(line):
            starts = [i for i in range(number, len(lines)) if FIELD.match(lines[i])] + [len(lines)]
            fields = ["\n".join(lines[a:b]) for a, b in pairwise(starts)]
            return [*joined(result), "", *(made for one in fields for made in field(one))]
        result.append(line)
    return joined(result)


def joined(lines: list[str]) -> list[str]:
    """Lines of one block, converted together, as code may go over the end of a line."""
    text = TWINS.sub(_untwine, "\n".join(lines))
    return GIVES.sub(r"\g<0>: ", inline(text)).split("\n") if lines else []


def _untwine(match: re.Match) -> str:
    """`a, b: text` as two entries, as a field of Sphinx names one thing."""
    space, first, others, text = match.groups()
    more = [f"\n{space}{name}: see `{first}`." for name in others.removeprefix(", ").split(", ")]
    return f"{space}{first}: {text}" + "".join(more)


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Convert a docstring in place; Sphinx calls this before napoleon does its part."""
    lines[:] = convert(lines)
    if what in VALUES and lines:
        lines[0] = ": " + lines[0]


def plain_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str
) -> tuple[str, str]:
    """Write `...` for a default that is made anew each time, as `<factory>` is no Python."""
    return (signature or "").replace("<factory>", "..."), returns


def plain_signatures(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Write the lines of a long signature as plain blocks; Sphinx makes them definitions of no term."""
    context["body"] = PARAMETERS.sub(_plain_lines, context.get("body", ""))


def _plain_lines(match: re.Match) -> str:
    lines = match[1].replace("<dd>", "<div>").replace("</dd>", "</div>")
    return f'<div class="sig-lines">{lines}</div>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", plain_defaults)
    app.connect("html-page-context", plain_signatures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
