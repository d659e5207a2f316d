"""The page "Reproduce the paper": its commands exist, it quotes what the commands say, it keeps the rules of a page."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from book.tools.building.setup_cell import repository_url
from book.tools.rules import chapters
from book.tools.rules.page_text import BOOK
from kpl_lib.cli import app

PAGE = json.loads((BOOK / "reproduce.ipynb").read_text(encoding="utf-8"))
PROSE = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "markdown")
CODE = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "code")
WHAT = re.search(r'^WHAT = f"(.*)"$', CODE, re.MULTILINE)[1]
RULES = ("kernel_and_outputs", "size", "opening", "setup", "portable", "figures", "images", "links")


@pytest.mark.parametrize("rule", RULES)
def test_the_page_keeps_the_rules_that_are_not_about_chapters(rule):
    assert list(getattr(chapters, rule)(PAGE, repository_url())) == []


def commands() -> list[list[str]]:
    """The `kpl` commands of the page, as words: of its blocks, its sentences and its cells."""
    typed = re.findall(r"^!?kpl (.*)$", PROSE.replace("\\\n", " "), re.MULTILINE)
    typed += re.findall(r"`kpl ([^`]+)`", PROSE)
    typed += re.findall(r'^kpl\(f?"(.*?)"', CODE, re.MULTILINE)
    return [shlex.split(line.replace("{WHAT}", WHAT)) for line in typed]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_of_the_page_exists(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in words if word.startswith("--") and word not in known] == []


def test_what_can_go_wrong_is_quoted_as_the_library_says_it():
    table = PROSE.split("## When something goes wrong")[1].split("## ")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    library = "\n".join(
        path.read_text(encoding="utf-8") for path in Path(BOOK.parent / "kpl_lib").rglob("*.py")
    )
    said = re.sub(r'"\s*f?"', "", library)  # a line that goes on in the next
    assert len(quoted) >= 6 and [words for words in quoted if words not in said] == []
    assert len(commands()) > 12
