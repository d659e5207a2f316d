"""Read a handed-in notebook or Python file: its imports, functions, classes and constants, and nothing else.

Demonstrations, plots, downloads and loops at the top level are not run. A cell with a syntax error loses that
cell alone. A package that is missing, or not allowed, is replaced by a stand-in that says so when it is used.
"""

import ast
import json
import types
from dataclasses import dataclass
from pathlib import Path

from book.tools.rules.page_text import without_magics

FORBIDDEN = ("kpl_lib", "ot")  # they hold what a student is asked to write
SUFFIXES = (".ipynb", ".py")
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
MARK = "<submission "  # the code of a submission has file names that begin with this


@dataclass(frozen=True)
class Part:
    """One cell of a notebook, or a whole Python file: what to call it, and its source."""

    name: str
    source: str


class StandIn:
    """Stands for an import that failed; any use of it says why."""

    def __init__(self, reason: str) -> None:
        object.__setattr__(self, "_reason", reason)

    def __getattr__(self, name: str) -> None:
        raise ImportError(object.__getattribute__(self, "_reason"))

    def __call__(self, *arguments: object, **options: object) -> None:
        raise ImportError(object.__getattribute__(self, "_reason"))


def parts_of(path: Path) -> list[Part]:
    """The parts of a submission.

    Raises:
        ValueError: if the file cannot be read as text, or as a notebook.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            return [Part("the file", text)]
        cells = json.loads(text)["cells"]
        code = [(n, "".join(c["source"])) for n, c in enumerate(cells, 1) if c["cell_type"] == "code"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"cannot be read as {'Python' if path.suffix == '.py' else 'a notebook'}") from error
    return [Part(f"cell {number}", source) for number, source in code]


def parse(source: str, file: str) -> ast.Module:
    """The syntax tree; where that fails, once more with `%magics` and `!commands` taken for `pass`."""
    try:
        return ast.parse(source, file)
    except SyntaxError:
        return ast.parse(without_magics(source), file)


def kept(tree: ast.Module) -> list[ast.stmt]:
    """Imports, definitions, and assignments that call nothing."""

    def constant(node: ast.stmt) -> bool:
        calls = any(isinstance(child, ast.Call) for child in ast.walk(node))
        return isinstance(node, ast.Assign | ast.AnnAssign) and not calls

    return [node for node in tree.body if isinstance(node, KEPT) or constant(node)]


def bind_imports(node: ast.Import | ast.ImportFrom, space: dict, file: str) -> None:
    """Run one import; where it fails or is forbidden, bind its names to a stand-in."""
    names = [alias.asname or alias.name.split(".")[0] for alias in node.names]
    root = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
    root = (root or "").split(".")[0]
    reason = (
        f"{root} may not be used here: write it yourself"
        if root in FORBIDDEN
        else f"no package {root!r} here"
    )
    try:
        if root in FORBIDDEN:
            raise ImportError(reason)
        exec(compile(ast.Module([node], []), file, "exec"), space)
    except ImportError:
        space.update({name: StandIn(reason) for name in names})


def load(path: Path) -> tuple[types.ModuleType, list[str]]:
    """A module made of a submission, and one line for each part or statement that could not be used.

    Raises:
        ValueError: as `parts_of`.
    """
    module, trouble = types.ModuleType("submission"), []
    for part in parts_of(path):
        file = f"{MARK}{part.name}>"
        try:
            tree = parse(part.source, file)
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte
            trouble.append(f"{part.name} has a syntax error in line {getattr(error, 'lineno', None) or 1}")
            continue
        for node in kept(tree):
            try:
                if isinstance(node, ast.Import | ast.ImportFrom):
                    bind_imports(node, module.__dict__, file)
                else:
                    exec(compile(ast.Module([node], []), file, "exec"), module.__dict__)
            except BaseException as error:  # a submission may raise anything, SystemExit included
                trouble.append(f"{part.name}, line {node.lineno} stopped with {type(error).__name__}")
    return module, trouble
