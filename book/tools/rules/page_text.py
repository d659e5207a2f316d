"""The readable text of a page, cut into paragraphs: what a reader sees beside code and figures.

A page is a notebook or a Markdown file. Its markdown, captions and alt texts become blocks; code, comments, targets and
the options of directives do not.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

BOOK = Path(__file__).resolve().parents[2]
SUFFIXES = (".md", ".ipynb")
FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*(.*)")
CODE = re.compile(r"(?!\{)\w|\{(?:code|code-block|code-cell|mermaid|bibliography|toctree)\}")
UNSEEN = re.compile(r"<!--.*?-->|^\([\w-]+\)=\s*$", re.DOTALL | re.MULTILINE)
OPTION = re.compile(r"^:(?!alt:)[\w-]+:.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A paragraph, a table, a caption or an alt text; `context` adds the paragraph that introduces a table."""

    page: str
    cell: int
    text: str
    context: str


def without_magics(code: str) -> str:
    """The code of a cell as plain Python: lines for the shell, with those that continue them, become `pass`."""
    return re.sub(r"^(\s*)[%!](?!=)(?:.*\\\n)*.*$", r"\1pass", code, flags=re.MULTILINE)


def without_code(text: str) -> str:
    """Markdown without its code blocks; what other directives hold stays."""
    kept, directives, code = [], [], ""
    for line in text.splitlines():
        fence = FENCE.fullmatch(line)
        if fence and code:
            code = "" if fence[1] == code and not fence[2] else code
        elif fence and fence[2].startswith("{") and not CODE.match(fence[2]):
            directives.append(fence[1])
        elif fence and not fence[2] and fence[1] in directives:
            directives.remove(fence[1])
        elif fence:
            code = fence[1]
        elif not code:
            kept.append(line)
    return "\n".join(kept)


def paragraphs(page: str, cell: int, text: str) -> Iterator[Block]:
    """The blocks of one piece of Markdown; code fences, targets and options are left out."""
    seen = OPTION.sub("", without_code(UNSEEN.sub("", text)))
    before = ""
    for part in re.split(r"\n\s*\n", seen):
        if part.strip():
            context = f"{before}\n{part}" if part.lstrip().startswith("|") else part
            yield Block(page, cell, part.strip(), context)
            before = part


def notebook_blocks(page: str, cells: list[dict]) -> Iterator[Block]:
    """The blocks of a notebook: its markdown cells, and the captions and alt texts of its figures."""
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            yield from paragraphs(page, number, "".join(cell["source"]))
        shown = cell["metadata"].get("mystnb", {})
        for text in (shown.get("figure", {}).get("caption", ""), shown.get("image", {}).get("alt", "")):
            if text:
                yield Block(page, number, text, text)


def read_cells(path: Path) -> list[dict]:
    """The cells of a notebook; a Markdown file is one markdown cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return json.loads(text)["cells"]
    return [{"cell_type": "markdown", "metadata": {}, "source": [text]}]


def page_blocks(path: Path) -> list[Block]:
    """All blocks of a page, in reading order."""
    return list(notebook_blocks(path.stem, read_cells(path)))


def toc_patterns(entries: list[dict]) -> Iterator[str]:
    """What the table of contents names, in order, as patterns of files; with nested sections."""
    for entry in entries:
        yield entry["glob"] if "glob" in entry else f"{entry['file']}.*"
        yield from toc_patterns(entry.get("sections", []))


def toc_pages(book: Path) -> list[Path]:
    """The pages of the book in the order of its table of contents."""
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    parts = [entry for part in toc.get("parts", [toc]) for entry in part["chapters"]]
    patterns = toc_patterns([{"file": toc["root"]}, *parts])
    found = [path for pattern in patterns for path in sorted(book.glob(pattern))]
    return [path for path in found if path.suffix in SUFFIXES]


def labels_of(paths: list[Path]) -> dict[str, Path]:
    """The page of each label `(ch-...)=`."""
    found = {}
    for path in paths:
        prose = [cell for cell in read_cells(path) if cell["cell_type"] == "markdown"]
        text = "\n".join("".join(cell["source"]) for cell in prose)
        found |= {label: path for label in re.findall(r"^\((ch-[\w-]+)\)=", text, re.MULTILINE)}
    return found
