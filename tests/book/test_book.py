"""The structure of the book: chapters keep to the template; the table of contents and the links hold."""

import copy
import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from book.tools.building.setup_cell import cell as setup_cell
from book.tools.building.setup_cell import config, repository_url
from book.tools.rules.chapters import RULES, breaches

BOOK = Path(__file__).resolve().parents[2] / "book"
CHAPTERS = sorted((BOOK / "chapters").glob("*.ipynb"))
PRIMER = sorted((BOOK / "primer").glob("*.ipynb"))
NOTEBOOKS = [BOOK / "_template.ipynb", *CHAPTERS, *PRIMER]
URL = repository_url()
SUFFIXES = (".md", ".ipynb")


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_chapter_keeps_the_rule(path, rule):
    assert list(rule(read(path), URL)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_valid(path):
    nbformat.validate(read(path))
    named = r"[a-z_]+" if path in PRIMER else r"_template|\d\d_[a-z0-9_]+"
    assert re.fullmatch(named, path.stem), "name chapters NN_name.ipynb"


def imports_of_the_library(notebook: dict) -> list[str]:
    """The import statements of `kpl_lib` in the code of a notebook."""
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    return re.findall(r"^ *(?:from kpl_lib[\w.]* import|import kpl_lib).*", code, re.MULTILINE)


def test_chapters_come_in_through_the_face_of_the_library():
    counts = {path.stem: len(imports_of_the_library(read(path))) for path in BOOK.rglob("*.ipynb")}
    assert sum(counts.values()) < 100 and counts["02_kpl_in_one_sitting"] <= 3


def edit(notebook: dict, old: str, new: str) -> dict:
    """The notebook with one text replaced, as a careless author would."""
    text = json.dumps(notebook)
    assert old in text, f"the template no longer has {old!r}"
    return json.loads(text.replace(old, new))


CARELESS = {
    "kernel": ('"name": "python3"', '"name": "conda-env"', "kernel_and_outputs"),
    "count": ('"execution_count": null', '"execution_count": 3', "kernel_and_outputs"),
    "no label": ("(ch-template)=", "", "order: a label"),
    "no limits": ("## When this fails", "## Limits", "order: When this fails"),
    "no questions": ("## Check yourself", "## Questions", "order: Check yourself"),
    "order": ("## Summary", "## When this fails", "order: Summary"),
    "no claim": ("One sentence that claims what the chapter shows.", "", "opening: no claim"),
    "objectives": ("- say what the library call adds to it;", "", "opening: 2 objectives"),
    "no device": ("CPU, ~1 min", "soon", "opening: the prerequisites"),
    "setup": ("--no-deps", "--upgrade", "setup: the setup cell is not"),
    "shown setup": ('"cellView": "form"', '"cellView": "code"', "setup: the setup cell needs"),
    "install": ("notebook.setup(seed=0)", "notebook.setup(seed=0)\\n%pip install torch", "setup: an install"),
    "device": ("return (x @ t)", "return (x.cuda() @ t)", "portable: not on the device"),
    "encoder": ("notebook.setup(seed=0)", 'load_encoder(\\"phantom\\")', "portable: not on the device"),
    "widgets": ("import torch", "from tqdm.notebook import tqdm", "portable: live widgets"),
    "no solution": (":::{solution} ex-template-concept", ":::{note}", "exercises: the exercise ex-template"),
    "other solution": ("{solution} ex-template-concept", "{solution} ex-other", "exercises: the exercise"),
    "open solution": (":class: dropdown", ":class: tip", "exercises: the solution of"),
    "few": ("{exercise} Concept: length", "{note} Concept", "exercises: 2 exercises"),
    "file name": ("with a small angle between them.", "figure.png", "figures: the figure"),
    "short alt": ("Two lines from the origin with a small angle", "", "figures: the figure"),
    "no caption": ("Two vectors at a small angle.", "", "figures: the figure"),
    "phantom": ("torch.tensor([3.0, 4.0])", 'load(\\"phantom-chest\\")', "figures: the caption"),
    "image": ("The library call gives", "![](a.png) The library call gives", "images: the image a.png"),
    "no claims": ('notebook.claims(\\"_template\\")', "print(1)", "closing: the last cell"),
    "hidden code": ('"tags": ["self-check"]', '"tags": ["self-check", "remove-cell"]', "closing: cell 17 is hidden"),
    "link": ("The library call", "https://colab.research.google.com/github/a/b/ call", "links: a Colab link"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CARELESS))
def test_rules_notice_a_careless_edit(name):
    old, new, expected = CARELESS[name]
    found = breaches(edit(read(NOTEBOOKS[0]), old, new), URL)
    assert any(line.startswith(expected) for line in found), found


def test_rules_notice_a_figure_drawn_by_an_imported_name():
    notebook = read(NOTEBOOKS[0])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code[1]["source"].append("\nfrom kpl_lib.plots import examples, image_grid as grid")
    code[2]["source"].append("\ngrid(x)")
    assert len([line for line in breaches(notebook, URL) if line.startswith("figures: the figure")]) == 2


def test_rules_notice_a_second_setup_cell_and_a_long_chapter():
    notebook = copy.deepcopy(read(NOTEBOOKS[0]))
    notebook["cells"].insert(5, setup_cell(URL, "again"))
    assert "setup: 2 setup cells; there is one" in breaches(notebook, URL)
    notebook["cells"][0]["source"].append("word " * 40_000)
    assert any(line.startswith("size:") for line in breaches(notebook, URL))


def toc_files() -> list[str]:
    """The files that the table of contents names, globs resolved, without suffix."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text())
    entries = [entry for part in toc.get("parts", [toc]) for entry in part["chapters"]]
    entries += [section for entry in entries for section in entry.get("sections", [])]
    named = [toc["root"], *(entry["file"] for entry in entries if "file" in entry)]
    globs = [entry["glob"] for entry in entries if "glob" in entry]
    found = [path.relative_to(BOOK) for pattern in globs for path in sorted(BOOK.glob(pattern))]
    return named + [path.with_suffix("").as_posix() for path in found if path.suffix in SUFFIXES]


def test_every_entry_of_the_toc_exists_once():
    files = toc_files()
    assert len(files) == len(set(files))
    assert [name for name in files if not any((BOOK / f"{name}{end}").is_file() for end in SUFFIXES)] == []


def test_every_chapter_and_primer_page_is_in_the_toc():
    assert {path.relative_to(BOOK).with_suffix("").as_posix() for path in NOTEBOOKS[1:]} <= set(toc_files())


def cited(text: str) -> set[str]:
    """The keys that a page cites."""
    return {key.strip() for keys in re.findall(r"\{cite:[pt]\}`([^`]+)`", text) for key in keys.split(",")}


def test_the_bibliography_holds_what_is_cited_and_nothing_else():
    held = re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [path for path in BOOK.rglob("*") if path.suffix in SUFFIXES and path.name != "_template.ipynb"]
    used = set().union(*(cited(path.read_text(encoding="utf-8")) for path in pages))
    assert len(held) == len(set(held))
    assert set(held) == used


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_colab_button_opens_this_file(path, root):
    book = config()
    url = f"{book['launch_buttons']['colab_url']}/github/{URL.removeprefix('https://github.com/')}"
    page = path.relative_to(BOOK).as_posix()
    opened = (
        f"{url}/blob/{book['launch_buttons']['colab_branch']}/{book['repository']['path_to_book']}/{page}"
    )
    assert opened.startswith("https://colab.research.google.com/github/")
    assert (root / opened.split("/blob/")[1].partition("/")[2]) == path


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_pages_have_one_title_and_alt_texts(path):
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^# \S", text, re.MULTILINE)) == 1
    assert [target for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", text) if len(alt) < 20] == []


def test_the_box_of_methods_is_the_same_on_both_pages():
    def box(page: str) -> str:
        sources = ["".join(cell["source"]) for cell in read(BOOK / "chapters" / f"{page}.ipynb")["cells"]]
        return next(source for source in sources if source.startswith("## Which method when?"))

    assert box("09_benchmark") == box("12_own_images")
