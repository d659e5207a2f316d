"""The page "BiomedCLIP on Monday": its commands exist, its file is the one that ships, it keeps the rules of a page."""

import json
import re
import shlex

import pytest
import typer

from book.tools.building.setup_cell import repository_url
from book.tools.rules import chapters
from book.tools.rules.page_text import BOOK
from kpl_lib import KnowledgeBase
from kpl_lib.cli import app
from kpl_lib.common.files import data_dir

PAGE = json.loads((BOOK / "monday.ipynb").read_text(encoding="utf-8"))
PROSE = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "markdown")
CODE = "\n".join("".join(cell["source"]) for cell in PAGE["cells"] if cell["cell_type"] == "code")
TEMPLATE = data_dir() / "templates" / "chest-xray.json"
RULES = ("kernel_and_outputs", "size", "opening", "setup", "portable", "figures", "images", "links")


@pytest.mark.parametrize("rule", RULES)
def test_the_page_keeps_the_rules_that_are_not_about_chapters(rule):
    assert list(getattr(chapters, rule)(PAGE, repository_url())) == []


def test_the_file_that_the_page_shows_is_the_one_that_ships():
    shown = re.search(r'KNOWLEDGE = """\\\n(.*?)"""', CODE, re.DOTALL)[1]
    assert shown == TEMPLATE.read_text(encoding="utf-8")


def test_the_template_is_clean_and_says_that_nobody_has_reviewed_it():
    base = KnowledgeBase.load(TEMPLATE)
    assert base.check().clean and "not reviewed by a clinician" in base.origin
    assert all("radiograph" in template for template in (base.template, base.name_template))


def commands() -> list[list[str]]:
    """The `kpl` commands of the page, as words: of the blocks for a terminal and of the cells."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", PROSE, re.DOTALL)).replace("\\\n", " ")
    typed = re.findall(r"^ *kpl (.*?)(?:  #.*)?$", blocks, re.MULTILINE)
    named = dict(re.findall(r'^(\w+) = f?"(.*)"$', CODE, re.MULTILINE))
    named |= {"folder": "scans", "MODEL": "hf-hub:nobody/tiny-random"}
    for found in re.findall(r'^ *kpl\(f?"(.*)"\)$', CODE, re.MULTILINE):
        for _ in range(2):  # a name stands in another
            found = re.sub(r"\{(\w+)\}", lambda name: named[name[1]], found)
        typed.append(found)
    return [shlex.split(line) for line in typed]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_of_the_page_exists(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in words if word.startswith("--") and word not in known] == []


def test_the_page_shows_every_step():
    said = "\n".join(" ".join(words) for words in commands())
    for step in (
        "doctor",
        "encode --download-only",
        "knowledge check",
        "classify",
        "--coverage",
        "judge",
        "--against",
    ):
        assert step in said
    assert len(commands()) > 12
