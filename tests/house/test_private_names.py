"""The house: no module reaches into the private names of another one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def reaches(source: str, elsewhere: set[str]) -> list[str]:
    """Private names that a module takes from other modules of the library, of which these are known."""
    tree, found = ast.parse(source), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kpl_lib":
            found += [f"{alias.name} in line {node.lineno}" for alias in node.names if private(alias.name)]
        if isinstance(node, ast.Attribute) and node.attr in elsewhere - own(tree):
            found.append(f"{ast.unparse(node)} in line {node.lineno}")
    return sorted(found, key=lambda line: int(line.rpartition(" ")[2]))


def own(tree: ast.Module) -> set[str]:
    """Private names that a module defines, in its classes too."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored = [n for n in ast.walk(tree) if isinstance(getattr(n, "ctx", None), ast.Store)]
    names |= {node.id if isinstance(node, ast.Name) else getattr(node, "attr", "") for node in stored}
    return {name for name in names if private(name)}


def private(name: str) -> bool:
    """Whether a name is meant for its own module alone."""
    return name.startswith("_") and not name.startswith("__")


FILES = sorted((ROOT / "kpl_lib").rglob("*.py"))
SOURCES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
PRIVATE = {name for source in SOURCES.values() for name in own(ast.parse(source))}


def test_a_reach_into_another_module_is_noticed():
    code = (
        "from kpl_lib.a import _b\nfrom kpl_lib import c\nc._f(c.__name__)\nself._h = 1\nself._h._i\nos._exit"
    )
    assert reaches(code, {"_b", "_f", "_h", "_i"}) == [
        "_b in line 1",
        "c._f in line 3",
        "self._h._i in line 5",
    ]


@pytest.mark.parametrize("file", SOURCES)
def test_no_module_reaches_into_another(file):
    assert reaches(SOURCES[file], PRIVATE) == []
