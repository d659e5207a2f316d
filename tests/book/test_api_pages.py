"""The reference: every public name is in it; every entry is complete, names its chapter and reads well in help()."""

import ast
import dataclasses
import importlib
import inspect
import json
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import kpl_lib
from book.tools.extensions.api_docs import convert
from book.tools.extensions.command_docs import MARKER, commands
from book.tools.extensions.formula_tex import is_formula, lines_to_tex, to_tex
from book.tools.extensions.link_code import in_its_room
from book.tools.rules.page_text import without_magics
from kpl_lib.cli import app

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PAGES = sorted((BOOK / "api").glob("*.md"))
NOTEBOOKS = sorted(path for path in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
DIRECTIVE = re.compile(
    r"^\.\. auto(module|class|function|data):: (\S+)\n(?: +:members:(.*)\n)?", re.MULTILINE
)


def entries(page: str) -> list[tuple[str, str]]:
    """Module and name of each entry of a page, in its order; "" is the module itself."""
    found = []
    for kind, target, members in DIRECTIVE.findall(page):
        if kind != "module":
            module, _, name = target.replace("::", ".").rpartition(".")
            found.append((module, name))
        else:
            found.append((target, ""))
            found += [(target, name.strip()) for name in members.split(",") if name.strip()]
    return found


ENTRIES = [entry for page in PAGES for entry in entries(page.read_text() + "\n")]


def target(module: str, name: str) -> object:
    """The documented object."""
    return getattr(importlib.import_module(module), name)


def home(module: str, name: str) -> tuple[str, str]:
    """The module that defines what is documented there, and its name."""
    found = target(module, name) if name else None
    if inspect.isroutine(found) or inspect.isclass(found):
        return found.__module__, found.__qualname__
    for node in ast.walk(
        ast.parse(inspect.getsource(importlib.import_module(module)))
    ):  # a constant is handed on
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return home(node.module, name)
    return module, name


HOMES = [home(module, name) for module, name in ENTRIES]
NAMED = [(module, name) for module, name in HOMES if name]
OBJECTS = [(f"{module}.{name}", target(module, name)) for module, name in NAMED]
DOCUMENTED = [
    pytest.param(found, id=name)
    for name, found in OBJECTS
    if inspect.isroutine(found) or inspect.isclass(found)
]


@pytest.mark.parametrize("name", kpl_lib.__all__)
def test_a_name_that_the_library_gives_leads_to_its_entry(name):
    known = {f"{module}.{entry}" for module, entry in ENTRIES}
    way = in_its_room(["kpl_lib", name, "more"], known)
    assert ".".join(way[:-1]) in known and way[-1] == "more"
    assert in_its_room(["kpl_lib", "plots", name], known) == ["kpl_lib", "plots", name]


def labels() -> set[str]:
    """Labels of all pages and chapters of the book."""
    texts = [path.read_text(encoding="utf-8") for path in [*BOOK.rglob("*.md"), *NOTEBOOKS]]
    return {label for text in texts for label in re.findall(r"\((ch-[a-z0-9-]+)\)=", text)}


LABELS = labels()

# What a docstring owes.


def chapters(docstring: str) -> list[str]:
    """The labels of its line `Chapter: ch-a, ch-b`."""
    line = re.search(r"^Chapter: (.+)$", docstring, re.MULTILINE)
    return line[1].split(", ") if line else []


def section(docstring: str, name: str) -> str:
    """The indented lines under `Args:`, `Returns:` and the like."""
    found = re.search(rf"^{name}:\n((?: +.*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return found[1] if found else ""


def explained(docstring: str) -> set[str]:
    """The names that the section Args explains."""
    heads = re.findall(r"^    (\w+(?:, \w+)*): ", section(docstring, "Args"), re.MULTILINE)
    return {name for head in heads for name in head.split(", ")}


def parameters(found: object) -> set[str]:
    """What a caller may pass."""
    if inspect.isroutine(found) or dataclasses.is_dataclass(found):
        return set(inspect.signature(found).parameters)
    return set()


def faults(found: object, known: set[str]) -> list[str]:
    """What is missing in the docstring of a documented function or class, or wrong in it."""
    docstring = inspect.cleandoc(found.__doc__ or "")
    wrong = [f"unknown chapter {label}" for label in chapters(docstring) if label not in known]
    if not chapters(docstring):
        wrong.append("no line `Chapter: ch-...`")
    if not re.match(r"[^\n]+[.?:](\n\n|$)", docstring):
        wrong.append("the first line is no sentence of its own")
    wrong += [f"{name} is not explained" for name in sorted(parameters(found) - explained(docstring))]
    wrong += [f"{name} does not exist" for name in sorted(explained(docstring) - parameters(found))]
    if inspect.isroutine(found):
        given = inspect.signature(found).return_annotation
        if (
            given is not None
            and parameters(found)
            and not re.search(r"^(Returns|Yields):$", docstring, re.MULTILINE)
        ):
            wrong.append("it does not say what comes back")
    return wrong


@pytest.mark.parametrize("found", DOCUMENTED)
def test_each_entry_is_complete(found):
    assert faults(found, LABELS) == []


def documented(sentence: str, arguments: str, chapter: str) -> object:
    """A function with such a docstring."""

    def function(x: int) -> int:
        return x

    function.__doc__ = (
        f"{sentence}\n\n    Args:\n        {arguments}\n\n    Returns:\n        y.\n\n    {chapter}\n    "
    )
    return function


@pytest.mark.parametrize(
    ("sentence", "arguments", "chapter", "fault"),
    [
        ("Give x.", "x: it.", "Chapter: ch-transport", None),
        ("Give x.", "x: it.", "Chapter: ch-transport, ch-benchmark", None),
        ("Give x.", "x: it.", "Chapter: ch-nowhere", "unknown chapter ch-nowhere"),
        ("Give x.", "x: it.", "Derived in chapter 6.", "no line `Chapter: ch-...`"),
        ("Give\n    x.", "x: it.", "Chapter: ch-transport", "the first line is no sentence of its own"),
        ("Give x.", "y: it.", "Chapter: ch-transport", "x is not explained"),
        ("Give x.", "x, y: it.", "Chapter: ch-transport", "y does not exist"),
    ],
)
def test_a_careless_docstring_is_noticed(sentence, arguments, chapter, fault):
    found = faults(documented(sentence, arguments, chapter), {"ch-transport", "ch-benchmark"})
    assert (fault in found) if fault else found == []


def test_a_function_that_does_not_say_what_comes_back_is_noticed():
    function = documented("Give x.", "x: it.", "Chapter: ch-transport")
    function.__doc__ = function.__doc__.replace("Returns:", "Note:")
    assert "it does not say what comes back" in faults(function, {"ch-transport"})


MARKUP = re.compile(r"(?<!`)``(?!`)|:math:|:ref:|:param|\\(?:frac|mathrm|top|sum)\b|^\.\. ", re.MULTILINE)


@pytest.mark.parametrize("found", DOCUMENTED)
def test_help_stays_plain_text(found):
    shown = pydoc.plain(pydoc.render_doc(found))
    own = inspect.cleandoc(found.__doc__)
    assert own.split("\n")[0] in shown
    assert MARKUP.findall(own) == []
    assert max(map(len, own.split("\n"))) <= 116  # with the margin of help(), a line of 120


# What is in the reference, and in which order.


def python(path: Path) -> str:
    """The code of a notebook, without the lines that IPython alone reads."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    return without_magics(source)


def used(source: str) -> set[str]:
    """Full names of what code takes from the library."""
    tree, known = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kpl_lib":
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    chains = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    chains = [chain.split(".") for chain in chains if re.fullmatch(r"[\w.]+", chain)]
    return {".".join([known[root], *rest[:1]]) for root, *rest in chains if root in known} | set(
        known.values()
    )


def origin(name: str) -> tuple[str, str] | None:
    """Module and name under which something of the library is documented; None for a private or foreign thing."""
    try:
        found = importlib.import_module(name)
    except ImportError:
        module, _, last = name.rpartition(".")
        found = getattr(importlib.import_module(module), last, None) if importable(module) else None
        return home(module, last) if found is not None else None
    return found.__name__, ""


def importable(name: str) -> bool:
    """Whether there is such a module."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def missing(names: set[str], known: list[tuple[str, str]]) -> list[str]:
    """Names that are not in the reference; a module is, where something of it is."""
    modules = {module for module, _ in known}
    found = {name: origin(name) for name in names}
    absent = [n for n, o in found.items() if o and o not in known and not (o[1] == "" and o[0] in modules)]
    return sorted(set(absent) - {"kpl_lib"})


CODE = {path.stem: python(path) for path in NOTEBOOKS}
CODE["README"] = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
CONTRACTS = """
    knowledge.KnowledgeBase datasets.load_dataset datasets.available datasets.ImageDataset encoders.load_encoder
    encoders.Encoder features.Features features.TextBank text_proxies.text_proxies text_proxies.TextProxies
    transport.sinkhorn transport.greenkhorn transport.TransportPlan vision_proxies.fit_proxies
    vision_proxies.ridge_proxies vision_proxies.VisionProxies classifiers.available classifiers.create
    classifiers.Classifier classifiers.Prediction metrics.evaluate common.errors.InputError
"""


@pytest.mark.parametrize("page", sorted(CODE))
def test_what_a_page_uses_is_in_the_reference(page):
    assert missing(used(CODE[page]), HOMES) == []


def test_the_contracts_and_every_method_are_in_the_reference():
    from kpl_lib.classifiers import available, create

    names = {f"kpl_lib.{name}" for name in CONTRACTS.split()}
    kinds = [type(create(name)) for name in available(patches=True)]
    assert missing(names, HOMES) == []
    assert {(kind.__module__, kind.__qualname__) for kind in kinds} <= set(HOMES)


def test_a_name_that_is_not_in_the_reference_is_noticed():
    code = "from kpl_lib.transport import sinkhorn\nfrom kpl_lib import plots\nplots.examples(sinkhorn)"
    known = [("kpl_lib.transport", "sinkhorn"), ("kpl_lib.plots", "image_grid")]
    assert missing(used(code), known) == ["kpl_lib.plots.examples"]


def test_nothing_is_documented_twice():
    assert [entry for entry in NAMED if NAMED.count(entry) > 1] == []


def line(module: str, name: str) -> int:
    """Where something is defined in the file of its module."""
    pattern = rf"^(?:class|def|@\w+.*\n(?:class|def)) {name}\b|^{name}\b[^\n]* = "
    source = inspect.getsource(importlib.import_module(module))
    return source[: re.search(pattern, source, re.MULTILINE).start()].count("\n")


LISTS = re.findall(
    r"^\.\. automodule:: (\S+)\n +:members: (.+)$", "\n".join(p.read_text() for p in PAGES), re.MULTILINE
)


@pytest.mark.parametrize(("module", "members"), LISTS)
def test_the_things_that_are_listed_together_stand_in_the_order_of_their_file(module, members):
    homes = [home(module, name) for name in members.split(", ")]
    for owner in {owner for owner, _ in homes}:
        lines = [line(owner, name) for other, name in homes if other == owner]
        assert lines == sorted(lines)


def test_the_table_of_contents_names_every_page_of_the_reference():
    toc = (BOOK / "_toc.yml").read_text()
    assert [page.stem for page in PAGES if f"api/{page.stem}" not in toc] == []


def test_the_page_of_the_command_line_tells_every_command():
    found, groups = [], [("kpl", typer.main.get_command(app))]
    for name, group in groups:
        inner = [(f"{name} {key}", command) for key, command in getattr(group, "commands", {}).items()]
        groups += inner
        found += [key for key, _ in inner]
    text = commands(app, "kpl")
    assert len(found) > 15 and [key for key in found if f"# `{key}`\n" not in text] == []
    assert (BOOK / "api" / "cli.md").read_text().count(MARKER) == 1


# Docstrings to pages.


@pytest.mark.parametrize(
    ("formula", "tex"),
    [
        ("û = u/‖u‖", r"\hat{u} = u/\|u\|"),
        ("w̄_j", r"\bar{w}_{j}"),
        ("Σ_i Y_ij", r"\sum _{i} Y_{ij}"),
        ("Σ_{m in top k} t_m", r"\sum _{m \in  \ \text{top}\  k} t_{m}"),
        ("A⁻¹ Xᵀ", r"A^{-1} X^{\top}"),
        ("τ_max <= λ", r"\tau _{\mathrm{max}} \le  \lambda"),
        ("softmax(Δ)", r"\operatorname{softmax}(\Delta )"),
        ("−½ %", r"-\tfrac12  \%"),
        ("X · weights", r"X \cdot  \ \text{weights}"),
    ],
)
def test_a_formula_becomes_latex(formula, tex):
    assert to_tex(formula) == tex


def test_formulas_and_code_are_told_apart():
    assert all(map(is_formula, ["X Tᵀ", "b_j", "û", "1/τ_t"]))
    assert not any(map(is_formula, ["[N, D]", "fit_predict", "k", 'text="random"']))
    assert lines_to_tex(["a = τ   b = 1"]) == r"\begin{aligned}&a = \tau \\ &b = 1\end{aligned}"


DOCSTRING = """Take `x` and `X Tᵀ`, see `kpl_lib.gap`; *no* name_.

    a = τ

Args:
    x, y: two things of τ, and
        more.

Returns:
    Kept: both.

>>> f(`x`)
1

Source: arXiv 2501.11231,
page 2.
Chapter: ch-a, ch-b"""
CONVERTED = r"""Take ``x`` and :math:`X T^{\top}`\ , see :py:obj:`~kpl_lib.gap`\ ; \*no\* name\_.

.. math::

   \begin{aligned}&a = \tau\end{aligned}

Args:
    x: two things of :math:`\tau`\ , and
        more.
    y: see ``x``\ .

Returns:
    : Kept: both.

>>> f(`x`)
1

:Source: `arXiv 2501.11231 <https://arxiv.org/abs/2501.11231>`__\ , page 2.
:Chapter: :ref:`ch-a`, :ref:`ch-b`"""


def test_a_docstring_becomes_a_page():
    made = [text for text in convert(DOCSTRING.split("\n")) if text]
    assert made == [text for text in CONVERTED.split("\n") if text]


PROJECT = """
import sys
sys.path.insert(0, {root!r})
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "book.tools.extensions.api_docs"]
"""
PAGE = """.. _ch-here:

Title
=====

.. automodule:: library
   :members:
"""


def test_an_unknown_chapter_fails_the_build(tmp_path):
    (tmp_path / "conf.py").write_text(PROJECT.format(root=str(ROOT)))
    (tmp_path / "index.rst").write_text(PAGE)
    (tmp_path / "library.py").write_text(
        'def f():\n    """Do it.\n\n    Chapter: ch-here, ch-gone\n    """\n'
    )
    command = [sys.executable, "-m", "sphinx", "-b", "dummy", "-n", "-W", "--keep-going", "-q", ".", "out"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 1
    assert re.findall(r"undefined label: '([^']+)'", done.stderr) == ["ch-gone"]
