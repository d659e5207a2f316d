"""The Colab edition in `_build/colab`: every notebook at its path, as a reader of Colab can read it.

Colab knows no directives and no roles, and hides a cell only if it is a form. Here boxes are quotes, references are
links to the published site, captions stand below their figures, solutions are folded, and the setup cell installs
the commit that the edition was made from. The code that runs is that of the book. The workflow of the site pushes the
folder to the branch that `_config.yml` names, and the rocket buttons open it there.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from book.tools.building.plain_markdown import details, figure, linked, plain, solution
from book.tools.building.setup_cell import FORM, ROOT, is_setup, repository_url
from book.tools.building.site_links import Links, read_links
from book.tools.rules.page_text import without_magics
from book.tools.teaching.without_solutions import pieces

FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}  # what the site folds, or does not show
FROM = re.compile(r'(git\+[^"@]+)(@[^"]+)?(?=")')  # what a setup cell installs; a release may name its tag
LEFT_OUT = {"_template.ipynb", "grading", ".ipynb_checkpoints"}  # an author's, and a teacher's
README = """\
The Colab edition of {url}, made from commit {commit} by `python -m book.tools colab`. Do not edit it here.

Text and figures: CC BY 4.0. Code: MIT. Nothing here is for clinical use.
"""


def notebooks(book: Path) -> list[Path]:
    """The notebooks that readers open."""
    return [path for path in sorted(book.rglob("*.ipynb")) if not LEFT_OUT & set(path.parts)]


def built_from(root: Path) -> str:
    """The commit of the checkout.

    Raises:
        ValueError: if the folder is no checkout.
    """
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    if asked.returncode:
        raise ValueError(
            f"{root} is no git checkout, so setup cells have no commit to install: clone the book"
        )
    return asked.stdout.strip()


def lines(text: str) -> list[str]:
    """The source of a cell as nbformat keeps it."""
    return text.splitlines(keepends=True)


def code_title(code: str, label: str, drawn: str, links: Links) -> str:
    """What a folded cell is called: by its solution, its figure, its imports, or the functions that it defines."""
    if label:
        return f"Solution of {links.labels[label].text}"
    if drawn:
        return f"Code of {links.labels[drawn].text}"
    steps = ast.parse(without_magics(code)).body
    if steps and isinstance(steps[0], ast.Import | ast.ImportFrom):
        return "Imports"
    names = [step.name for step in steps if isinstance(step, ast.FunctionDef | ast.ClassDef)]
    return f"Code: {', '.join(names)}" if names else "Code"


def code_cell(cell: dict, label: str, drawn: str, commit: str, links: Links) -> dict:
    """The cell, with a title where it is folded; the setup cell with the commit."""
    code = "".join(cell["source"])
    if is_setup(cell):
        return cell | {"source": lines(FROM.sub(rf"\1@{commit}", code))}
    if not label and FOLDED.isdisjoint(cell["metadata"].get("tags", [])):
        return cell
    magic, rest = code.split("\n", 1) if code.startswith("%%") else ("", code)
    titled = f"# @title {code_title(rest, label, drawn, links)}\n{rest}"
    made = f"{magic}\n{titled}" if magic else titled
    return cell | {"metadata": cell["metadata"] | {"cellView": FORM}, "source": lines(made)}


def caption_cell(cell: dict, label: str, page: str, links: Links) -> dict:
    """What the site shows below a drawn figure; the figure in words is folded, as is what a solution draws."""
    shown = cell["metadata"]["mystnb"]
    target = links.labels[shown["figure"]["name"]]
    text = figure(target, "", plain(shown["figure"]["caption"], page, links))
    if alt := shown.get("image", {}).get("alt"):
        text += "\n\n" + details(f"{target.text} in words", alt)
    return prose(details(target.text, text) if label else text, f"{cell['id']}-caption", {})


def prose(text: str, identifier: str, metadata: dict) -> dict:
    """A markdown cell."""
    return {"cell_type": "markdown", "id": identifier, "metadata": metadata, "source": lines(text)}


def plain_cells(cells: list[dict], page: str, commit: str, links: Links) -> list[dict]:
    """The cells in plain Markdown, each piece of a solution folded."""
    made, last = [], ""
    for label, cell in pieces(cells):
        text = "".join(cell["source"])
        drawn = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name", "")
        if cell["cell_type"] == "code":
            made.append(code_cell(cell, label, drawn, commit, links))
            made += [caption_cell(cell, label, page, links)] if drawn else []
            continue
        solved = label and solution(text, links.labels[label], label != last, page, links)
        text = solved if label else plain(text, page, links)
        last = label
        if text and made and made[-1]["id"] == cell["id"]:
            made[-1]["source"] = lines("".join(made[-1]["source"]) + "\n\n" + text)
        elif text:
            made.append(prose(text, cell["id"], cell["metadata"]))
    return made


def edition(
    notebook: dict, page: str, url: str, commit: str, links: Links, name: str = "Colab edition"
) -> dict:
    """A notebook of the book as Colab shows it best."""
    cells = plain_cells(notebook["cells"], page, commit, links)
    page_there = f" of {linked('this page', links.pages[page].url)}" if page in links.pages else ""
    made = f"The {name}{page_there}, made from commit {linked(commit[:7], f'{url}/commit/{commit}')}."
    cells[0]["source"] = lines("".join(cells[0]["source"]) + f"\n\n*{made} Its links lead to the site.*")
    shown = {"colab": {"provenance": [], "toc_visible": True}}
    return notebook | {"cells": cells, "metadata": notebook["metadata"] | shown}


def editions(root: Path, commit: str) -> dict[str, dict]:
    """Every notebook of the edition by its path in the repository.

    Raises:
        ValueError: if a page holds what has no plain form, or refers to nothing.
    """
    links, book, url = read_links(root), root / "book", repository_url(root)
    made = {}
    for path in notebooks(book):
        page = path.relative_to(book).with_suffix("").as_posix()
        notebook = json.loads(path.read_text(encoding="utf-8"))
        try:
            made[path.relative_to(root).as_posix()] = edition(notebook, page, url, commit, links)
        except KeyError as error:
            raise ValueError(f"{page}: {error} is no label of the book") from None
    return made


def main(root: Path = ROOT) -> int:
    """Write the edition; give the exit code."""
    try:
        commit = built_from(root)
        made = editions(root, commit)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out = root / "_build" / "colab"
    shutil.rmtree(out, ignore_errors=True)
    for name, notebook in made.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(notebook, indent=1, ensure_ascii=False)
        (out / name).write_text(text + "\n", encoding="utf-8")
    (out / "README.md").write_text(README.format(url=repository_url(root), commit=commit), encoding="utf-8")
    print(f"{len(made)} notebooks", out, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
