"""The house: pins, ranges, conda and configuration in step; one repository address; a wheel that works."""

import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from requirements import CORE, OPTIONAL, PROJECT, asked

from book.tools.building.set_repository import clean, mention, name, set_repository, text_files
from book.tools.building.setup_cell import config, repository_url, source

ROOT = Path(__file__).resolve().parents[2]
DIRECT = [*{str(r): r for r in [*CORE, *asked("book"), *asked("dev")]}.values()]


def pins() -> dict[str, Version]:
    """Name -> version of constraints.txt."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines if line]
    assert all(pairs), "constraints.txt holds exact pins alone: name==version"
    return {canonicalize_name(pair[1]): Version(pair[2]) for pair in pairs}


def applies(requirement: Requirement, extra: str = "") -> bool:
    """Whether a requirement is wanted here, with this extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_each_direct_dependency_is_pinned_inside_its_range(requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_each_dependency_of_a_dependency_is_pinned():
    try:
        metadata.distribution(PROJECT["name"])
    except metadata.PackageNotFoundError:
        pytest.skip("the library is not installed: run `make test`")
    known, left, seen = pins(), [(requirement, "") for requirement in DIRECT], set()
    unpinned = set()
    while left:
        requirement, extra = left.pop()
        key = (canonicalize_name(requirement.name), extra)
        if not applies(requirement, extra) or key in seen:
            continue
        seen.add(key)
        if key[0].startswith(("nvidia-", "cuda-", "triton")):  # torch itself pins what it needs of them
            continue
        if key[0] not in known:
            unpinned.add(key[0])
            continue
        inner = [Requirement(line) for line in metadata.requires(requirement.name) or []]
        left += [(child, wish) for child in inner for wish in ("", *requirement.extras)]
    assert unpinned == set()


def test_the_pinned_torch_can_be_imported_beside_its_torchvision():
    assert pins()["torch"] != Version("2.13.0")  # its CPU-only build breaks torchvision from the registry


def test_ranges_admit_what_colab_has(shared):
    freeze = shared("colab/pip-freeze.txt").read_text()
    found = re.findall(r"^([\w.-]+)==([\w.+!]+)", freeze, re.MULTILINE)
    colab = {canonicalize_name(name): Version(version) for name, version in found}
    assert [
        str(r) for r in DIRECT if r.name in colab and r in CORE and colab[r.name] not in r.specifier
    ] == []
    absent = {canonicalize_name(requirement.name) for requirement in CORE} - set(colab)
    assert absent == {"open-clip-torch"}


def test_the_setup_cell_touches_nothing_that_colab_has():
    cell = source(repository_url())
    assert "--no-deps" in cell
    assert not re.search(r"\b(torch|torchvision|numpy|ipykernel)\b", cell)


def test_the_library_alone_asks_for_little():
    assert len(CORE) <= 14
    assert {str(r) for r in asked("all")} == {str(r) for extra in OPTIONAL for r in asked(extra)}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [extra for extra in (*OPTIONAL, "all") if f"`{extra}`" not in readme] == []
    assert set(asked("all")) <= set(asked("book")) & set(
        asked("dev")
    )  # so that `make install` has everything


def test_conda_installs_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, inner = environment["dependencies"]
    assert pip == "pip"
    assert inner == {"pip": ["-c constraints.txt", "-e .[book,dev]"]}
    assert Version(python.removeprefix("python=")) >= Version(PROJECT["requires-python"].removeprefix(">="))
    assert '-c constraints.txt -e ".[book,dev]"' in (ROOT / "Makefile").read_text()


def test_the_book_is_built_by_jupyter_book_1():
    requirement = next(r for r in DIRECT if r.name == "jupyter-book")
    assert Version("2.0") not in requirement.specifier
    assert config()["execute"]["raise_on_error"] is True
    assert config()["sphinx"]["recursive_update"] is True
    assert not (ROOT / "myst.yml").exists()


def test_licences_and_citation_name_the_same_things():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'__version__ = "(.+)"', (ROOT / "kpl_lib" / "__init__.py").read_text())[1]
    assert citation["version"] == version
    assert set(citation["license"]) == set(PROJECT["license"].split(" AND ")) == {"MIT", "CC-BY-4.0"}
    assert "MIT License" in (ROOT / "LICENSE").read_text()
    assert "https://creativecommons.org/licenses/by/4.0/" in (ROOT / "LICENSE-TEXT").read_text()
    assert any("2501.11231" in str(reference) for reference in citation["references"])


def test_the_workflow_and_the_readme_give_the_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make book" in readme and "make test" in readme
    assert "make test\n" in (ROOT / ".ci" / "run").read_text()
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "pages.yml").read_text()


def test_the_readme_names_files_that_exist():
    targets = re.findall(r"\]\(([^)#:\s]+)\)", (ROOT / "README.md").read_text())
    assert targets and [target for target in targets if not (ROOT / target).exists()] == []


def test_each_command_of_make_is_explained():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [command for command in phony if f"  make {command} " not in shown] == []


# The repository's address: in _config.yml alone, carried from there.

OWN = re.compile(r"github\.com/([A-Za-z0-9-]+/[A-Za-z0-9._-]*[A-Za-z0-9_-])")
CARRIERS = (r"git\+https://", r"google\.com/github/", r"repository-code: ", r"Homepage = ", r"git clone ")


def strangers(text: str, repository: str) -> list[str]:
    """Addresses that stand where this book's own is meant, or look like it, and differ from it."""
    owner, short = repository.split("/")
    found = []
    for match in OWN.finditer(text):
        other = match[1].removesuffix(".git")
        before = text[max(0, match.start() - 40) : match.start()]
        meant = any(re.search(carrier + r"[\"'(<]*(https://)?$", before) for carrier in CARRIERS)
        looks = owner == other.split("/")[0] or short == other.split("/")[1] or "kpl-book" in other
        if other != repository and (meant or looks):
            found.append(other)
    behind_colab = re.findall(r"research\.google\.com/github/([\w-]+/[\w.-]+)", text)
    return found + [other for other in behind_colab if other != repository]


def test_the_tree_names_one_repository():
    repository = name(repository_url())
    files = [file for file in text_files(ROOT) if not file.is_relative_to(ROOT / "tests")]
    naming = [file for file in files if mention(repository).search(file.read_text(encoding="utf-8"))]
    expected = {"_config.yml", "CITATION.cff", "pyproject.toml", "README.md", "_template.ipynb"}
    assert expected <= {file.name for file in naming}
    assert {str(f): s for f in files if (s := strangers(f.read_text(encoding="utf-8"), repository))} == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("git clone https://github.com/other/place", 1),
        ("git+https://github.com/other/place", 1),
        ('repository-code: "https://github.com/other/place"', 1),
        ("https://colab.research.google.com/github/other/place/blob/main/a.ipynb", 1),
        ("https://github.com/org/elsewhere", 1),
        ("https://github.com/else/repo.git", 1),
        ("see https://github.com/mlfoundations/open_clip.", 0),
        ("https://github.com/org/repo/issues", 0),
    ],
)
def test_a_stray_address_is_noticed(text, count):
    assert len(strangers(text, "org/repo")) == count


def test_set_repository_carries_the_address_everywhere(tmp_path):
    for file in text_files(ROOT):
        target = tmp_path / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    old = name(repository_url())
    (tmp_path / "extra.md").write_text(
        f"https://github.com/{old}.git https://github.com/{old}-two https://colab.research.google.com/github/{old}/x."
    )
    changed = set_repository("https://github.com/new-org/new.repo.git/", tmp_path)
    assert repository_url(tmp_path) == "https://github.com/new-org/new.repo"
    assert {"_config.yml", "CITATION.cff", "_template.ipynb"} <= {file.name for file in changed}
    assert [f.name for f in text_files(tmp_path) if mention(old).search(f.read_text())] == []
    extra = (tmp_path / "extra.md").read_text()
    assert f"{old}-two" in extra and "github/new-org/new.repo/x" in extra and "new.repo.git " in extra
    assert set_repository("https://github.com/new-org/new.repo", tmp_path) == []


@pytest.mark.parametrize(
    "url",
    ["", "github.com/a/b", "https://github.com/a", "https://gitlab.com/a/b", "https://github.com/a/b/c"],
)
def test_a_wrong_address_is_refused_in_one_line(url):
    with pytest.raises(ValueError, match="no repository address") as caught:
        clean(url)
    assert "\n" not in str(caught.value)


# The wheel.


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a new environment: this checkout's wheel, the present dependencies, no network."""
    folder = tmp_path_factory.mktemp("wheel")
    tree, home = folder / "tree", folder / "home"
    tree.mkdir()
    for part in ("kpl_lib", "data", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tree / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(tree)]
    subprocess.run(build, env=offline, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "present.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [*pip, "--python", str(python), "install", "--no-deps", str(wheel)]
    subprocess.run(install, env=offline, check=True)
    return python.parent


def run(command: list[str], folder: Path) -> str:
    """The output of a command from an empty folder, without this checkout on the path."""
    clean_environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, cwd=folder, env=clean_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.xdist_group("wheel")
def test_the_wheel_is_what_is_imported_and_carries_the_data(installed, tmp_path):
    show = "import kpl_lib, kpl_lib.common.files as p; print(kpl_lib.__file__); print(p.data_dir())"
    file, data = map(Path, run([str(installed / "python"), "-c", show], tmp_path).split("\n")[:2])
    assert file.is_relative_to(installed.parent) and data == file.parent / "data"
    ships = {path.relative_to(ROOT / "data") for path in (ROOT / "data").rglob("*") if path.is_file()}
    assert {path for path in ships if not (data / path).is_file()} == set()


@pytest.mark.xdist_group("wheel")
def test_the_wheel_works_from_an_empty_folder(installed, tmp_path):
    assert "phantom" in run([str(installed / "kpl"), "doctor"], tmp_path)
    load = "from kpl_lib.encoders import load_encoder; print(type(load_encoder('phantom')).__name__)"
    assert "Encoder" in run([str(installed / "python"), "-c", load], tmp_path)
    assert list(tmp_path.iterdir()) == []
