"""Self-check questions: complete, on their pages word for word, and readable by a quiz system."""

import json
import math
import re
import shutil

import pytest

from book.tools.building.setup_cell import ROOT
from book.tools.rules.number_text import plain, quoted
from book.tools.teaching import self_checks
from book.tools.teaching.questions import CONDITION, KEYS, load, load_all, page_of
from book.tools.teaching.quiz_export import export, gift, to_html

BOOK = ROOT / "book"
FILES = sorted((BOOK / "questions").glob("*.yml"))


@pytest.fixture
def tree(tmp_path):
    """A small book: the template page and its questions."""
    (tmp_path / "book" / "questions").mkdir(parents=True)
    shutil.copy(BOOK / "_template.ipynb", tmp_path / "book")
    shutil.copy(BOOK / "questions" / "_template.yml", tmp_path / "book" / "questions")
    return tmp_path


def edit(tree, old, new, name="book/questions/_template.yml"):
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_page_shows_its_questions(file):
    page = page_of(file.stem, BOOK)
    assert page.read_text() == self_checks.place(page, load(file)), "run `make self-checks`"


def test_every_chapter_and_primer_page_has_questions_and_no_two_share_an_id():
    chapters = {path.stem for path in (BOOK / "chapters").glob("[0-9]*.*")}
    primer = {f"primer_{path.stem}" for path in (BOOK / "primer").glob("[a-z]*.*")}
    assert chapters and primer and chapters | primer | {"_template"} == set(load_all(BOOK))


def test_a_question_changed_in_the_file_is_noticed_and_written(tree):
    assert self_checks.changes(tree / "book") == {}
    edit(tree, "Two unit vectors point", "Two vectors of length one point")
    assert [page.name for page in self_checks.changes(tree / "book")] == ["_template.ipynb"]
    assert self_checks.main([], tree) == 0
    assert "Two vectors of length one point" in (tree / "book" / "_template.ipynb").read_text()
    assert self_checks.changes(tree / "book") == {}


def test_the_questions_are_one_cell_between_exercises_and_summary():
    cells = json.loads((BOOK / "_template.ipynb").read_text())["cells"]
    at = [i for i, cell in enumerate(cells) if "self-check" in cell["metadata"].get("tags", [])]
    assert len(at) == 1
    assert "".join(cells[at[0]]["source"]).startswith("## Check yourself\n")
    assert "".join(cells[at[0] + 1]["source"]).startswith("## Summary\n")
    assert [cell["id"] for cell in cells] == [str(i) for i in range(len(cells))]


def test_a_page_without_the_cell_gets_it_back_and_keeps_the_rest(tree):
    page = tree / "book" / "_template.ipynb"
    whole = page.read_text()
    notebook = json.loads(whole)
    at = next(
        i for i, cell in enumerate(notebook["cells"]) if "self-check" in cell["metadata"].get("tags", [])
    )
    before, _, after = notebook["cells"][at - 1 : at + 2]
    notebook["cells"][at - 1 : at + 2] = [before | {"source": [*before["source"], "\n\n", *after["source"]]}]
    page.write_text(json.dumps(notebook))
    self_checks.main([], tree)
    assert page.read_text() == whole


def test_a_markdown_page_carries_them_before_its_summary_or_at_its_end():
    block = self_checks.render(load(BOOK / "questions" / "_template.yml"))
    page = "# Title\n\n## One\n\nText.\n\n## Summary\n\nEnd.\n"
    placed = self_checks.place_in_markdown(page, block)
    assert placed == f"# Title\n\n## One\n\nText.\n\n{block}\n\n## Summary\n\nEnd.\n"
    assert self_checks.place_in_markdown(placed, block) == placed
    assert self_checks.place_in_markdown("# Title\n", block) == f"# Title\n\n{block}\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_numbers_of_a_transfer_question_meet_its_condition(file):
    asked = [one for one in load(file) if one.kind == "transfer"]
    with_numbers = [one for one in asked if list(quoted(plain(one.answer)))]
    assert [one.id for one in with_numbers if not re.search("[=<>]", one.holds)] == []
    assert [one.id for one in asked if one.holds and not eval(one.holds, vars(math).copy())] == []


def test_questions_to_predict_stand_where_their_cells_are_and_need_one_each(tree, capsys):
    page = tree / "book" / "_template.ipynb"
    cells = json.loads(page.read_text())["cells"]
    asked = [one for one in load(BOOK / "questions" / "_template.yml") if one.kind == "predict"]
    shown = ["".join(cell["source"]) for cell in cells if "predict" in cell["metadata"].get("tags", [])]
    assert len(shown) == len(asked) == 4
    assert all(one.question in text and one.answer in text for one, text in zip(asked, shown, strict=True))
    page.write_text(page.read_text().replace('"predict"', '"other"', 1))
    assert self_checks.main([], tree) == 2
    assert "4 questions to predict, 3 cells tagged 'predict' on the page" in capsys.readouterr().err


def test_a_student_sees_questions_without_answers():
    questions = load(BOOK / "questions" / "_template.yml")
    asked = [self_checks.predict(one, answers=False) for one in questions if one.kind == "predict"]
    block = self_checks.render(questions, answers=False) + "".join(asked)
    assert len(asked) == 4 and all(one.question in block for one in questions)
    assert not [one.id for one in questions if one.answer in block or one.why in block]


MISTAKES = {
    "missing key": (
        "  answer: It is one.\n",
        "",
        "question 1 needs the keys id, kind, question, answer, why, section",
    ),
    "kind": ("kind: recall", "kind: guess", "question 1: the kind 'guess' is not one of recall, predict"),
    "no text": ("answer: It is one.", "answer: 1", "question 1: answer is empty or no text"),
    "empty": ("answer: It is one.", "answer: ' '", "question 1: answer is empty or no text"),
    "id": ("id: template-2", "id: Template two", "question 2: the id 'Template two' is not"),
    "same id": ("id: template-2", "id: template-1", "the id template-1 is taken"),
    "role": ("It is one.", "It is {term}`one`.", "question 1: answer holds a role"),
    "section": (
        "section: How alike",
        "section: How like",
        "_template.ipynb has no heading 'How like are two",
    ),
    "yaml": ("id: template-2", "id: 'template-2", "no valid YAML"),
    "not ten": (
        re.compile(r"- id: template-10.*", re.S),
        "",
        "3 recall, 4 predict, 2 transfer; write 3 recall, 4 predict, 3 transfer",
    ),
    "no list": (re.compile(r"^.*$", re.S), "a: b", "no list; write a list of 10 questions"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(name, tree, capsys):
    old, new, expected = MISTAKES[name]
    file = tree / "book" / "questions" / "_template.yml"
    file.write_text(
        re.sub(old if isinstance(old, re.Pattern) else re.escape(old), new, file.read_text(), count=1)
    )
    before = (tree / "book" / "_template.ipynb").read_text()
    assert self_checks.main([], tree) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert (tree / "book" / "_template.ipynb").read_text() == before
    assert not (tree / "_build").exists()


def test_a_file_without_its_page_is_named(tree, capsys):
    shutil.copy(BOOK / "questions" / "_template.yml", tree / "book" / "questions" / "primer_clip.yml")
    edit(tree, "- id: ", "- id: x-", "book/questions/primer_clip.yml")
    text = (tree / "book/questions/primer_clip.yml").read_text().replace("id: template", "id: clip")
    (tree / "book/questions/primer_clip.yml").write_text(text)
    assert self_checks.main([], tree) == 2
    assert (
        capsys.readouterr().err
        == "primer_clip.yml: there is no page primer/clip.ipynb or primer/clip.md for these questions\n"
    )
    assert self_checks.main(["_other"], tree) == 2
    assert capsys.readouterr().err == "there is no book/questions/_other.yml\n"


def test_the_exports_hold_every_question(tmp_path):
    pages = {"_template": load(BOOK / "questions" / "_template.yml")}
    table, text = export(pages, tmp_path / "new")
    rows = json.loads(table.read_text())["questions"]
    assert [row["id"] for row in rows] == [f"template-{n}" for n in range(1, 11)]
    assert all(set(row) == {*KEYS, CONDITION, "page"} for row in rows)
    assert text.read_text() == gift(pages) and gift(pages).count("::[html]") == 10


def test_gift_protects_what_moodle_would_read_as_its_own():
    assert to_html("*A* `b` where $x < 1$") == r"<em>A</em> <code>b</code> where \(x &lt; 1\)"
    one = load(BOOK / "questions" / "_template.yml")[1]
    assert r"\\(x^\\top t\\)" in gift({"page": [one]})
    assert "{####" in gift({"page": [one]})
