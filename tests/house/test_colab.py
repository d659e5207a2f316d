"""Colab: what the setup cell and the ranges of pyproject.toml do to the versions that Colab has, offline."""

import importlib.metadata as metadata
import re
import sys

import colab_environment
import pytest
from colab_environment import CHAPTERS
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from requirements import CORE, EXTRAS, PROJECT, asked

from book.tools.building.setup_cell import repository_url, source

LISTS = ("pip-freeze.txt", "pip-freeze.gpu.txt")
NEVER = ("torch", "torchvision", "numpy")
NOTEBOOK = ("ipykernel", "ipython", "pandas", "matplotlib", "scipy", "scikit-learn", "pillow")


@pytest.fixture(params=LISTS)
def colab(shared, request):
    """Name -> version of Colab's CPU and GPU runtimes."""
    shared(f"colab/{request.param}")
    return colab_environment.frozen(request.param)


def wanted(requirements):
    """Requirements that apply on Colab: Linux, Python 3.13."""
    there = {**default_environment(), "python_version": "3.13", "sys_platform": "linux", "extra": ""}
    return [r for r in requirements if r.marker is None or r.marker.evaluate(there)]


def needs(name):
    """What an installed package needs, by its own word."""
    return wanted(Requirement(line) for line in metadata.requires(name) or [])


def of_chapters():
    """Requirements of the core and of the extras that chapters use, by name."""
    found = wanted([*CORE, *(part for extra in CHAPTERS for part in asked(extra))])
    return {canonicalize_name(r.name): r for r in found}


def of_cell(cell):
    """What the pip line of the setup cell names: its requirements, and the addresses it installs from."""
    (line,) = re.findall(r"^\s*%pip install ((?:.*\\\n)*.*)$", cell, re.MULTILINE)
    quoted = re.findall(r'"([^"]+)"', line)
    return [Requirement(q) for q in quoted if not q.startswith("git+")], line


def replaced(requirements, colab):
    """Requirements that pip would answer by replacing a version that Colab has."""
    return [
        str(r)
        for r in requirements
        if (n := canonicalize_name(r.name)) in colab and colab[n] not in r.specifier
    ]


@pytest.mark.parametrize("part", ["core", *EXTRAS])
def test_no_requirement_replaces_what_colab_has(colab, part):
    found = replaced(wanted(CORE if part == "core" else asked(part)), colab)
    if part in ("book", "dev"):  # for building the book; a reader on Colab does not install them
        assert not [line for line in found if canonicalize_name(Requirement(line).name) in NEVER]
    else:
        assert found == []


def test_the_setup_cell_installs_only_what_colab_lacks(colab):
    requirements, line = of_cell(source(repository_url()))
    names = {canonicalize_name(r.name) for r in requirements}
    left, lacking = list(of_chapters()), set()
    while left:  # what is installed with --no-deps brings nothing along: its own needs are named too
        name = left.pop()
        if name not in colab.keys() | lacking:
            lacking.add(name)
            left += [canonicalize_name(need.name) for need in needs(name)]
    assert names == lacking
    assert "--no-deps" in line and not names & {*NEVER, *NOTEBOOK}
    assert not re.search(r"--(upgrade|force-reinstall|pre)|(^|\s)-U(\s|$)", line)
    assert "pip uninstall" not in source(repository_url())


def test_ranges_of_the_setup_cell_are_those_of_the_project():
    requirements, _ = of_cell(source(repository_url()))
    known = of_chapters()
    named = [r for r in requirements if canonicalize_name(r.name) in known]
    assert {r.name for r in requirements} - {r.name for r in named} == {"ftfy"}  # open_clip takes any
    edges = ("0.9.5", "0.9.6", "1.0", "3.2", "3.3", "3.9", "4.0", "6.2", "6.3", "7.0")
    for requirement in named:
        other = known[canonicalize_name(requirement.name)].specifier
        assert [v in requirement.specifier for v in edges] == [v in other for v in edges], requirement


def test_what_the_installed_packages_need_is_there_in_a_version_that_suits(colab):
    requirements, _ = of_cell(source(repository_url()))
    names = {canonicalize_name(r.name) for r in requirements}
    for requirement in requirements:
        inner = needs(requirement.name)
        assert replaced(inner, colab) == [], requirement.name
        assert {canonicalize_name(need.name) for need in inner} <= colab.keys() | names, requirement.name


def test_a_requirement_that_replaces_numpy_is_noticed(colab):
    above = f"numpy>{colab['numpy']}"
    assert replaced([Requirement(above)], colab) == [above]
    assert replaced([Requirement("numpy>=2.1"), Requirement("no-such-thing>9")], colab) == []


def test_both_runtimes_have_a_python_that_the_project_takes(shared):
    text = shared("colab/README.md").read_text()
    version = re.search(r"python (\d+\.\d+)", text)[1]
    from packaging.specifiers import SpecifierSet

    assert version in SpecifierSet(PROJECT["requires-python"])
    assert sys.version_info[:2] >= (3, 11)


def test_the_environment_of_colab_keeps_torch_and_leaves_nothing_out(shared):
    shared("colab/pip-freeze.txt")
    names = colab_environment.needed(sys.path)
    assert {"numpy", "pandas", "scikit-learn", "open-clip-torch", "timm", "joblib"} <= names
    assert not names & {"torch", "torchvision"} and not [n for n in names if n.startswith("nvidia-")]
