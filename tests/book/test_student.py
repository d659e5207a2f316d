"""The student edition: no solution in it, nothing else missing, and it fails only where the student writes."""

import json
import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from book.tools.building.colab import edition
from book.tools.building.setup_cell import ROOT, is_setup
from book.tools.building.site_links import read_links
from book.tools.teaching import student
from book.tools.teaching.questions import load_all
from book.tools.teaching.without_solutions import ANSWER, WRITE, pieces, student_notebook, student_page

BOOK = ROOT / "book"
NOTEBOOKS = [BOOK / "_template.ipynb", *sorted(BOOK.glob("*/*.ipynb"))]
PUBLISHED = [*NOTEBOOKS[1:], BOOK / "monday.ipynb", BOOK / "reproduce.ipynb"]
EDITION = Path(os.environ.get("KPL_STUDENT", ROOT / "_build" / "student"))
QUESTIONS = load_all(BOOK)
LINKS = read_links(ROOT).named_only()
RAW = re.compile(
    r"^ *:::|\{(?:ref|term|numref|eq|doc|cite)\b|^\([\w-]+\)=|^\s*:(?:class|label|name|alt):", re.M
)
ASKED = {"self-check", "predict"}  # tags of cells with questions


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def name(path):
    return path.relative_to(BOOK).with_suffix("").as_posix()


def text(cells):
    return "\n".join("".join(cell["source"]) for cell in cells)


def for_students(path):
    return student_notebook(read(path), student.questions_of(name(path), QUESTIONS))


def code_of(cells):
    return [text([cell]) for cell in cells if cell["cell_type"] == "code"]


def plain(path):
    """A notebook of the edition as it is published."""
    made = student.stripped(for_students(path))
    return edition(made, name(path), "u", "0" * 40, LINKS, "student edition")["cells"]


def solution_lines(notebook):
    """Every line of a solution that stands nowhere else in its notebook."""
    parts = [
        (label, line.strip())
        for label, cell in pieces(notebook["cells"])
        for line in text([cell]).splitlines()
    ]
    outside = "\n".join(line for label, line in parts if not label)
    return {line for label, line in parts if label and re.search(r"\w{3}", line) and line not in outside}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_no_line_of_a_solution_is_left(path):
    lines, shown = solution_lines(read(path)), text(for_students(path)["cells"])
    assert lines
    assert [line for line in lines if line in shown] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_no_answer_of_a_question_is_left(path):
    cells = for_students(path)["cells"]
    shown = text([cell for cell in cells if ASKED & {*cell["metadata"].get("tags", [])}])
    asked = student.questions_of(name(path), QUESTIONS)
    assert [one.id for one in asked if one.question not in shown] == []
    assert [one.id for one in asked if one.answer in shown or one.why in shown] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_each_exercise_has_a_place_to_write(path):
    cells = for_students(path)["cells"]
    exercises = re.findall(r"^:{3,}\{exercise(?:-start)?\} *(.*)$", text(cells), re.MULTILINE)
    code = [text([cell]) for cell in cells if cell["metadata"].get("tags") == WRITE]
    written = [cell for cell in cells if text([cell]) == ANSWER]
    assert len(code) + len(written) == len(exercises) > 0
    for source in code:
        assert re.fullmatch(
            r"raise NotImplementedError\(.Exercise .*: write your code here, in place of this line.\)", source
        )
    assert sum(any(repr(title)[1:-1] in source for source in code) for title in exercises) == len(code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_everything_else_is_as_in_the_book(path):
    notebook, cells = read(path), for_students(path)["cells"]
    nbformat.validate({**notebook, "cells": cells})
    kept = [text([cell]) for cell in cells if not ASKED & {*cell["metadata"].get("tags", [])}]
    kept = [
        source for source in kept if source != ANSWER and not source.startswith("raise NotImplementedError")
    ]
    outside = [cell for label, cell in pieces(notebook["cells"]) if not label]
    expected = [
        text([cell]).strip("\n") for cell in outside if not ASKED & {*cell["metadata"].get("tags", [])}
    ]
    assert kept == [source for source in expected if source and not source.startswith("notebook.claims(")]
    setup = [cell for cell in cells if cell["cell_type"] == "code" and is_setup(cell)]
    assert [cell["source"] for cell in setup] == [
        cell["source"] for cell in notebook["cells"] if is_setup(cell)
    ]


@pytest.mark.parametrize("path", PUBLISHED, ids=name)
def test_the_edition_is_plain_markdown_and_leads_to_no_solution(path):
    cells = plain(path)
    nbformat.validate({**read(path), "cells": cells})
    seen = text([cell for cell in cells if cell["cell_type"] == "markdown"])
    assert RAW.findall(seen) == [] and "The student edition of this page" in seen
    assert not re.findall(
        rf"{LINKS.site}(?:chapters|primer|instructor|monday|reproduce(?=\.))\S*\.html", seen
    )
    lines = solution_lines(read(path))
    assert [line for line in lines if line in text(cells)] == []
    added = re.compile(r"^# @title .*\n|@0{40}", re.M)
    assert [added.sub("", source) for source in code_of(cells)] == [
        added.sub("", source) for source in code_of(for_students(path)["cells"])
    ]


def test_both_forms_of_a_solution_are_taken_out():
    page = """# T

:::{exercise} Concept: plain
:label: ex-a

Why?
:::

::::{solution} ex-a
:class: dropdown

Secret.

:::{note}
Inside.
:::
::::

:::{exercise-start} Code: gated
:label: ex-b
:::

How?

:::{exercise-end}
:::

:::{solution-start} ex-b
:class: dropdown
:::

Hidden.

:::{solution-end}
:::

After.
"""
    shown = student_page(page, [])
    assert [word for word in ("Secret", "Inside", "Hidden", "solution") if word in shown] == []
    assert shown.count(ANSWER) == 2 and "Why?" in shown and "How?" in shown and shown.endswith("After.\n")


@pytest.fixture
def built(tmp_path):
    """A small book of one chapter, as it is after a build."""
    for folder in ("book/chapters", "book/questions"):
        (tmp_path / folder).mkdir(parents=True)
    chapter = shutil.copy(BOOK / "_template.ipynb", tmp_path / "book" / "chapters" / "01_one.ipynb")
    toc = {"format": "jb-book", "root": "intro", "parts": [{"chapters": [{"glob": "chapters/*"}]}]}
    (tmp_path / "book" / "_toc.yml").write_text(json.dumps(toc))
    ran = nbformat.read(chapter, as_version=4)
    next(cell for cell in ran.cells if cell.cell_type == "code").outputs = [
        nbformat.v4.new_output("stream", text="ran")
    ]
    bundle = CacheBundleIn(ran, str(chapter), data={"execution_seconds": 1.0})
    get_cache(str(tmp_path / "_build" / ".jupyter_cache")).cache_notebook_bundle(bundle, check_validity=False)
    return tmp_path


def test_outputs_are_those_of_the_built_book(built):
    (notebook,) = student.executed(built).values()
    assert ["".join(output["text"]) for cell in notebook["cells"] for output in cell.get("outputs", [])] == [
        "ran"
    ]


def test_a_book_that_is_not_built_or_was_changed_is_one_line(built, capsys):
    chapter = built / "book" / "chapters" / "01_one.ipynb"
    chapter.write_text(chapter.read_text().replace("notebook.setup(seed=0)", "notebook.setup(seed=1)"))
    assert student.main(built) == 2
    expected = "chapters/01_one was changed since the book was built: run `make book` first\n"
    assert capsys.readouterr().err == expected
    shutil.rmtree(built / "_build")
    assert student.main(built) == 2
    assert capsys.readouterr().err == "the book is not built: run `make book` first\n"
    assert not (built / "_build").exists()


def test_the_source_of_the_site_leaves_out_what_is_for_teachers(built):
    (built / "book" / "instructor").mkdir()
    (built / "book" / "instructor" / "index.md").write_text("# Answers\n")
    shutil.copy(ROOT / "_config.yml", built)
    (built / "book" / "intro.md").write_text("One.\nFor a course, see {ref}`ch-instructor`.\nTwo.\n")
    toc = {"root": "intro", "parts": [{"caption": "Chapters"}, {"caption": "For teachers"}]}
    (built / "book" / "_toc.yml").write_text(json.dumps(toc))
    (built / "CHANGELOG.md").write_text("# Changelog\n")
    new = built / "edition" / "source"
    student.write_source(built, {"chapters/01_one": {"cells": []}}, {}, new)
    assert student.student_toc(built)["parts"] == [{"caption": "Chapters"}]
    assert not (new / "instructor").exists() and not (new / "questions").exists()
    assert read(new / "chapters" / "01_one.ipynb") == {"cells": []}
    assert (new / "intro.md").read_text() == "One.\nTwo.\n"
    assert (new / "../CHANGELOG.md").is_file()  # as the page of changes includes it


def test_the_colab_buttons_of_the_edition_open_its_own_notebooks():
    settings = student.student_config(ROOT)
    assert settings["repository"]["branch"] == "student" and settings["repository"]["path_to_book"] == ""
    assert settings["execute"] == {"execute_notebooks": "off"}
    assert set(settings["launch_buttons"]) == {"notebook_interface", "colab_url"}
    assert all(Path(path).is_dir() for path in settings["sphinx"]["local_extensions"].values())


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:2], ids=name)
def test_a_student_notebook_fails_only_where_the_student_writes(path, tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.reads(json.dumps(student.stripped(for_students(path))), as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        errors = [output.ename for output in cell.get("outputs", []) if output.output_type == "error"]
        assert errors == (["NotImplementedError"] if cell.metadata.get("tags") == WRITE else [])


@pytest.mark.site
def test_the_built_edition_holds_no_solution():
    pages = sorted((EDITION / "html").rglob("*.html"))
    files = [
        *EDITION.glob("*.ipynb"),
        *EDITION.glob("*/*.ipynb"),
        *(EDITION / "html/_sources").rglob("*.ipynb"),
    ]
    assert len(files) == 2 * len(PUBLISHED), "run `make book` and `make student` first"
    for path in PUBLISHED:
        lines = solution_lines(read(path))
        copies = [file for file in files if name(path) in file.as_posix()]
        found = [(file.name, line) for file in copies for line in lines if line in text(read(file)["cells"])]
        assert len(copies) == 2 and found == []
    shown = [BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in pages]
    assert shown and not [soup.title for soup in shown if soup.select("div.solution, [href*='instructor/']")]


@pytest.mark.site
def test_the_notebooks_of_the_edition_are_made_from_the_book_as_it_is():
    for path in PUBLISHED:
        cells = read(EDITION / f"{name(path)}.ipynb")["cells"]
        made = [text([cell]) for cell in cells[1:] if not is_setup(cell)]
        assert made == [text([cell]) for cell in plain(path)[1:] if not is_setup(cell)]
        assert not [cell for cell in cells if cell.get("outputs")]
