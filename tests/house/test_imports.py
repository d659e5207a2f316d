"""The house: one direction of imports, also for annotations and inside functions."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ANNOTATION = "\n\nif TYPE_CHECKING:\n    from kpl_lib.encoders.encoder import Encoder\n"
HIDDEN = "\n\ndef late():\n    from kpl_lib.encoders.encoder import Encoder\n\n    return Encoder\n"


def lint(folder: Path) -> subprocess.CompletedProcess:
    """What the linter says of the library in a folder."""
    code = "from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", code, "--no-cache"]
    environment = {"PYTHONPATH": str(folder), "PATH": "", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the library with its contract."""
    shutil.copytree(ROOT / "kpl_lib", tmp_path / "kpl_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_one_way():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("planted", [ANNOTATION, HIDDEN], ids=["an annotation", "inside a function"])
def test_an_arrow_back_is_told_with_its_file_and_line(copy, planted):
    file = copy / "kpl_lib" / "knowledge" / "base.py"
    before = file.read_text(encoding="utf-8")
    file.write_text(before + planted, encoding="utf-8")
    line = next(i for i, text in enumerate((before + planted).split("\n"), 1) if "import Encoder" in text)
    done = lint(copy)
    assert done.returncode == 1
    assert f"kpl_lib.knowledge.base -> kpl_lib.encoders.encoder (l.{line})" in done.stdout


def test_a_new_folder_has_to_be_given_its_floor(copy):
    (copy / "kpl_lib" / "attic").mkdir()
    (copy / "kpl_lib" / "attic" / "__init__.py").write_text('"""Things."""\n')
    done = lint(copy)
    assert done.returncode == 1 and "attic" in done.stdout
