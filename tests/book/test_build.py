"""The build of the book on a toy tree: what fails, what runs again, and what does not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAISES, WORKS = "raise RuntimeError('a chapter that fails')", "import kpl_lib; print('ran', kpl_lib.VALUE)"
STOPPED = "two.ipynb stopped in cell 3, after the sentence: It runs:"
LOG = "from pathlib import Path; Path('../../runs.log').open('a').write('{name}\\n')"


def chapter(*sources: str) -> str:
    """A notebook with a title and these code cells."""
    code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# A toy chapter\n\nIt runs:"}]
    cells += [code | {"id": f"c{number}", "source": source} for number, source in enumerate(sources)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def write_chapters(tree: Path, **sources: str) -> None:
    """Write the chapters; each notes in runs.log, at the tree's top, that it was executed."""
    for name, source in sources.items():
        path = tree / "book" / "chapters" / f"{name}.ipynb"
        path.write_text(chapter(LOG.format(name=name), source))


@pytest.fixture
def tree(tmp_path) -> Path:
    """A small book with this house's tools and configuration."""
    for part in ("Makefile", "_config.yml", "constraints.txt", "pyproject.toml", ".ci/run"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    for folder in (
        "book/chapters",
        "book/_static",
        "kpl_lib",
        "data/knowledge",
        "data/claims",
        "tests",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for module in (
        "claims.py",
        "claim_files.py",
        "common/__init__.py",
        "common/errors.py",
        "common/files.py",
    ):
        (tmp_path / "kpl_lib" / module).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "kpl_lib" / module, tmp_path / "kpl_lib" / module)
    shutil.copytree(ROOT / "book" / "tools", tmp_path / "book" / "tools")
    shutil.copy(ROOT / "book" / "conftest.py", tmp_path / "book")
    for logo in (ROOT / "book" / "_static").glob("logo*"):
        shutil.copy(logo, tmp_path / "book" / "_static")
    files = {
        "kpl_lib/__init__.py": "VALUE = 1\n",
        "data/one.txt": "1",
        "tests/test_toy.py": "def test_toy():\n    assert True\n",
        "book/references.bib": "",
        "book/_toc.yml": "format: jb-book\nroot: intro\nchapters: [{glob: chapters/*}]\n",
        "book/intro.md": "# A toy book\n\nIt has $x^2$.\n",
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    return tmp_path


def make(tree: Path, command: str, *more: str) -> subprocess.CompletedProcess:
    """Run make in the toy tree with the present environment, as if it were installed."""
    (tree / "stamp").touch()
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "MAKE", "MFLAGS", "OMP_"))}
    keep["PYTHONPATH"] = str(tree)
    arguments = ["make", command, f"VENV={sys.prefix}", f"STAMP={tree / 'stamp'}", *more]
    return subprocess.run(arguments, cwd=tree, env=keep, capture_output=True, text=True, timeout=900)


def runs(tree: Path) -> list[str]:
    """Which chapters ran since the last call."""
    log = tree / "runs.log"
    names = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return sorted(names)


def test_a_notebook_that_raises_fails_every_time(tree):
    write_chapters(tree, one=WORKS, two=RAISES)
    for attempt in (1, 2):
        book = make(tree, "book")
        assert book.returncode != 0, f"build {attempt} of a failing notebook passed"
        assert "a chapter that fails" in book.stdout + book.stderr
        assert "was not built" in book.stderr
        assert STOPPED in book.stderr
    for attempt in (1, 2):
        tested = make(tree, "notebooks")
        assert tested.returncode != 0, f"run {attempt} of a failing notebook passed"
        assert STOPPED in tested.stdout
    write_chapters(tree, two=WORKS)
    assert make(tree, "book").returncode == 0
    write_chapters(tree, two=RAISES)
    assert make(tree, "book").returncode != 0, "an older good build hid the failure"


def test_what_runs_again_and_what_does_not(tree):
    write_chapters(tree, one=WORKS, two=WORKS)
    first = make(tree, "book")
    assert first.returncode == 0, first.stdout + first.stderr
    index = first.stdout.rstrip().split("\n")[-1]
    assert index == str(tree / "_build/html/index.html")
    assert "url=intro.html" in Path(index).read_text() and 'rel="icon"' in Path(index).read_text()
    assert runs(tree) == ["one", "two"]

    again = make(tree, "book")
    assert again.returncode == 0 and "Nothing changed" in again.stdout
    assert again.stdout.rstrip().split("\n")[-1] == index and runs(tree) == []

    write_chapters(tree, two=WORKS + "  # edited")
    assert make(tree, "book").returncode == 0 and runs(tree) == ["two"]

    (tree / "kpl_lib" / "__init__.py").write_text("VALUE = 22\n")
    assert make(tree, "book").returncode == 0 and runs(tree) == ["one", "two"]
    assert "ran 22" in (tree / "_build/html/chapters/one.html").read_text()

    (tree / "data" / "one.txt").write_text("2")
    assert make(tree, "book").returncode == 0 and runs(tree) == ["one", "two"]

    Path(index).unlink()
    assert make(tree, "book").returncode == 0 and runs(tree) == [] and Path(index).is_file()


MEASURES = """from pathlib import Path
from kpl_lib.claim_files import read_claims
from kpl_lib.claims import measure
value = {value}
outcomes = measure(read_claims("one"), globals())
outcomes.save("../../_build/claims")
outcomes"""
CLAIM = """[[claim]]
says = "A toy chapter"
measure."A toy chapter" = "value"
said."A toy chapter" = 3
within."A toy chapter" = {within}
"""


def test_a_statement_that_differs_is_marked_and_told_and_stops_a_strict_build_alone(tree):
    (tree / "data" / "claims" / "one.toml").write_text(CLAIM.format(within=0.5))
    write_chapters(tree, one=MEASURES.format(value=3.2), two=WORKS)
    strict = make(tree, "book", "STRICT=1")
    assert strict.returncode == 0 and "1 of 1 statements of the book came out" in strict.stdout, strict.stderr
    page = tree / "_build/html/chapters/one.html"
    assert "1 of 1 statements of this page" in page.read_text() and "differs" not in page.read_text()
    assert runs(tree) == ["one", "two"]

    # A narrower tolerance: the page alone runs again, is marked, and the build says where.
    (tree / "data" / "claims" / "one.toml").write_text(CLAIM.format(within=0.1))
    told = "one: differs: 3.2 where the page says A toy chapter (± 0.1). It says: A toy chapter"
    book = make(tree, "book")
    assert (
        book.returncode == 0
        and told in book.stdout
        and "0 of 1 statements of the book came out" in book.stdout
    )
    assert runs(tree) == ["one"] and '<mark class="differs">(on this machine: 3.2 where' in page.read_text()
    again = make(tree, "book")
    assert (
        again.returncode == 0
        and "Nothing changed" in again.stdout
        and told in again.stdout
        and runs(tree) == []
    )
    strict = make(tree, "book", "STRICT=1")
    assert (
        strict.returncode != 0 and told in strict.stdout and "not every statement came out" in strict.stderr
    )

    # A file that is wrong: one line, nothing built.
    (tree / "data" / "claims" / "one.toml").write_text(CLAIM.format(within=0.1).replace("value", "(value"))
    wrong = make(tree, "book")
    lines = [line for line in wrong.stderr.splitlines() if not line.startswith("make")]
    assert wrong.returncode != 0 and len(lines) == 1, lines
    assert lines[0].startswith("The book was not built: one.toml, claim 1 ('A toy chapter'): no expression")


def test_a_warning_fails_every_time(tree):
    write_chapters(tree, one=WORKS)
    (tree / "book" / "intro.md").write_text("# A toy book\n\n{ref}`nowhere` and $x$.\n")
    for _ in (1, 2):
        book = make(tree, "book")
        assert book.returncode != 0 and "nowhere" in book.stdout + book.stderr


def test_pip_runs_when_the_pins_change_and_never_otherwise(tree):
    def planned() -> str:
        command = ["make", "-n", "book", "VENV=home"]
        return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout

    first = planned()
    assert 'pip install -q --disable-pip-version-check -c constraints.txt -e ".[book,dev]"' in first
    stamp = tree / re.search(r"touch (home/\.installed-\d+)", first)[1]
    stamp.parent.mkdir()
    stamp.touch()
    os.utime(tree / "constraints.txt")  # a fresh checkout has new times and old contents
    assert "pip install" not in planned()
    (tree / "constraints.txt").write_text("one==1\n")
    assert "pip install" in planned()


def test_an_old_python_is_refused_in_one_line(tree):
    command = ["make", "book", "PYTHON=false", "VENV=none"]
    old = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    lines = [line for line in old.stderr.split("\n") if line and not line.startswith("make")]
    assert old.returncode != 0 and len(lines) == 1 and "Python 3.11 or newer" in lines[0]


@pytest.mark.parametrize(
    "failing",
    ["test", "test-slow", "check", "book", "site", "test-site", "student", "grade", None],
)
def test_ci_stops_at_the_first_failure(tree, failing):
    stub = tree / "bin" / "make"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\necho "$1 $ATEN_CPU_CAPABILITY" >> "$LOG"\n[ "$1" != "$FAILING" ]\n')
    stub.chmod(0o755)
    shutil.copy(stub, stub.with_name("chromium"))  # there is a browser: nothing is installed
    path = f"{stub.parent}:{os.environ['PATH']}"
    settings = {"PATH": path, "LOG": str(tree / "log"), "FAILING": failing or "", "ATEN_CPU_CAPABILITY": ""}
    done = subprocess.run(["bash", ".ci/run"], cwd=tree, env=os.environ | settings, stdin=subprocess.DEVNULL)
    order = [
        "test",
        "test-slow",
        "check",
        "book",
        "site",
        "test-site",
        "pdf",
        "student",
        "test-kit",
        "grade",
        "grade",
    ]
    expected = order[: order.index(failing) + 1] if failing else order
    done_there = [line.split() for line in (tree / "log").read_text().splitlines()]
    assert [line[0] for line in done_there] == expected
    assert [line[0] for line in done_there if line[1:]] == ["book"] * (
        "book" in expected
    )  # another instruction set
    assert (done.returncode == 0) == (failing is None)
