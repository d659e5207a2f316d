"""The student edition in `_build/student`: `make student` runs this file, after `make book`.

`chapters/*.ipynb` are the notebooks of the book without solutions, without outputs, and with a cell to write in for
each exercise; `html/index.html` is the site made of them. Its figures are those of the built book: nothing runs
again. Publish the folder as branch `student`, and its Colab buttons open its notebooks, which are in plain Markdown.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from nbconvert.preprocessors import ClearOutputPreprocessor

from book.tools.building.build import COMMAND
from book.tools.building.colab import built_from, edition
from book.tools.building.execute import notebooks
from book.tools.building.setup_cell import ROOT, config, repository_url
from book.tools.building.site_links import read_links
from book.tools.teaching.questions import Question, load_all
from book.tools.teaching.without_solutions import WRITE, student_notebook, student_page

LEFT_OUT = ("_build", "tools", "slides", "questions", "instructor", "_template.ipynb", ".ipynb_checkpoints")
TEACHERS = "For teachers"  # the part of the table of contents that students do not get
TEACHERS_PAGES = "{ref}`ch-instructor`"  # a line that leads there is left out
BRANCH = "student"  # of the repository, where the edition is published


def executed(root: Path) -> dict[str, dict]:
    """The notebooks with the outputs that `make book` keeps, by their path in the book without its suffix.

    Raises:
        ValueError: if the book is not built, or the code of a notebook was changed since.
    """
    kept, found = root / "_build" / ".jupyter_cache", {}
    if not kept.is_dir():
        raise ValueError("the book is not built: run `make book` first")
    cache = get_cache(str(kept))
    for path in notebooks(root / "book"):
        page = path.relative_to(root / "book").with_suffix("").as_posix()
        try:
            _, merged = cache.merge_match_into_notebook(nbformat.read(path, as_version=4))
        except KeyError:
            raise ValueError(f"{page} was changed since the book was built: run `make book` first") from None
        found[page] = json.loads(nbformat.writes(merged))
    return found


def questions_of(page: str, questions: dict[str, list[Question]]) -> list[Question]:
    """The questions of a page by its path in the book; a page may have none."""
    return questions.get(page.removeprefix("chapters/").replace("/", "_"), [])


def stripped(notebook: dict) -> dict:
    """The notebook without outputs."""
    made, _ = ClearOutputPreprocessor().preprocess(nbformat.from_dict(notebook), {})
    return json.loads(nbformat.writes(made))


def write_notebook(notebook: dict, path: Path) -> None:
    """Write a notebook, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def student_config(root: Path) -> dict:
    """The book's configuration for the student edition."""
    settings = config(root)
    settings["title"] += ", student edition"
    settings["execute"] = {"execute_notebooks": "off"}
    settings["repository"] |= {"branch": BRANCH, "path_to_book": ""}
    settings["launch_buttons"].pop("colab_branch")  # that edition holds the solutions
    local = settings["sphinx"].get("local_extensions", {})
    settings["sphinx"]["local_extensions"] = {name: str(root / path) for name, path in local.items()}
    return settings


def student_toc(root: Path) -> dict:
    """The table of contents without the part for teachers."""
    toc = yaml.safe_load((root / "book" / "_toc.yml").read_text(encoding="utf-8"))
    return toc | {"parts": [part for part in toc["parts"] if part["caption"] != TEACHERS]}


def write_source(root: Path, made: dict, questions: dict[str, list[Question]], folder: Path) -> None:
    """Write the book that students get, ready for Jupyter Book."""
    shutil.copytree(root / "book", folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copy(root / "CHANGELOG.md", folder.parent)  # a page includes it from there
    for name, notebook in made.items():
        write_notebook(notebook, folder / f"{name}.ipynb")
    for page in folder.rglob("*.md"):
        name = "_".join(page.relative_to(folder).with_suffix("").parts).removeprefix("chapters_")
        lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
        text = "".join(line for line in lines if TEACHERS_PAGES not in line)
        page.write_text(student_page(text, questions.get(name, [])), encoding="utf-8")
    for name, content in (("_config.yml", student_config(root)), ("_toc.yml", student_toc(root))):
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")


def build_site(root: Path, source: Path, folder: Path) -> int:
    """Build the site into `folder`; give the exit code of Jupyter Book."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    options = ["build", str(source), "--path-output", str(source), "-W", "-n", "-q", "--keep-going"]
    code = subprocess.run([sys.executable, "-c", COMMAND, *options], cwd=root, env=environment).returncode
    if code == 0:
        shutil.move(source / "_build" / "html", folder)
    return code


def main(root: Path = ROOT) -> int:
    """Write the notebooks and build the site; give the exit code."""
    try:
        questions = load_all(root / "book")
        made = {
            name: student_notebook(notebook, questions_of(name, questions))
            for name, notebook in executed(root).items()
        }
        commit, url, links = built_from(root), repository_url(root), read_links(root).named_only()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    out = root / "_build" / "student"
    shutil.rmtree(out, ignore_errors=True)
    for name, notebook in made.items():
        plain = edition(stripped(notebook), name, url, commit, links, "student edition")
        write_notebook(plain, out / f"{name}.ipynb")
    write_source(root, made, questions, out / "source")
    code = build_site(root, out / "source", out / "html")
    if code:
        shutil.rmtree(out)
        print(f"The student site was not built: Jupyter Book ended with code {code}.", file=sys.stderr)
        return code
    shutil.rmtree(out / "source")
    (out / "CHANGELOG.md").unlink()
    cells = [cell for notebook in made.values() for cell in notebook["cells"]]
    count = sum(cell["metadata"].get("tags") == WRITE for cell in cells)
    print(f"{len(made)} notebooks with {count} cells to write", out / "html" / "index.html", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
