"""Write `book/instructor/goals.md`: the objectives of each chapter, and the exercises that practise them.

The objectives are read from the chapters, the exercises from `goals.yml`. Run it after changing either.
"""

import json
import re
import sys
from pathlib import Path

import yaml

BOOK = Path(__file__).resolve().parents[2]
HEAD = """\
(ch-goals)=
# Learning goals and exercises

The goals are the objectives at the top of each chapter. Beside a goal stand the exercises that practise it. \
Where there are none, use the questions under "Check yourself" of that chapter.

This page is written by `python -m book.tools goals`, from the chapters and from `goals.yml` beside it.
"""
TABLE = "| You will be able to | Exercises |\n|---|---|"


def prose(chapter: Path) -> str:
    """The markdown of a notebook."""
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def objectives(text: str) -> list[str]:
    """The objectives at the top of a chapter, one line each."""
    block = re.search(r"\{admonition\} In this chapter\n(.*?)\n:{3,}\s*$", text, re.S | re.M)[1]
    return [
        re.sub(r"\s+", " ", goal).rstrip(" ;.")
        for goal in re.findall(r"^- (.*?)(?=^- |\Z)", block, re.S | re.M)
    ]


def exercises(text: str) -> dict[str, str]:
    """Label -> title of the exercises."""
    found = re.findall(r"\{exercise(?:-start)?\}([^\n]*)\n:label: (\S+)", text)
    return {label: title.strip().partition(": ")[2] or title.strip() for title, label in found}


def page(book: Path = BOOK) -> str:
    """The text of goals.md.

    Raises:
        ValueError: if goals.yml and the chapters do not fit.
    """
    known = yaml.safe_load((book / "instructor" / "goals.yml").read_text(encoding="utf-8"))
    parts = [HEAD]
    for chapter in sorted((book / "chapters").glob("[0-9]*.ipynb")):
        text, number = prose(chapter), chapter.stem[:2]
        goals, titles, lists = objectives(text), exercises(text), known.get(number, [])
        label, title = re.search(r"^\((ch-[a-z0-9-]+)\)=\n# (.+)", text, re.MULTILINE).groups()
        strangers = {name for names in lists for name in names} - set(titles)
        unused = set(titles) - {name for names in lists for name in names}
        if len(lists) != len(goals) or strangers or unused:
            raise ValueError(
                f"goals.yml, chapter {number}: {len(lists)} lists for {len(goals)} objectives; "
                f"unknown exercises {sorted(strangers)}; exercises without a goal {sorted(unused)}"
            )
        parts.append(f"## {int(number)}. {title}\n\nChapter {{ref}}`{label}`.\n\n{TABLE}")
        for goal, names in zip(goals, lists, strict=True):
            links = "; ".join(f"{{ref}}`{titles[name]} <{name}>`" for name in names) or "check yourself"
            parts[-1] += f"\n| {goal} | {links} |"
    return "\n".join(parts[:1]) + "\n" + "\n\n".join(parts[1:]) + "\n"


if __name__ == "__main__":
    try:
        text = page()
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    (BOOK / "instructor" / "goals.md").write_text(text, encoding="utf-8")
