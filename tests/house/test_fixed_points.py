"""What the user fixed: the top level, the packages, Jupyter Book 1.x with `_config.yml`, nbmake over every notebook."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from requirements import CORE, EXTRAS, asked

ROOT = Path(__file__).resolve().parents[2]
TOP = ("book", "kpl_lib", "tests", "data", "_config.yml", "environment.yml")
PACKAGES = [
    "jupyterlab",
    "jupyter-book",
    "torch",
    "open_clip_torch",
    "matplotlib",
    "umap-learn",
    "nbmake",
    "numpy",
]


@pytest.fixture(scope="module")
def direct() -> dict[str, Requirement]:
    """What pyproject.toml asks for directly, in all its extras."""
    found = [*CORE, *(part for extra in EXTRAS for part in asked(extra))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.mark.parametrize("name", TOP)
def test_the_top_level_has_its_six_names(name):
    tracked = subprocess.run(
        ["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert (ROOT / name).is_file() if name.endswith("yml") else (ROOT / name).is_dir()
    assert tracked or not (ROOT / ".git").exists(), f"{name} holds nothing that git keeps"


@pytest.mark.parametrize("name", PACKAGES)
def test_the_eight_packages_are_installed_by_both_ways_in(direct, name):
    assert canonicalize_name(name) in direct
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert canonicalize_name(name) in {canonicalize_name(found) for found in pinned}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert any("-e .[book,dev]" in part.get("pip", []) for part in conda if isinstance(part, dict))


def test_the_book_is_a_jupyter_book_1_with_a_config(direct):
    book = direct["jupyter-book"].specifier
    assert Version("1.0.4.post1") in book and Version("2.0") not in book and not (ROOT / "myst.yml").exists()
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["title"] and config["execute"]["execute_notebooks"] == "cache"
    assert (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8").startswith("format: jb-book")


def test_nbmake_runs_every_notebook():
    listed = subprocess.run(
        ["make", "-n", "notebooks"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    command = next(line for line in listed.splitlines() if "--nbmake" in line)
    run = {word for word in command.split() if word.endswith(".ipynb")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").rglob("*.ipynb")}
    assert run == {name for name in there if ".ipynb_checkpoints" not in name} and len(run) >= 20
    assert {"book/_template.ipynb", "book/instructor/assignments/assignment_1.ipynb"} <= run
    tested = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "--nbmake" in tested and "book.tools claims report" in tested
