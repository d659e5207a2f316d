"""The self-check questions for a quiz system: `_build/self-checks.json`, and `.gift` for Moodle and its kin.

The JSON file holds `{"format": 1, "questions": [...]}`; each question has the fields of `Question` and `page`,
the name of the page that answers it. Texts are Markdown with `$math$`. In GIFT each question is an essay with
its answer as feedback, in the category of its page; texts are HTML with `\\(math\\)`.
"""

import html
import json
import re
from dataclasses import asdict
from pathlib import Path

from book.tools.teaching.questions import Question

SPECIAL = re.compile(r"[\\~=#{}:]")  # GIFT reads these as its own unless a backslash stands before them
INLINE = re.compile(r"\$(?P<math>[^$]+)\$|`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\*(?P<em>[^*]+)\*")


def to_html(text: str) -> str:
    """The inline Markdown of a question as HTML."""

    def element(found: re.Match) -> str:
        kind, inner = found.lastgroup, found[found.lastgroup]
        return rf"\({inner}\)" if kind == "math" else f"<{kind}>{inner}</{kind}>"

    return INLINE.sub(element, html.escape(text, quote=False))


def gift(pages: dict[str, list[Question]]) -> str:
    """All questions in Moodle's GIFT format."""

    def protected(text: str) -> str:
        return SPECIAL.sub(r"\\\g<0>", to_html(text))

    blocks = []
    for page, questions in pages.items():
        blocks.append(f"$CATEGORY: {page}")
        for one in questions:
            feedback = f"{protected(one.answer)}<br>{protected(one.why)}"
            blocks.append(f"::{one.id}::[html]{protected(one.question)} {{####{feedback}}}")
    return "\n\n".join(blocks) + "\n"


def export(pages: dict[str, list[Question]], folder: Path) -> list[Path]:
    """Write both files into a folder; give their paths."""
    rows = [{"page": page, **asdict(one)} for page, questions in pages.items() for one in questions]
    contents = {
        "self-checks.json": json.dumps({"format": 1, "questions": rows}, indent=1, ensure_ascii=False) + "\n",
        "self-checks.gift": gift(pages),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in contents]
