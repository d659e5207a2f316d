"""The Colab edition: plain Markdown with every word of the book, its code as it is, and a setup from one commit."""

import itertools
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import yaml
from markdown_it import MarkdownIt

from book.tools.building import colab, plain_markdown
from book.tools.building.setup_cell import cell as setup_cell
from book.tools.building.setup_cell import config, is_setup
from book.tools.building.site_links import Links, Target, read_links
from book.tools.rules.page_text import labels_of, toc_pages

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789" * 4
MADE = colab.editions(ROOT, COMMIT)
LINKS = read_links(ROOT)
RAW = re.compile(
    r":::|\{(?:ref|term|numref|eq|doc|cite)\b|^\([\w-]+\)=|\$\$ \(|^\s*:(?:class|label|name|alt):", re.M
)
CODE = re.compile(r"^ *(`{3,}).*?^ *\1 *$|(`+)(?!`).*?(?<!`)\2(?!`)", re.DOTALL | re.MULTILINE)
each_notebook = pytest.mark.parametrize("name", sorted(MADE))


def read(name: str) -> list[dict]:
    """The cells of a notebook of the book."""
    return json.loads((ROOT / name).read_text(encoding="utf-8"))["cells"]


def text(cell: dict) -> str:
    return "".join(cell["source"])


def prose(cells: list[dict]) -> str:
    return "\n\n".join(text(cell) for cell in cells if cell["cell_type"] == "markdown")


def test_every_notebook_that_readers_open_has_its_edition():
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "book").rglob("*.ipynb")}
    left_out = {name for name in here if "/grading/" in name or name.endswith("_template.ipynb")}
    assert set(MADE) == here - left_out - {name for name in here if ".ipynb_checkpoints" in name}
    assert {
        path.relative_to(ROOT).as_posix() for path in toc_pages(ROOT / "book") if path.suffix == ".ipynb"
    } <= set(MADE)


@each_notebook
def test_nothing_of_myst_is_left(name):
    seen = CODE.sub("", prose(MADE[name]["cells"]))
    assert RAW.findall(seen) == []
    before = CODE.sub("", prose(read(name)))
    assert seen.count("$$") == before.count("$$") and seen.count("\\tag{") == before.count("\n$$ (")


def words_of_the_book(cells: list[dict]) -> Counter:
    """What a reader of the site reads; names of labels and papers are not words."""
    seen = prose(cells)
    for cell in cells:
        shown = cell["metadata"].get("mystnb", {})
        seen += (
            "\n" + shown.get("figure", {}).get("caption", "") + "\n" + shown.get("image", {}).get("alt", "")
        )
    seen = re.sub(r"^:{3,}\{(?:solution|solution-start|figure)\}.*$|^:{3,}\{[\w-]+\}", "", seen, flags=re.M)
    seen = re.sub(r"^\([\w-]+\)=|^:(?!alt:)[\w-]+:.*$|(?<=^\$\$ )\([\w-]+\)", "", seen, flags=re.M)
    seen = re.sub(r"\{(?:ref|numref|eq|term)\}`([^`<]+?)\s*<[^`]*>`", r"\1", seen)
    seen = re.sub(
        r"\{(?:ref|numref|eq|cite:[pt])\}`[^`]*`|\{term\}(?=`)|^:alt:|\]\([^)\s]*\)", "", seen, flags=re.M
    )
    return Counter(re.findall(r"\w+", seen))


@each_notebook
def test_every_word_is_still_there(name):
    kept = re.sub(r"\]\([^)\s]*\)", "", prose(MADE[name]["cells"]))
    lost = words_of_the_book(read(name)) - Counter(re.findall(r"\w+", kept))
    assert lost == Counter()


@each_notebook
def test_notebooks_are_valid_and_their_code_is_that_of_the_book(name):
    nbformat.validate(MADE[name])
    code = [cell for cell in MADE[name]["cells"] if cell["cell_type"] == "code"]
    before = [cell for cell in read(name) if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code] == [cell["id"] for cell in before]
    for cell, old in zip(code, before, strict=True):
        assert cell["metadata"].get("tags") == old["metadata"].get("tags") and cell["outputs"] == []
        if is_setup(old):
            assert text(cell).replace(f"@{COMMIT}", "", 1) == text(old) and COMMIT in text(cell)
        elif cell["source"] != old["source"]:
            title, rest = text(cell).split("\n", 1)
            assert rest == text(old) and re.fullmatch(r"# @title [^{}]+", title)
            assert cell["metadata"]["cellView"] == "form"


@each_notebook
def test_what_the_site_folds_is_folded(name):
    solved = {cell["id"] for label, cell in colab.pieces(read(name)) if label}
    for cell in MADE[name]["cells"]:
        folded = cell["id"] in solved or colab.FOLDED & set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "code" and folded:
            assert cell["metadata"]["cellView"] == "form" and text(cell).startswith("# @title ")
    seen = prose(MADE[name]["cells"])
    folds = seen.count("<details><summary>Then compare</summary>")
    assert folds == prose(read(name)).count("{dropdown} Then compare")
    opened, closed = (seen.count(tag) for tag in ("<details>", "</details>"))
    assert opened == closed


@each_notebook
def test_a_program_that_knows_markdown_alone_reads_no_tag_as_text(name):
    reader = MarkdownIt("gfm-like", {"linkify": False})
    for cell in MADE[name]["cells"]:
        if cell["cell_type"] == "markdown":
            words = [part.content for part in reader.parse(text(cell)) if part.type == "inline"]
            assert [line for line in words if re.search(r"</?(?:details|summary)|^>", line)] == []


@each_notebook
def test_links_lead_to_the_site_and_pictures_have_words(name):
    seen = CODE.sub("", prose(MADE[name]["cells"]))
    assert re.findall(r"\]\((?!https://)[^)\s]*\.(?:ipynb|md|svg|png)[^)]*\)", seen) == []
    for alt, address in re.findall(r"!\[([^\]]*)\]\((\S+)\)", seen):
        assert address.startswith(LINKS.site) and len(alt) > 20
        assert (ROOT / "book" / address.removeprefix(LINKS.site)).is_file()


@each_notebook
def test_captions_stand_below_their_figures(name):
    cells = MADE[name]["cells"]
    for cell, below in itertools.pairwise(cells):
        if figure := cell["metadata"].get("mystnb", {}).get("figure"):
            assert f"**[{LINKS.labels[figure['name']].text}](" in text(
                below
            ) and " in words</summary>" in text(below)


def test_a_formula_in_a_quote_takes_one_line():
    page = ":::{admonition} Rule\n$$\na\n= b\n$$ (eq-one)\n:::"
    links = Links("s/", {"eq-one": Target("(3.1)", "s/p.html#equation-eq-one")}, {}, {}, {})
    assert plain_markdown.plain(page, "p", links) == "> **Rule**\n>\n> $$ a = b \\tag{3.1} $$"


PIECES = {
    "title": ("(ch-a)=\n# Title", "# Title"),
    "reference": ("see {ref}`ch-a` and {ref}`that <ch-a>`", "see [A](s/a.html#ch-a) and [that](s/a.html#ch-a)"),
    "figure": ("{numref}`fig-a`, {eq}`eq-a`", "[Fig. 1.2](s/a.html#fig-a), [(1.3)](s/a.html#equation-eq-a)"),
    "page": ("{doc}`../a` [b](../a.ipynb#x)", "[A](s/a.html) [b](s/a.html#x)"),
    "term": ("{term}`Big words <word>`", "[Big words](s/glossary.html#term-word)"),
    "cited": ("{cite:t}`one` {cite:p}`one,two`", "[A (2001)](s/bibliography.html) ([A, 2001](s/bibliography.html);"
              " [B et al., 2002](s/bibliography.html))"),
    "code stays": ("`{ref}` and ``{term}`x` ``\n```text\n:::{note}\n{ref}`a`\n```", None),
    "image": ("![two words](../_static/a.svg)", "![two words](s/_static/a.svg)"),
    "note": (":::{tip} First\nsecond\n:::", "> **Tip**\n>\n> First\n> second"),
    "nested": ("::::{admonition} Ask\n:class: predict\nWhat?\n\n:::{dropdown} Then `see` $a < b$\nThis.\n:::\n::::",
               "> **Ask**\n>\n> What?\n>\n> <details><summary>Then <code>see</code> $a \\lt  b$</summary>\n>\n> This.\n"
               ">\n> </details>"),
    "exercise": (":::{exercise-start} Code: do it\n:label: ex-a\n:::\n\nDo it.\n\n:::{exercise-end}\n:::",
                 "> **[Exercise 1.1](s/a.html#ex-a). Code: do it**\n>\n> Do it."),
}  # fmt: skip
SMALL = Links(
    "s/",
    {
        "ch-a": Target("A", "s/a.html#ch-a"),
        "fig-a": Target("Fig. 1.2", "s/a.html#fig-a"),
        "eq-a": Target("(1.3)", "s/a.html#equation-eq-a"),
        "ex-a": Target("Exercise 1.1", "s/a.html#ex-a", "Code: do it"),
    },
    {"word": Target("word", "s/glossary.html#term-word")},
    {"one": ("A", "2001"), "two": ("B et al.", "2002")},
    {"a": Target("A", "s/a.html")},
)


@pytest.mark.parametrize("name", sorted(PIECES))
def test_each_piece_has_its_plain_form(name):
    given, wanted = PIECES[name]
    assert plain_markdown.plain(given, "chapters/b", SMALL) == (given if wanted is None else wanted)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{ref}`nowhere`", "which is nowhere"),
        ("{term}`nothing`", "which is nowhere"),
        ("{sub}`2`", "has no plain form"),
        (":::{video} a\n:::", "has no plain form"),
        (":::{note}\nopen", "never closed"),
    ],
)
def test_what_has_no_plain_form_is_one_line(given, said):
    with pytest.raises(ValueError, match=said) as caught:
        plain_markdown.plain(given, "chapters/b", SMALL)
    assert "\n" not in str(caught.value) and "chapters/b" in str(caught.value)


def test_a_solution_is_folded_piece_by_piece():
    start, end = ":::{solution-start} ex-a\n:class: dropdown\n:::", ":::{solution-end}\n:::"
    markdown = {"cell_type": "markdown", "metadata": {}}
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [
        markdown | {"id": "1", "source": ["Before.\n\n" + start]},
        code | {"id": "2", "source": ["x = 1"]},
        markdown | {"id": "3", "source": [f"Because.\n\n{end}\n\nAfter."]},
        markdown
        | {"id": "4", "source": [":::{solution} ex-a\n:class: dropdown\n\n:::{dropdown} D\nYes.\n:::\n"]},
    ]
    cells[3]["source"] = ["::::{solution} ex-a\n:class: dropdown\n\n:::{dropdown} D\nYes.\n:::\n::::"]
    made = colab.plain_cells(cells, "b", "u@c", SMALL)
    title = "Solution of Exercise 1.1"
    assert text(made[0]) == f"Before.\n\n**{title}** (Code: do it): in the folded cell below."
    assert text(made[1]) == "# @title Solution of Exercise 1.1\nx = 1"
    assert (
        text(made[2]) == f"<details><summary>{title}, continued</summary>\n\nBecause.\n\n</details>\n\nAfter."
    )
    inner = "<details><summary>D</summary>\n\nYes.\n\n</details>"
    assert text(made[3]) == f"<details><summary>{title} (Code: do it)</summary>\n\n{inner}\n\n</details>"


def test_labels_are_those_that_the_other_tools_know():
    known = labels_of(toc_pages(ROOT / "book"))
    assert set(known) == {label for label in LINKS.labels if label.startswith("ch-")}
    for label, path in known.items():
        page = path.relative_to(ROOT / "book").with_suffix("").as_posix()
        assert LINKS.labels[label].url == f"{LINKS.site}{page}.html#{label}"


def test_titles_of_folded_code_say_what_it_is():
    figure = {"fig-a": Target("Fig. 1.2", "")}
    links = Links("", figure | {"ex-a": Target("Exercise 1.1", "")}, {}, {}, {})
    named = [
        ("import a\nb = 1", "", ""),
        ("def f():\n    %time x\n", "", ""),
        ("x = 1", "", "fig-a"),
        ("x", "ex-a", ""),
    ]
    shown = [colab.code_title(code, label, drawn, links) for code, label, drawn in named]
    assert shown == ["Imports", "Code: f", "Code of Fig. 1.2", "Solution of Exercise 1.1"]


def test_the_edition_is_written_whole_and_the_same_each_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(colab, "built_from", lambda root: COMMIT)
    monkeypatch.setattr(colab, "editions", lambda root, commit: {"book/a.ipynb": {"cells": []}})
    (tmp_path / "_config.yml").write_text(yaml.safe_dump({"repository": {"url": "https://github.com/o/r"}}))
    (tmp_path / "_build" / "colab" / "old.ipynb").mkdir(parents=True)
    assert colab.main(tmp_path) == 0 and "1 notebooks" in capsys.readouterr().out
    files = {path.name for path in (tmp_path / "_build" / "colab").rglob("*") if path.is_file()}
    assert files == {"a.ipynb", "README.md"} and not (tmp_path / "_build" / "colab" / "old.ipynb").exists()
    assert json.dumps(colab.edition({"cells": read("book/chapters/01_zero_shot.ipynb"), "metadata": {}},
                                    "chapters/01_zero_shot", "u", COMMIT, LINKS)) == json.dumps(
        colab.edition({"cells": read("book/chapters/01_zero_shot.ipynb"), "metadata": {}},
                      "chapters/01_zero_shot", "u", COMMIT, LINKS))  # fmt: skip


def test_without_a_checkout_there_is_one_line_and_nothing_written(tmp_path, capsys):
    assert colab.main(tmp_path) == 2
    assert "no git checkout" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tag", ["", "@v0.2.0"])
def test_the_setup_cell_installs_the_commit_also_where_a_release_names_its_tag(tag):
    made = colab.code_cell(setup_cell(f"https://github.com/o/r{tag}"), "", "", COMMIT, SMALL)
    assert (
        f'"git+https://github.com/o/r@{COMMIT}" ' in text(made) and text(made).count("@") == 2
    )  # and @title


def test_the_commit_is_that_of_the_checkout():
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert colab.built_from(ROOT) == asked.stdout.strip()


def test_the_branch_holds_the_folder_and_nothing_else(tmp_path):
    origin, clone, folder = tmp_path / "origin", tmp_path / "clone", tmp_path / "clone" / "_build" / "colab"

    def git(*words: str, where: Path = clone) -> str:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(["git", *named, *words], cwd=where, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q", "--bare", str(origin), where=tmp_path)
    git("clone", "-q", str(origin), str(clone), where=tmp_path)
    (clone / ".gitignore").write_text("_build/\n")
    git("add", ".gitignore")
    git("commit", "-q", "-m", "One")
    folder.mkdir(parents=True)
    script = ["bash", str(ROOT / ".github/workflows/push_folder.sh"), "_build/colab", "colab"]
    for name in ("old.ipynb", "new.ipynb"):
        (folder / "old.ipynb").unlink(missing_ok=True)
        (folder / name).write_text("{}\n")
        subprocess.run(script, cwd=clone, check=True, capture_output=True)
    assert git("ls-tree", "-r", "--name-only", "colab", where=origin) == "new.ipynb"
    assert git("rev-list", "--count", "colab", where=origin) == "1"
    assert git("rev-parse", "HEAD") in git("log", "--format=%s", "colab", where=origin)
    assert git("status", "--porcelain") == ""


def test_the_rocket_opens_the_edition():
    from types import SimpleNamespace

    from book.tools.extensions.colab_button import open_the_edition

    options = {"launch_buttons": config(ROOT)["launch_buttons"], "repository_branch": "main"}
    app = SimpleNamespace(config=SimpleNamespace(html_theme_options=options))
    button = {"text": "Colab", "url": "https://c/github/o/r/blob/main/book/blob/main/a.ipynb"}
    context = {
        "header_buttons": [{"label": "x"}, {"buttons": [button, {"text": "Other", "url": "/blob/main/"}]}]
    }
    open_the_edition(app, "a", "page.html", context, None)
    assert button["url"] == "https://c/github/o/r/blob/colab/book/blob/main/a.ipynb"
    assert context["header_buttons"][1]["buttons"][1]["url"] == "/blob/main/"
    branch = re.search(
        r"push_folder\.sh _build/colab (\S+)", (ROOT / ".github/workflows/pages.yml").read_text()
    )
    assert branch[1] == options["launch_buttons"]["colab_branch"]


@pytest.mark.site
def test_links_and_numbers_of_the_edition_are_those_of_the_site():
    from bs4 import BeautifulSoup

    site, pages = ROOT / "_build" / "html", {}
    assert (site / "index.html").is_file(), "no index.html: run `make book` first"
    for url in sorted(
        {url for made in MADE.values() for url in re.findall(r"\]\((https://[^)\s]+)", prose(made["cells"]))}
    ):
        if url.startswith(LINKS.site):
            path, _, part = url.removeprefix(LINKS.site).partition("#")
            assert (site / path).is_file(), url
            if path.endswith(".html") and path not in pages:
                pages[path] = BeautifulSoup((site / path).read_text(encoding="utf-8"), "html.parser")
            assert not part or pages[path].find(id=part), url
    for label, target in LINKS.labels.items():
        path, _, part = target.url.removeprefix(LINKS.site).partition("#")
        shown = pages[path].find(id=part) if path in pages else None
        number = shown.select_one(".caption-number, .eqno") if shown and not label.startswith("ch-") else None
        if number:
            assert number.get_text().rstrip("# ") == target.text, label
