"""The pages for teachers, and the manners of the repository: they say what the tree says."""

import importlib.metadata as metadata
import json
import re
from pathlib import Path

import pytest
import yaml
from grading_world import ITEMS, NUMBERS, SAMPLES, by_hand, mistake

from book.tools.teaching import goals as goals_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book" / "instructor").glob("*.md"))
CHAPTERS = sorted((ROOT / "book" / "chapters").glob("[0-9]*.ipynb"))
PROSE = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def sources() -> str:
    """All prose that may define a label: pages and notebooks."""
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "book").rglob("*.md")]
    for path in (ROOT / "book").rglob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return "\n".join(texts)


@pytest.fixture(scope="module")
def labels() -> set[str]:
    text = sources()
    return set(re.findall(r"^\(([a-z0-9-]+)\)=", text, re.M)) | set(re.findall(r"^:label: (\S+)", text, re.M))


@pytest.mark.parametrize("page", PROSE)
def test_each_label_that_a_page_names_exists(page, labels):
    named = set(re.findall(r"\{ref\}`(?:[^`<]*<)?([a-z0-9-]+)>?`", PROSE[page]))
    assert named and named - labels == set()


def test_each_page_stands_in_the_table_of_contents():
    listed = set(re.findall(r"instructor/([a-z0-9-]+)", (ROOT / "book" / "_toc.yml").read_text()))
    assert listed == set(PROSE)


# Plans.

TABLES = re.findall(r"^\| Minutes \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", PROSE["plans"], re.MULTILINE)


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: rows(table)[0][1][:20])
def test_the_minutes_of_a_plan_add_up(table):
    *parts, last = rows(table)
    assert last[1] == "**together**" and len(parts) >= 6
    assert sum(int(part[0]) for part in parts) == int(last[0].strip("*"))


def test_there_is_a_lecture_a_half_day_and_four_weeks():
    assert [int(rows(table)[-1][0].strip("*")) for table in TABLES[:2]] == [60, 240]
    assert len(TABLES) == 6 and len(re.findall(r"^### Week \d", PROSE["plans"], re.M)) == 4


def test_the_lecture_takes_ninety_minutes_and_its_figures_are_there():
    page, names = PROSE["lecture-90"], set()
    (table,) = re.findall(r"^\| Minutes \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    *parts, last = rows(table)
    minutes = [int(part[0]) for part in parts]
    assert sum(minutes) == 90 == int(last[0].strip("*"))
    begins = [int(found) for found in re.findall(r"^## Minute (\d+)", page, re.MULTILINE)]
    assert set(begins) <= {sum(minutes[:count]) for count in range(len(minutes))} and len(begins) >= 8
    for path in (ROOT / "book").glob("*/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        names |= {cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for cell in cells}
    shown = re.findall(r"\{numref\}`([a-z0-9-]+)`", page)
    assert len(set(shown)) >= 6 and set(shown) - names == set()
    asked, answered = page.count("### Poll "), page.count("The right answer is **")
    assert asked == answered == page.count("| Who says |") == 5


def test_the_page_of_goals_is_what_its_tool_writes():
    assert PROSE["goals"] == goals_page.page(), "run: python -m book.tools goals"


def test_a_goal_without_its_list_is_noticed(tmp_path):
    (tmp_path / "chapters").mkdir(), (tmp_path / "instructor").mkdir()
    (tmp_path / "chapters" / CHAPTERS[0].name).write_text(CHAPTERS[0].read_text())
    (tmp_path / "instructor" / "goals.yml").write_text('"01": [[ex-nowhere], []]\n')
    with pytest.raises(ValueError, match=r"chapter 01: 2 lists for \d .* unknown exercises \['ex-nowhere'\]"):
        goals_page.page(tmp_path)


def test_each_chapter_has_three_wrong_answers_and_how_to_meet_them():
    parts = re.split(r"^## ", PROSE["wrong-answers"], flags=re.MULTILINE)[1:]
    headed = [(re.match(r".*\(\{ref\}`(ch-[a-z-]+)`\)", part), part) for part in parts]
    chapters = {found[1]: part for found, part in headed if found}
    expected = [re.search(r"^\((ch-[a-z-]+)\)=", goals_page.prose(path), re.M)[1] for path in CHAPTERS]
    assert list(chapters) == expected
    assert all(len(re.findall(r'^\| "', part, re.MULTILINE)) >= 3 for part in chapters.values())


# Assignments.


@pytest.mark.parametrize("number", NUMBERS)
def test_the_page_gives_the_rubric_as_it_is(number):
    part = PROSE["assignments"].split(f"## Rubric of assignment {number}")[1].split("\n## ")[0]
    for item in ITEMS[number].values():
        assert f"| `{item.task}` | {item.about} | {item.points} |" in part
    for line in by_hand(number):
        points, _, about = line.partition(": ")
        assert f"| {about} | {points[0]} |" in part
    for sample in SAMPLES[number]:
        said, loses = mistake(sample)
        score = 20 - sum(ITEMS[number][item].points for item in loses)
        assert f"| `{sample.name}` | {said[0].lower()}{said[1:].rstrip('.')} | {score} |" in part


def test_links_to_colab_open_files_of_this_repository():
    found = re.findall(
        r"colab\.research\.google\.com/github/[^/]+/[^/]+/blob/colab/([^)]+)", PROSE["assignments"]
    )
    assert len(found) == 2 and all((ROOT / path).is_file() for path in found)


# Commands.


def recipe(target: str) -> str:
    """The lines that make runs for a target."""
    found = re.search(rf"^{target}: [^\n]*\n((?:\t.*\n|\t*\\\n)+)", MAKEFILE, re.MULTILINE)
    assert found, f"make {target}"
    return found[1].replace("$(BIN)", ".venv/bin").replace("$(CODE)", "kpl_lib tests book")


PLAIN = dict(
    re.findall(r"^\| `make ([a-z-]+)` \| (.*) \|$", PROSE["monday"].split("## Without make")[1], re.M)
)


@pytest.mark.parametrize("target", [target for target in PLAIN if target != "install"])
def test_the_plain_commands_are_those_behind_make(target):
    text = recipe(target).replace("$(PYTEST)", ".venv/bin/python -m pytest -q").replace("$(JOBS)", "2")
    for command in re.findall(r"`([^`]+)`", PLAIN[target]):
        plain = command.replace("FOLDER --assignment 1", "").strip()
        assert plain in text, f"{plain}\nis not in\n{text}"


def test_the_plain_installation_is_that_of_make():
    assert set(PLAIN) >= {"install", "book", "student", "grade", "test", "check"}
    assert '-c constraints.txt -e ".[book,dev]"' in PLAIN["install"] and '-e ".[book,dev]"' in MAKEFILE


@pytest.mark.parametrize("page", [*PROSE, "CONTRIBUTING"])
def test_each_make_command_that_a_page_names_exists(page):
    text = CONTRIBUTING if page == "CONTRIBUTING" else PROSE[page]
    known = set(re.findall(r"^([a-z-]+): .*## ", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)) - known == set()


@pytest.mark.parametrize("page", [*PROSE, "CONTRIBUTING"])
def test_each_file_that_a_page_names_exists(page):
    text = CONTRIBUTING if page == "CONTRIBUTING" else PROSE[page]
    named = set(re.findall(r"`((?:book|kpl_lib|tests|data)/[\w./-]+\.\w+)`", text))
    assert {
        name for name in named if "NAME" not in name and "NN_" not in name and not (ROOT / name).exists()
    } == set()


# Manners.


def test_the_hooks_are_the_tools_of_the_environment_at_its_versions():
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    hooks = {hook["id"]: hook for hook in HOOKS[0]["hooks"]}
    assert set(hooks) == {"ruff-check", "ruff-format", "lint-imports", "nbstripout", "codespell"}
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for hook in hooks.values():
        command = hook["entry"].split()
        if hook["id"] == "lint-imports":
            assert command[0] == ".venv/bin/lint-imports" and "lint-imports" in recipe("check")
            command = [".venv/bin/python", "-m", "import-linter"]
        assert hook["language"] == "system" and command[:2] == [".venv/bin/python", "-m"]
        package = {"codespell_lib": "codespell"}.get(command[2], command[2])
        assert metadata.version(package) == pins[package]
        assert package in recipe("check") or package == "import-linter"
    assert all("jupyter" in hooks[name]["types_or"] for name in ("ruff-check", "ruff-format"))


@pytest.mark.parametrize("template", ["bug", "claim", "addition"])
def test_an_issue_form_asks_for_what_is_needed(template):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{template}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids) >= 4 and any(
        part.get("validations", {}).get("required") for part in form["body"]
    )


def recipes() -> dict[str, str]:
    parts = re.split(r"^## ", CONTRIBUTING, flags=re.MULTILINE)
    return {part.split("\n")[0]: part for part in parts if part.startswith("Add a ")}


def test_each_recipe_has_ten_lines_at_most_and_was_carried_out():
    assert list(recipes()) == ["Add a chapter", "Add a data set", "Add a classifier", "Add a knowledge base"]
    for name, part in recipes().items():
        assert 3 <= len(re.findall(r"^\d+\. ", part, re.MULTILINE)) <= 10, name
        assert "*Carried out" in part and "Planted: " in part, name


def test_each_test_that_a_recipe_names_exists():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+?)(?:\[[^\]]*\])?`", "".join(recipes().values())))
    assert len(named) >= 4 and {name for name in named if f"def {name}(" not in code} == set()
    files = {name for part in recipes().values() for name in re.findall(r"tests/[\w/]*test_\w+\.py", part)}
    assert all((ROOT / name).is_file() for name in files)


def test_the_release_recipe_names_every_place_of_the_version():
    part = CONTRIBUTING.split("## Release")[1]
    for place in (
        "kpl_lib/__init__.py",
        "pyproject.toml",
        "CITATION.cff",
        "CHANGELOG.md",
        "book/tools/building/setup_cell.py",
    ):
        assert place in part and (ROOT / place).is_file(), place
