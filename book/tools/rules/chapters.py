"""What every chapter and primer page keeps to. Each rule takes a parsed notebook and gives its breaches, one line each.

`tests/book/test_book.py` runs all rules on all chapters and on `_template.ipynb`, which shows the order in full.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator

from book.tools.building.setup_cell import FORM, TAGS, is_setup, source
from book.tools.rules.page_text import without_magics

LARGEST = 150_000  # bytes of a chapter without outputs
SHORTEST_ALT = 20  # characters of a text that describes a figure
OBJECTIVES = r"\{admonition\} (?:In this chapter|On this page)"
LANDMARKS = (
    ("a label such as (ch-name)=", r"^\(ch-[a-z0-9-]+\)="),
    ("a title", r"^# \S"),
    ("the objectives: {admonition} In this chapter", rf"^:{{3,}}{OBJECTIVES}"),
    ("the prerequisites", r"Prerequisites"),
    ("the setup cell", r"@title Setup"),
    ("notebook.setup(seed=...)", r"notebook\.setup\(.*seed="),
    ("a section", r"^## \S"),
    ("When this fails", r"^##+ .*When this fails"),
    ("Exercises", r"^##+ .*Exercises"),
    ("Check yourself: run `make self-checks`", r"^## Check yourself"),
    ("Summary", r"^##+ .*Summary"),
    ("What's next", r"^##+ .*What['’]s next"),
    ("Further reading", r"^##+ .*Further reading"),
)
PLOTS = {"plt", "plots"}  # names under which figures are drawn, beside what is imported from these modules:
PLOT_MODULES = re.compile(r"^from (?:kpl_lib\.plots|matplotlib\.pyplot) import \(?([\w, \n]+)", re.MULTILINE)
OPTIONS = r"([^\n]*)\n((?::[^:\n]+:[^\n]*\n)*)"  # of a directive: its argument, then its :option: lines
LIVE_WIDGETS = re.compile(r"tqdm\.notebook|tqdm\.auto|ipywidgets|plotly")

Rule = Callable[[dict, str], Iterator[str]]


def text(cell: dict) -> str:
    """The source of a cell as one string."""
    return "".join(cell["source"])


def cells(notebook: dict, kind: str) -> list[dict]:
    """The cells of one kind: "code" or "markdown"."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def kernel_and_outputs(notebook: dict, url: str) -> Iterator[str]:
    """Kernel python3; no outputs, no counts, no attachments: the build makes the outputs."""
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"
    for number, cell in enumerate(notebook["cells"]):
        if cell.get("outputs") or cell.get("execution_count") or cell.get("attachments"):
            yield f"cell {number} carries outputs: run `make format`"


def size(notebook: dict, url: str) -> Iterator[str]:
    """Small enough to read and to review."""
    length = len(json.dumps(notebook, ensure_ascii=False).encode())
    if length > LARGEST:
        yield f"{length} bytes are more than {LARGEST}: split the chapter"


def order(notebook: dict, url: str) -> Iterator[str]:
    """The landmarks of the template, in its order."""
    stream, at = "\n".join(text(cell) for cell in notebook["cells"]), 0
    for name, pattern in LANDMARKS:
        found = re.compile(pattern, re.MULTILINE).search(stream, at)
        if found is None:
            where = "missing" if not re.search(pattern, stream, re.MULTILINE) else "out of order"
            yield f"{name}: {where}"
        else:
            at = found.end()


def opening(notebook: dict, url: str) -> Iterator[str]:
    """Under the title a claim; 3 to 5 objectives; the time and the device."""
    prose = [text(cell) for cell in cells(notebook, "markdown")]
    title = next((part for part in prose if re.search(r"^# \S", part, re.MULTILINE)), "")
    claim = re.sub(r"^# .*$|^\(.*\)=$|<!--(?s:.*?)-->", "", title, flags=re.M)
    if not re.search(r"\w", claim):
        yield "no claim stands under the title"
    objectives = re.search(rf"{OBJECTIVES}\n(.*?)\n:{{3,}}\s*$", "\n".join(prose), re.S | re.M)
    count = len(re.findall(r"^\s*[-*\d]+[.)]?\s+\S", objectives[1], re.MULTILINE)) if objectives else 0
    if not 3 <= count <= 5:
        yield f"{count} objectives; write 3 to 5, each starting with a verb"
    needs = next((part for part in prose if "Prerequisites" in part), "")
    if not re.search(r"\b(CPU|GPU)\b", needs) or not re.search(r"\bmin", needs):
        yield "the prerequisites do not say the time and the device (CPU, ~1 min)"


def setup(notebook: dict, url: str) -> Iterator[str]:
    """One setup cell, equal to the one of setup_cell.py, and no other installs."""
    found = [cell for cell in cells(notebook, "code") if is_setup(cell)]
    if len(found) != 1:
        yield f"{len(found)} setup cells; there is one"
    for cell in found:
        if text(cell) != source(url):
            yield "the setup cell is not the one that `python -m book.tools setup-cell` prints"
        if tags(cell) != TAGS or cell["metadata"].get("cellView") != FORM:
            yield f"the setup cell needs the tags {TAGS} and cellView {FORM!r}"
    for cell in cells(notebook, "code"):
        if not is_setup(cell) and re.search(r"^\s*[%!]\s*(pip|conda|apt)", text(cell), re.MULTILINE):
            yield "an install outside the setup cell"


def portable(notebook: dict, url: str) -> Iterator[str]:
    """The device of `notebook.setup` and no other; no live widgets (their scripts come from the network)."""
    for cell in cells(notebook, "code"):
        if re.search(r"\.cuda\s*\(|\bload_encoders?\((?![^)]*\bdevice=device\b)", text(cell)):
            yield "not on the device of notebook.setup: give encoders device=device, and tensors .to(device)"
        if LIVE_WIDGETS.search(text(cell)):
            yield "live widgets: use plain tqdm and matplotlib"


def exercises(notebook: dict, url: str) -> Iterator[str]:
    """At least three exercises (two on a primer page), each followed at once by its own solution in a dropdown."""
    prose = "\n".join(text(cell) for cell in cells(notebook, "markdown"))
    pattern = r"^:{3,}\{(exercise|exercise-start|solution|solution-start)\}" + OPTIONS
    blocks = re.findall(pattern, prose, re.MULTILINE)
    kinds = [kind.removesuffix("-start") for kind, _, _ in blocks]
    least = 2 if "(ch-primer-" in prose else 3
    if kinds.count("exercise") < least:
        yield f"{kinds.count('exercise')} exercises; at least {least}: a concept, a code or an experiment"
    for position, (_, title, options) in enumerate(blocks):
        if kinds[position] == "solution":
            if not re.search(r":class:.*\bdropdown\b", options):
                yield f"the solution of {title.strip()} is no dropdown"
            continue
        label = re.search(r":label:\s*(\S+)", options)
        answer = blocks[position + 1] if position + 1 < len(blocks) else ("", "", "")
        if label is None:
            yield f"the exercise {title.strip()!r} has no label"
        elif kinds[position + 1 : position + 2] != ["solution"] or answer[1].strip() != label[1]:
            yield f"the exercise {label[1]} is not followed by its solution"


def plotters(code: list[dict]) -> set[str]:
    """The names under which a notebook draws figures."""
    imported = ",".join(found for cell in code for found in PLOT_MODULES.findall(text(cell)))
    return PLOTS | {name.split(" as ")[-1].strip() for name in imported.split(",") if name.strip()}


def draws(cell: dict, names: set[str]) -> bool:
    """Whether running the cell draws a figure: a call on one of the names outside a definition."""
    code = without_magics(text(cell))
    definitions = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    body = [node for node in ast.parse(code).body if not isinstance(node, definitions)]
    calls = [call.func for node in body for call in ast.walk(node) if isinstance(call, ast.Call)]
    roots = {ast.unparse(function).split(".")[0] for function in calls}
    return bool(names & roots)


def figures(notebook: dict, url: str) -> Iterator[str]:
    """Each figure has an alt text, a caption and a name; a caption calls phantoms synthetic."""
    code = cells(notebook, "code")
    names, phantoms = plotters(code), any("phantom" in text(cell) for cell in code)
    for cell in code:
        drawn = cell["metadata"].get("mystnb", {})
        figure, alt = drawn.get("figure", {}), drawn.get("image", {}).get("alt", "")
        first = text(cell).strip().split("\n")[0]
        if not draws(cell, names) and not drawn.get("figure"):
            continue
        if len(alt) < SHORTEST_ALT or re.search(r"\.(png|svg|jpe?g)$", alt):
            yield f"the figure of the cell {first!r} has no real alt text (mystnb.image.alt)"
        if not figure.get("caption") or not figure.get("name"):
            yield f"the figure of the cell {first!r} has no caption or name (mystnb.figure)"
        exempt = {"schematic", "real-data"} & set(tags(cell))
        if phantoms and not exempt and "synthetic" not in figure.get("caption", "").lower():
            yield f"the caption of the cell {first!r} does not say that its phantoms are synthetic"


def images(notebook: dict, url: str) -> Iterator[str]:
    """Images in the prose have alt text too."""
    prose = "\n".join(text(cell) for cell in cells(notebook, "markdown"))
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", prose):
        if len(alt) < SHORTEST_ALT:
            yield f"the image {target} has no real alt text"
    for target, options in re.findall(r"^:{3,}\{(?:figure|image)\}" + OPTIONS, prose, re.MULTILINE):
        alt = re.search(r":alt:\s*(.*)", options)
        if alt is None or len(alt[1]) < SHORTEST_ALT:
            yield f"the image {target.strip()} has no real alt text"


def closing(notebook: dict, url: str) -> Iterator[str]:
    """The last cell is one visible line that measures the page's claims; no checking code is hidden."""
    last = notebook["cells"][-1]
    measures = re.fullmatch(r'notebook\.claims\("\w+"\)', text(last).strip())
    if last["cell_type"] != "code" or not measures or tags(last):
        yield 'the last cell is not one visible line, notebook.claims("NAME")'
    for number, cell in enumerate(notebook["cells"]):
        if {"remove-cell", "remove-input"} & set(tags(cell)):
            yield f"cell {number} is hidden: what checks a number stands in data/claims"


def links(notebook: dict, url: str) -> Iterator[str]:
    """A link to Colab or to this repository's notebooks names the repository of `_config.yml`."""
    prose = "\n".join(text(cell) for cell in notebook["cells"])
    name = "/".join(url.split("/")[-2:])
    for found in re.findall(r"colab\.research\.google\.com/github/([^/\s]+/[^/\s]+)", prose):
        if found != name:
            yield f"a Colab link opens {found}, not {name}"


# fmt: off
RULES: tuple[Rule, ...] = (
    kernel_and_outputs, size, order, opening, setup, portable, exercises, figures, images, closing, links
)
# fmt: on


def breaches(notebook: dict, url: str) -> list[str]:
    """Every breach of every rule."""
    return [f"{rule.__name__}: {line}" for rule in RULES for line in rule(notebook, url)]
