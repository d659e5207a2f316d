"""The graded assignments: samples score as their rubric says, messages give nothing away, nothing breaks the grader."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
import yaml
from grading_world import BOOK, HIDDEN, NUMBERS, RUBRICS, code_lines, messages, world

from book.tools.building.setup_cell import repository_url
from book.tools.building.setup_cell import source as setup_source
from book.tools.grading import grade
from book.tools.grading import run as grade_run
from book.tools.grading.run import GRADING, read_rubric
from book.tools.grading.submission import load
from kpl_lib.features import TextBank
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import sinkhorn

RAW = {n: yaml.safe_load((GRADING / f"assignment_{n}" / "rubric.yml").read_text()) for n in NUMBERS}
SAMPLES = [(n, file, set(facts["loses"])) for n in NUMBERS for file, facts in RAW[n]["samples"].items()]
NOTEBOOKS = {n: BOOK / RUBRICS[n].notebook for n in NUMBERS}


def cells(number: int) -> list:
    return nbformat.read(NOTEBOOKS[number], as_version=4).cells


def tagged(number: int, tag: str) -> list[str]:
    return [cell.source for cell in cells(number) if tag in cell.metadata.get("tags", [])]


# Scores.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_rubric_names_each_hidden_test_once_and_sums_to_twenty(number):
    ids = [item.id for item in RUBRICS[number].items]
    assert sorted(ids) == sorted(HIDDEN[number]) and len(set(ids)) == len(ids)
    assert RUBRICS[number].points == 20 and sum(points for points, _ in RUBRICS[number].by_hand) == 5


@pytest.mark.parametrize("number", NUMBERS)
def test_there_is_a_reference_and_three_typical_mistakes(number):
    files = {
        str(p.relative_to(GRADING / f"assignment_{number}"))
        for p in GRADING.glob(f"assignment_{number}/samples/*.py")
    }
    assert set(RAW[number]["samples"]) == files | {"reference.py"} and len(files) == 3
    assert RAW[number]["samples"]["reference.py"]["loses"] == []


@pytest.mark.parametrize("seed", [1, 20])
@pytest.mark.parametrize(("number", "file", "loses"), SAMPLES)
def test_a_sample_loses_exactly_what_the_rubric_says(number, file, loses, seed):
    found = messages(number, GRADING / f"assignment_{number}" / file, seed)
    assert {item for item, message in found.items() if message} == loses


@pytest.mark.slow
@pytest.mark.parametrize(("number", "file", "loses"), SAMPLES)
def test_a_sample_loses_exactly_that_whatever_is_drawn(number, file, loses):
    """`make grade` draws a new seed in each run: a reference that loses a point for one of them stops it all."""
    path, seeds = GRADING / f"assignment_{number}" / file, range(100, 120 if loses else 160)
    lost = {
        seed: {item for item, message in messages(number, path, seed).items() if message} for seed in seeds
    }
    assert {seed: items for seed, items in lost.items() if items != loses} == {}


# What a message says.


@pytest.mark.parametrize(("number", "file", "loses"), [s for s in SAMPLES if s[2]])
def test_no_message_holds_the_answer(number, file, loses):
    folder = GRADING / f"assignment_{number}"
    said = [message for message in messages(number, folder / file, 7).values() if message]
    secrets = code_lines(folder / "reference.py")
    for message in said:
        assert "\n" not in message and len(message) <= 220
        assert not any(secret in message for secret in secrets), message
        assert not re.search(r"\d\.\d{2}", message), f"{message}: a value"


@pytest.mark.parametrize("number", NUMBERS)
def test_no_text_of_a_hidden_test_holds_a_line_of_the_reference(number):
    folder = GRADING / f"assignment_{number}"
    texts = re.findall(r'"([^"\n]{25,})"', (folder / "hidden.py").read_text())
    assert len(texts) > 15
    calls = {name for text in code_lines(folder / "reference.py") for name in re.findall(r"\w+\.\w+\(", text)}
    assert [text for text in texts if any(call in text for call in calls)] == []


# The reference is right: it says what the library says.


@pytest.fixture(scope="module")
def solved():
    return {n: load(GRADING / f"assignment_{n}" / "reference.py")[0] for n in NUMBERS}


def test_reference_1_agrees_with_the_library(solved):
    facts, mine = world(3), solved[1]
    bank = TextBank(tuple("abcd"), facts["descriptions"], facts["names"])
    proxies = mine.text_proxies(facts["images"], facts["descriptions"], 8)
    assert torch.allclose(proxies, text_proxies(bank, facts["images"], k=8).weights, atol=1e-5)
    cosines, prior = facts["images"] @ proxies.T, torch.tensor([0.1, 0.2, 0.3, 0.4])
    plan = sinkhorn(cosines, prior=prior, temperature=0.02, iterations=50).pseudo_labels
    assert torch.allclose(mine.sinkhorn(cosines, prior, 0.02, 50).float(), plan, atol=1e-5)


def test_reference_2_agrees_with_the_library(solved):
    images = F.normalize(world(3)["images"][:50].double(), dim=1)
    labels = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 200
    _, directions = ridge_system(images, 0.04).solve(labels - labels.mean(dim=1, keepdim=True))
    for name in ("closed_form", "closed_form_few"):
        found = getattr(solved[2], name)(images, labels, 0.04)
        assert torch.allclose(found, 4 * directions * found.norm() / (4 * directions).norm(), atol=1e-8), name


# The notebooks that students get.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_notebook_is_for_students(number):
    notebook = nbformat.read(NOTEBOOKS[number], as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells)
    tasks = dict.fromkeys(item.task for item in RUBRICS[number].items)
    assert sum(cell.source == setup_source(repository_url()) for cell in notebook.cells) == 1
    assert [re.search(r"def (\w+)", source)[1] for source in tagged(number, "task")] == list(tasks)
    assert all("raise NotImplementedError" in source for source in tagged(number, "task"))
    for task in tasks:
        points = sum(item.points for item in RUBRICS[number].items if item.task == task)
        assert re.search(rf"\| \d `{task}` \| {points} \|", text), f"the table of points and {task}"
    assert "synthetic" in text and "Nothing here is for clinical use" in text


@pytest.mark.parametrize("number", NUMBERS)
def test_no_line_of_a_solution_stands_where_students_read(number):
    secrets = code_lines(GRADING / f"assignment_{number}" / "reference.py")
    chapters_may = [BOOK / "instructor" / "assignments", *BOOK.glob("instructor/*.md")]
    files = [f for place in chapters_may for f in ([place] if place.is_file() else place.glob("*.ipynb"))]
    assert len(files) >= 3
    for file in files:
        text = re.sub(r"\s+", " ", file.read_text(encoding="utf-8").replace("\\n", " "))
        assert [secret for secret in secrets if secret in text] == [], file.name


def test_no_page_of_the_book_is_a_solution():
    pages = (BOOK / "_toc.yml").read_text()
    assert "grading" not in pages and not list(GRADING.rglob("*.md")) and not list(GRADING.rglob("*.ipynb"))


@pytest.mark.site
def test_the_site_and_the_student_edition_hold_no_solution():
    built = BOOK.parent / "_build"
    secrets = {text for n in NUMBERS for text in code_lines(GRADING / f"assignment_{n}" / "hidden.py")}
    files = [
        f
        for f in built.rglob("*")
        if f.suffix in {".html", ".ipynb", ".py", ".js"} and "grades" not in f.parts
    ]
    assert files
    assert [f for f in files if any(secret in f.read_text(errors="ignore") for secret in secrets)] == []


def run_public_tests(number: int, solution: str) -> None:
    """The public tests on a solution, without those that encode images."""
    space: dict = {}
    exec((GRADING / f"assignment_{number}" / solution).read_text(), space)
    names = (
        ("images", "labels", "names", "descriptions") if number == 1 else ("images", "labels", "descriptions")
    )
    space["encoded"] = lambda name, n: [world(5)[key] for key in names]
    sources = tagged(number, "public-test")
    assert len(sources) == len(tagged(number, "task"))
    for source in sources:
        exec(source, space)


@pytest.mark.parametrize("solution", ["reference.py", "samples/hard_coder.py"])
@pytest.mark.parametrize("number", NUMBERS)
def test_public_tests_pass_on_the_reference_and_on_typed_in_values(number, solution, capsys):
    run_public_tests(number, solution)
    assert capsys.readouterr().out.count("the public test passes") == len(tagged(number, "task"))


# Files that are broken or hostile: one line an item, and a score.

BROKEN = {
    "syntax": ("def zero_shot(a, b, c):\n    return (a\n", "the file has a syntax error in line 2"),
    "empty": ("", "there is no function zero_shot"),
    "stub": ("def zero_shot(a, b, c):\n    raise NotImplementedError\n", "zero_shot is not written yet"),
    "exit": ("import sys\ndef zero_shot(a, b, c):\n    sys.exit(0)\n", "zero_shot ends the program"),
    "error": ("def zero_shot(a, b, c):\n    return a @ b\n", "stopped with RuntimeError"),
    "where": ("def zero_shot(a, b, c):\n    x = 1\n    return y\n", "(the file, line 3)"),
    "none": ("def zero_shot(a, b, c):\n    print(a)\n", "returns nothing (is there a return?)"),
    "turned": ("def zero_shot(a, b, c):\n    return (a @ b.T).T\n", "is asked for"),
    "whole": (
        "def zero_shot(a, b, c):\n    return (a @ b.T).argmax(1)\n",
        "floating-point numbers are asked for",
    ),
    "nan": ("def zero_shot(a, b, c):\n    return a @ b.T / 0 - a @ b.T / 0\n", "not numbers"),
    "package": ("import nosuch\ndef zero_shot(a, b, c):\n    return nosuch.f(a)\n", "no package 'nosuch'"),
    "library": (
        "from kpl_lib import ridge\ndef zero_shot(a, b, c):\n    return ridge.x\n",
        "may not be used here",
    ),
    "constant": ("zero_shot = 3\n", "there is no function zero_shot"),
    "not text": ("\0\1", "the file has a syntax error"),
    "top level": ("while True:\n    pass\n", "there is no function zero_shot"),
    "evil error": (
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\n"
        "def zero_shot(a, b, c):\n    raise E\n",
        "an error that cannot be printed",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_submission_gets_a_line(kind, tmp_path):
    text, said = BROKEN[kind]
    (tmp_path / "x.py").write_text(text)
    found = messages(1, tmp_path / "x.py", 1)
    assert said in found["zero_shot_probabilities"] and all(found.values())
    assert "Traceback" not in "".join(found.values())


def test_a_notebook_is_read_like_a_file(tmp_path):
    reference = (GRADING / "assignment_1" / "reference.py").read_text()
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    stubs = [cell for cell in notebook.cells if "task" in cell.metadata.get("tags", [])]
    for stub in stubs:
        stub.source = "raise SystemExit"
    stubs[0].source = "%matplotlib inline\n" + reference
    nbformat.write(notebook, tmp_path / "done.ipynb")
    assert set(messages(1, tmp_path / "done.ipynb", 4).values()) == {""}
    stubs[1].source = "def text_proxies(:"
    nbformat.write(notebook, tmp_path / "done.ipynb")
    _, trouble = load(tmp_path / "done.ipynb")
    assert trouble and re.fullmatch(r"cell \d+ has a syntax error in line 1", trouble[0])


# The command. It starts processes and draws phantoms: minutes on a busy machine.

HOSTILE = {
    "delete.py": "import os\ndef zero_shot(a, b, c):\n    os.remove('{victim}')\n",
    "tree.py": "import shutil\ndef zero_shot(a, b, c):\n    shutil.rmtree('{folder}')\n",
    "shell.py": "import subprocess\ndef zero_shot(a, b, c):\n    subprocess.run(['rm', '{victim}'])\n",
    "write.py": "def zero_shot(a, b, c):\n    open('{victim}', 'w').write('x')\n",
    "spy.py": "import sys\ndef zero_shot(a, b, c):\n    return open(sys.modules['reference'].__file__).read()\n",
    "leave.py": "import os\ndef zero_shot(a, b, c):\n    os._exit(0)\n",
    "loop.py": "def zero_shot(a, b, c):\n    while True:\n        print('x')\n",
    "broken.ipynb": "no notebook",
}
SAID = {
    "leave.py": "was ended from inside",
    "loop.py": "no end after",
    "broken.ipynb": "cannot be read as a notebook",
}


@pytest.mark.slow
def test_the_command_survives_hostile_files_and_grades_the_others(tmp_path, capsys):
    folder, victim = tmp_path / "in", tmp_path / "kept" / "victim.txt"
    folder.mkdir(), victim.parent.mkdir()
    victim.write_text("kept")
    for name, text in HOSTILE.items():
        (folder / name).write_text(text.format(victim=victim, folder=victim.parent))
    (folder / "anna").mkdir()
    (folder / "anna" / "done.py").write_text((GRADING / "assignment_1" / "reference.py").read_text())
    assert grade.main([str(folder), "--out", str(tmp_path / "out"), "--seed", "4"]) == 0
    assert victim.read_text() == "kept"
    facts = json.loads((tmp_path / "out" / "assignment_1" / "grades.json").read_text())
    rows = {row["submission"]: row for row in facts["submissions"]}
    assert rows.pop("anna/done.py")["points"] == 20 and len(rows) == len(HOSTILE)
    for name, row in rows.items():
        message = row["items"][0]["message"]
        assert row["points"] == 0 and row["seconds"] < 120
        assert SAID.get(name, "allowed") in message and "\n" not in message, (name, message)
    assert "Traceback" not in capsys.readouterr().out
    table = (tmp_path / "out" / "assignment_1" / "grades.csv").read_text().splitlines()
    assert len(table) == len(HOSTILE) + 2 and table[0].startswith("submission,points,of,by hand,zero_shot")


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_the_command_gives_the_samples_the_points_of_the_rubric(number, tmp_path):
    folder = GRADING / f"assignment_{number}"
    command = [sys.executable, "-m", "book.tools", "grade", str(folder / "samples"), "--seed", "7"]
    done = subprocess.run(
        [*command, "--assignment", str(number), "--out", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / f"assignment_{number}" / "grades.json").read_text())
    points = {item.id: item.points for item in RUBRICS[number].items}
    expected = {Path(f).name: 20 - sum(points[i] for i in loses) for n, f, loses in SAMPLES if n == number}
    found = {row["submission"]: row["points"] for row in facts["submissions"]}
    assert found == {name: score for name, score in expected.items() if name != "reference.py"}
    assert all(row["seconds"] < 120 for row in facts["submissions"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "say what to grade: make grade SUBMISSIONS=folder"),
        (["{empty}", "--seed", "x"], "SEED=x is no whole number"),
        (["nowhere"], "SUBMISSIONS=nowhere is no folder"),
        (["{empty}"], "holds no .ipynb and no .py file"),
        (["{empty}", "--assignment", "9"], "there is no assignment 9: give one of 1, 2"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grade, "grade", None)  # nothing is graded
    arguments = [text.replace("{empty}", str(tmp_path)) for text in arguments]
    assert grade.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_nobody_is_graded_where_the_reference_loses_points(tmp_path, monkeypatch):
    rubric = read_rubric(1)
    (tmp_path / "x.py").write_text("")
    monkeypatch.setattr(grade, "draw_phantoms", lambda *given: None)
    marks = tuple(grade_run.Mark(item, "no torch here") for item in rubric.items)
    monkeypatch.setattr(grade, "grade", lambda *given: grade.Grade("reference.py", marks, 0.0))
    with pytest.raises(ValueError, match=r"nobody was graded \(zero_shot_probabilities: no torch here\)"):
        grade.grade_all({"x.py": tmp_path / "x.py"}, rubric, 1, 1)
