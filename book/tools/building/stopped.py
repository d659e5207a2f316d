"""Where an executed notebook stopped, in one line. Light, because processes that only run a notebook read it too."""

import re
from pathlib import Path

from book.tools.rules.page_text import notebook_blocks


def said_before(page: str, cells: list[dict], number: int) -> str:
    """The last sentence of the page before the cell `number`, with the one before it where it is short."""
    blocks = [block for block in notebook_blocks(page, cells[:number]) if not block.text.startswith("#")]
    text = " ".join(" ".join(block.text for block in blocks[-2:]).split())
    sentences = re.split(r"(?<=[.:!?])\s+(?=[A-Z`$*])", text)
    return " ".join(sentences[-2:] if len(sentences[-1].split()) < 8 else sentences[-1:])


def where_it_stopped(path: Path, cells: list[dict]) -> str:
    """The cell of an executed notebook that raised, and the sentence that stands before it, in one line."""
    raised = [
        number
        for number, cell in enumerate(cells)
        if cell.get("outputs") and cell["outputs"][-1]["output_type"] == "error"
    ]
    if not raised:
        return f"{path.name} stopped before its first cell"
    said = said_before(path.stem, cells, raised[-1])
    return f"{path.name} stopped in cell {raised[-1] + 1}, after the sentence: {said}"
