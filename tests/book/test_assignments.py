"""The graded assignments: samples score as they say, messages give nothing away, nothing breaks the grader."""

import contextlib
import csv
import io
import re

import nbformat
import pytest
import torch
import torch.nn.functional as F
from grading_world import (
    BOOK,
    CELLS,
    GRADING,
    ITEMS,
    NUMBERS,
    RELEASED,
    SAMPLES,
    SOURCES,
    TASKS,
    by_hand,
    code_lines,
    messages,
    mistake,
    secrets,
    space_of,
    world,
)

from book.tools.building.setup_cell import repository_url
from book.tools.building.setup_cell import source as setup_source
from book.tools.grading import grade
from kpl_lib.features import TextBank
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import sinkhorn

WRONG = [pytest.param(n, path, id=f"{n}-{path.stem}") for n in NUMBERS for path in SAMPLES[n]]


def released(number: int) -> list:
    return nbformat.read(RELEASED[number], as_version=4).cells


# Scores.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_points_sum_to_twenty_and_five(number):
    assert sum(item.points for item in ITEMS[number].values()) == 20
    assert sum(int(line[0]) for line in by_hand(number)) == 5 and len(by_hand(number)) == 3
    assert len(SAMPLES[number]) == 3


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("seed", [1, 20])
def test_the_solution_loses_nothing(number, seed):
    assert messages(number, None, seed) == dict.fromkeys(ITEMS[number], "")


@pytest.mark.parametrize("seed", [1, 20])
@pytest.mark.parametrize(("number", "sample"), WRONG)
def test_a_sample_loses_exactly_what_it_says(number, sample, seed):
    found = messages(number, sample.read_text(), seed)
    assert {item for item, message in found.items() if message} == mistake(sample)[1]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "sample"), [*[(n, None) for n in NUMBERS], *WRONG])
def test_a_sample_loses_exactly_that_whatever_is_drawn(number, sample):
    """`make grade` draws a new seed in each run: a solution that loses a point for one of them stops it all."""
    text, loses = (sample.read_text(), mistake(sample)[1]) if sample else (None, set())
    found = {seed: messages(number, text, seed) for seed in range(100, 120 if sample else 160)}
    lost = {seed: {item for item, message in one.items() if message} for seed, one in found.items()}
    assert {seed: items for seed, items in lost.items() if items != loses} == {}


# What a message says.


@pytest.mark.parametrize(("number", "sample"), WRONG)
def test_no_message_holds_the_answer(number, sample):
    said = [message for message in messages(number, sample.read_text(), 7).values() if message]
    for message in said:
        assert "\n" not in message and len(message) <= 220
        assert not any(secret in message for secret in secrets(number)), message
        assert not re.search(r"\d\.\d{2}", message), f"{message}: a value"


# The solution is right: it says what the library says.


def test_solution_1_agrees_with_the_library():
    facts, mine = world(3), space_of(1, None, 0)
    bank = TextBank(tuple("abcd"), facts["descriptions"], facts["names"])
    proxies = mine["text_proxies"](facts["images"], facts["descriptions"], 8)
    assert torch.allclose(proxies, text_proxies(bank, facts["images"], k=8).weights, atol=1e-5)
    cosines, prior = facts["images"] @ proxies.T, torch.tensor([0.1, 0.2, 0.3, 0.4])
    plan = sinkhorn(cosines, prior=prior, temperature=0.02, iterations=50).pseudo_labels
    assert torch.allclose(mine["sinkhorn"](cosines, prior, 0.02, 50).float(), plan, atol=1e-5)


def test_solution_2_agrees_with_the_library():
    mine, images = space_of(2, None, 0), F.normalize(world(3)["images"][:50].double(), dim=1)
    labels = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 200
    _, directions = ridge_system(images, 0.04).solve(labels - labels.mean(dim=1, keepdim=True))
    for name in ("closed_form", "closed_form_few"):
        found = mine[name](images, labels, 0.04)
        assert torch.allclose(found, 4 * directions * found.norm() / (4 * directions).norm(), atol=1e-8), name


# The notebooks that students get.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_notebook_is_for_students(number):
    cells = released(number)
    text = "\n".join(cell.source for cell in cells)
    tasks = [cell.source for cell in cells if "task" in cell.metadata.get("tags", [])]
    assert sum(cell.source == setup_source(repository_url()) for cell in cells) == 1
    assert [re.search(r"def (\w+)", source)[1] for source in tasks] == TASKS[number]
    assert all("raise NotImplementedError" in source for source in tasks)
    for task in TASKS[number]:
        points = sum(item.points for item in ITEMS[number].values() if item.task == task)
        assert re.search(rf"\| \d `{task}` \| {points} \|", text), f"the table of points and {task}"
    assert "synthetic" in text and "Nothing here is for clinical use" in text


@pytest.mark.parametrize("number", NUMBERS)
def test_students_get_the_source_without_solutions_and_hidden_tests(number):
    """The cells are those of the source in its order; what nbgrader takes out is all that is missing."""
    cells, hidden = released(number), 0
    assert len(cells) == len(CELLS[number])
    for mine, source in zip(cells, CELLS[number], strict=True):
        facts = source.metadata.get("nbgrader", {})
        if facts.get("solution"):
            assert "BEGIN" not in mine.source and mine.source.split("\n")[0] == source.source.split("\n")[0]
        elif "BEGIN HIDDEN" in source.source:
            hidden += 1
            assert mine.source == source.source.partition("\n###")[0] and "\n" not in mine.source
        else:
            assert mine.source == source.source
        assert mine.metadata.get("nbgrader", {}).get("grade_id") == facts.get("grade_id")
    assert hidden == len(ITEMS[number]) + 2


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_the_notebook_is_what_nbgrader_makes_of_the_source(number, tmp_path):
    grade.release(str(number), tmp_path / "new.ipynb")
    said = f"run: python -m book.tools grade --release --assignment {number}"
    assert (tmp_path / "new.ipynb").read_text() == RELEASED[number].read_text(), said


def test_the_graders_of_the_assignments_are_one():
    first, second = ([c.source for c in CELLS[n] if "def make_grader" in c.source] for n in NUMBERS)
    assert first == second and len(first) == 1


@pytest.mark.parametrize("number", NUMBERS)
def test_no_line_of_a_solution_stands_where_students_read(number):
    files = [*RELEASED.values(), *BOOK.glob("instructor/*.md")]
    for file in files:
        text = re.sub(r"\s+", " ", file.read_text(encoding="utf-8").replace("\\n", " "))
        assert [secret for secret in secrets(number) if secret in text] == [], file.name


def test_no_page_of_the_book_is_a_solution():
    assert "grading" not in (BOOK / "_toc.yml").read_text() and not list(GRADING.rglob("*.md"))


@pytest.mark.site
def test_the_site_and_the_student_edition_hold_no_solution():
    built = BOOK.parent / "_build"
    hidden = [code_lines(c.source) for n in NUMBERS for c in CELLS[n] if "BEGIN HIDDEN" in c.source]
    files = [
        f
        for f in built.rglob("*")
        if f.suffix in {".html", ".ipynb", ".py", ".js"} and not {"grades", ".jupyter_cache"} & {*f.parts}
    ]
    assert files
    texts = {f: " ".join(f.read_text(errors="ignore").split()) for f in files}
    # One line may be that of a page, such as a call of the library; half of a cell is the cell.
    leaks = [
        f for f, text in texts.items() if any(2 * sum(x in text for x in cell) > len(cell) for cell in hidden)
    ]
    assert all(len(cell) > 2 for cell in hidden) and leaks == []


@pytest.mark.parametrize("kind", ["solution", "hard_coder"])
@pytest.mark.parametrize("number", NUMBERS)
def test_public_tests_pass_on_the_solution_and_on_typed_in_values(number, kind, capsys):
    typed = GRADING / "samples" / f"assignment_{number}" / "hard_coder.py"
    space = space_of(number, None if kind == "solution" else typed.read_text(), 0)
    keys = ("images", "labels", *(["names"] if number == 1 else []), "descriptions")
    space["encoded"] = lambda name, n: [world(5)[key] for key in keys]
    for cell in CELLS[number]:
        if "public-test" in cell.metadata.get("tags", []):
            exec(cell.source, space)
    assert capsys.readouterr().out.count("the public test passes") == len(TASKS[number])


# Submissions that are broken or hostile: one line an item, and a score.

BROKEN = {
    "syntax": ("def zero_shot(a, b, c):\n    return (a\n", "there is no function zero_shot"),
    "empty": ("", "there is no function zero_shot"),
    "stub": ("def zero_shot(a, b, c):\n    raise NotImplementedError\n", "zero_shot is not written yet"),
    "exit": ("import sys\ndef zero_shot(a, b, c):\n    sys.exit(0)\n", "zero_shot stopped with SystemExit"),
    "error": ("def zero_shot(a, b, c):\n    return a @ b\n", "stopped with RuntimeError"),
    "none": ("def zero_shot(a, b, c):\n    print(a)\n", "returns nothing (is there a return?)"),
    "turned": ("def zero_shot(a, b, c):\n    return (a @ b.T).T\n", "is asked for"),
    "whole": (
        "def zero_shot(a, b, c):\n    return (a @ b.T).argmax(1)\n",
        "floating-point numbers are asked for",
    ),
    "nan": ("def zero_shot(a, b, c):\n    return a @ b.T / 0 - a @ b.T / 0\n", "not numbers"),
    "package": ("import nosuch\ndef zero_shot(a, b, c): ...\n", "did its cell stop with an error?"),
    "library": (
        "import kpl_lib.metrics\ndef zero_shot(a, b, c):\n    return kpl_lib.metrics.accuracy(a, b)\n",
        "may not be used here",
    ),
    "constant": ("zero_shot = 3\n", "there is no function zero_shot"),
    "loop": (
        "def zero_shot(a, b, c):\n    while True:\n        try:\n            a = a + 1\n"
        "        except Exception:\n            pass\n",
        "no end after",
    ),
    "evil error": (
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\n"
        "def zero_shot(a, b, c):\n    raise E\n",
        "an error that cannot be printed",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_submission_gets_a_line(kind, monkeypatch):
    text, said = BROKEN[kind]
    space = space_of(1, text, 1)
    (cell,) = [c for c in CELLS[1] if "def zero_shot_probabilities" in c.source]
    if kind == "loop":
        monkeypatch.setattr("signal.setitimer", shorter())
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(cell.source, space)
    message = printed.getvalue()
    assert said in message and message.count("\n") == 1 and space["grader"].marks["zero_shot_probabilities"]


def shorter():
    """`signal.setitimer` with a tenth of a second in the place of ten."""
    import signal

    real = signal.setitimer
    return lambda which, seconds, interval=0.0: real(which, 0.1 if seconds == 10 else seconds, interval)


# The command. It calls nbgrader, which starts a kernel for each submission: minutes.

HOSTILE = {
    "harm.py": "import os, shutil, subprocess\n"
    "def zero_shot(a, b, c):\n    os.remove('{victim}')\n"
    "def text_proxies(a, b, c):\n    shutil.rmtree('{folder}')\n"
    "def sinkhorn(a, b, c, d):\n    subprocess.run(['rm', '{victim}'])\n"
    "def paired_interval(a, b, c, d):\n    open('{victim}', 'w').write('x')\n"
    "def experiment(a, b, c, d, e):\n    open('../../../source/assignment_1/assignment_1.ipynb')\n",
    "stop.py": "import os, socket\n"
    "def zero_shot(a, b, c):\n    os._exit(0)\n"
    "def text_proxies(a, b, c):\n    socket.create_connection(('127.0.0.1', 9))\n"
    "def paired_interval(a, b, c, d):\n    while True:\n        pass\n",
    "broken.ipynb": "no notebook",
}
SAID = {
    "harm": (
        "os.remove is",
        "shutil.rmtree is",
        "subprocess.Popen is",
        "writing a file is",
        "files is not allowed",
    ),
    "stop": ("leaving the program is", "socket.connect is", "no function sinkhorn", "no end after"),
}


def rows(out) -> dict[str, dict]:
    with (out / "assignment_1" / "grades.csv").open() as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.timeout(1200)  # six kernels, one after the other
def test_the_command_survives_hostile_files_and_grades_the_others(tmp_path, capsys):
    folder, victim = tmp_path / "in", tmp_path / "kept" / "victim.txt"
    folder.mkdir(), victim.parent.mkdir()
    victim.write_text("kept")
    for name, text in HOSTILE.items():
        (folder / name).write_text(text.format(victim=victim, folder=victim.parent))
    (folder / "anna").mkdir()
    (folder / "anna" / "done.ipynb").write_text(SOURCES[1].read_text())
    (folder / "peeks.py").write_text(SAMPLES[1][1].read_text())
    assert grade.main([str(folder), "--out", str(tmp_path / "out"), "--seed", "4"]) == 0
    assert victim.read_text() == "kept"
    found, out = rows(tmp_path / "out"), tmp_path / "out" / "assignment_1"
    points = {name: float(row["points"]) for name, row in found.items()}
    assert points == {"anna__done": 20, "peeks": 16, "harm": 0, "stop": 0, "broken": 0}
    assert "broken                      0 of 20: it could not be run" in capsys.readouterr().out
    for name, said in SAID.items():
        text = (out / "feedback" / name / "assignment_1" / "assignment_1.html").read_text()
        assert [line for line in said if line not in text] == [] and "make_grader" not in text
    solved = out / "autograded" / grade.SOLUTION / "assignment_1" / "assignment_1.ipynb"
    outputs = [o for cell in nbformat.read(solved, as_version=4).cells for o in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "say what to grade: make grade SUBMISSIONS=folder"),
        (["{empty}", "--seed", "x"], "SEED=x is not a whole number"),
        (["nowhere"], "SUBMISSIONS=nowhere is no folder"),
        (["{empty}"], "holds no .ipynb and no .py file"),
        (["{empty}", "--assignment", "9"], "there is no assignment 9: give one of 1, 2"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grade, "nbgrader", None)  # nothing is graded
    arguments = [text.replace("{empty}", str(tmp_path)) for text in arguments]
    assert grade.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_nobody_is_graded_where_the_solution_loses_points(tmp_path, monkeypatch):
    (tmp_path / "x.py").write_text("")
    monkeypatch.setattr(grade, "nbgrader", lambda *given: None)
    monkeypatch.setattr(grade, "marks", lambda *given: {grade.SOLUTION: {"zero_shot_any_length": (0.0, 1.0)}})
    with pytest.raises(ValueError, match=r"nobody was graded \(zero_shot_any_length\)"):
        grade.grade_all({"x": tmp_path / "x.py"}, "1", 1, tmp_path / "out")
