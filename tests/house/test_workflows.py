"""The workflows: what they call is there, and a weekly one reports its failure."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from book.tools.__main__ import COMMANDS, about, main

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WEEKLY = ("colab.yml", "links.yml")


def workflow(name: str) -> dict:
    """The parsed file. YAML reads the key `on` as the truth value; it is given its name back."""
    found = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    found["on"] = found.pop(True)
    return found


def steps(name: str) -> list[dict]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_runs_something_that_is_there(path):
    makefile = (ROOT / "Makefile").read_text()
    for step in steps(path.name):
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v4"))
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        for file in re.findall(r"(?:bash|python3) ([\w./-]+\.(?:sh|py)|\.ci/run)", step.get("run", "")):
            assert (ROOT / file).is_file(), file
        assert set(re.findall(r"-m book\.tools ([\w-]+)", step.get("run", ""))) <= set(COMMANDS)


def test_one_door_leads_to_every_tool_and_is_what_is_written_of(capsys):
    assert main([]) == 0 and main(["nothing"]) == 2
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed and about(module) in listed for name, module in COMMANDS.items())
    tools = {path for path in (ROOT / "book" / "tools").rglob("*.py") if "__main__" in path.read_text()}
    told = {f"{module.replace('.', '/')}.py" for module in COMMANDS.values()} | {"__main__.py"}
    assert {path.relative_to(ROOT / "book" / "tools").as_posix() for path in tools} == told
    pages = [ROOT / "Makefile", ROOT / "CONTRIBUTING.md", *(ROOT / "book").rglob("*.md")]
    written = {name for page in pages for name in re.findall(r"-m book\.tools ([\w-]+)", page.read_text())}
    assert written <= set(COMMANDS) and {"build", "grade", "goals"} <= written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_job_ends_and_may_do_no_more_than_it_needs(path):
    found = workflow(path.name)
    assert found["permissions"]["contents"] == "read"
    assert set(found["permissions"].values()) <= {"read", "write"}
    for job in found["jobs"].values():
        assert job.get("timeout-minutes", 10) <= 90
        assert set(job) >= {"runs-on", "steps"}
        assert set(job.get("needs", "").split()) <= set(found["jobs"])
    writing = {name for name, job in found["jobs"].items() if job.get("permissions") == {"contents": "write"}}
    assert writing == {name for name, job in found["jobs"].items() if "permissions" in job}
    assert writing == ({"colab"} if path.name == "pages.yml" else set())


@pytest.mark.parametrize("name", WEEKLY)
def test_a_weekly_run_opens_an_issue_when_it_fails(name):
    found = workflow(name)
    (schedule,) = found["on"]["schedule"]
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert (day, month) == ("*", "*") and weekday.isdigit() and minute.isdigit() and hour.isdigit()
    assert found["permissions"]["issues"] == "write"
    reports = [step for step in steps(name) if "report.sh" in step.get("run", "")]
    conditions = [job.get("if") for job in found["jobs"].values()] + [step.get("if") for step in reports]
    assert len(reports) == 1 and "failure()" in conditions
    assert reports[0]["env"] == {"GH_TOKEN": "${{ github.token }}"}


def test_the_pages_are_those_that_the_checks_have_read():
    jobs = workflow("pages.yml")["jobs"]
    runs = [step.get("run", step.get("uses")) for step in jobs["build"]["steps"]]
    assert runs.index("bash .ci/run") < runs.index("actions/upload-pages-artifact@v3")
    assert jobs["publish"]["needs"] == "build"
    assert not any("cache" in str(step) for step in jobs["build"]["steps"]), (
        "a kept build could hide a failure"
    )


def test_the_colab_edition_is_made_of_what_was_checked_and_pushed_by_a_job_that_does_nothing_else():
    jobs = workflow("pages.yml")["jobs"]
    runs = [step.get("run", step.get("uses")) for step in jobs["build"]["steps"]]
    assert runs.index("bash .ci/run") < runs.index("make colab") < runs.index("actions/upload-artifact@v4")
    runs = [step["run"] for step in jobs["colab"]["steps"] if "run" in step]
    assert jobs["colab"]["needs"] == "build" and runs == [
        "bash .github/workflows/push_folder.sh _build/colab colab"
    ]


def test_shell_scripts_of_the_workflows_parse():
    for script in FOLDER.glob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_the_colab_run_installs_what_the_setup_cell_installs():
    command = [sys.executable, "-m", "book.tools", "setup-cell", "--requirements"]
    here, *others = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert here == "."
    assert {Requirement(line.strip("'\"")).name for line in others} == {"open_clip_torch", "ftfy", "POT"}
