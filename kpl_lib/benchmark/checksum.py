"""Checksum of the code that makes a figure: only what a method can reach, without comments and docstrings."""

import ast
import hashlib
import inspect
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "kpl_lib"


def code_checksum(*modules: str) -> str:
    """Checksum of modules of this library and of all that they import from it, in turn.

    A change of a method, or of anything it calls, gives another checksum. A change of another method, of a comment or
    of a docstring does not.

    Args:
        modules: full names, such as `kpl_lib.classifiers.zero_shot`.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> code_checksum("kpl_lib.transport") == code_checksum("kpl_lib.transport", "kpl_lib.common.checks")
        True
    """
    reached, left = set(), list(modules)
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += _imports(module)
    text = "".join(f"{module}\n{_source(module)}" for module in sorted(reached))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_of(kind: type) -> str:
    """Checksum of the code of a class: of its module here, of its own source elsewhere (a notebook, say)."""
    if kind.__module__.split(".")[0] == PACKAGE:
        return code_checksum(kind.__module__)
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _tree(module: str) -> tuple[str, ast.Module]:
    text = Path(find_spec(module).origin).read_text(encoding="utf-8")
    return text, ast.parse(text)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of this library that a module imports, anywhere in it."""
    found = []
    for node in ast.walk(_tree(module)[1]):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [name for name in names if _is_module(name)]
    return tuple(dict.fromkeys(found))


@cache
def _is_module(name: str) -> bool:
    if not name.startswith(f"{PACKAGE}."):
        return False
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return False
    return spec is not None and not str(spec.origin).endswith("__init__.py")


@cache
def _source(module: str) -> str:
    return bare(*_tree(module))


def bare(text: str, tree: ast.Module | None = None) -> str:
    """Lines of a source that are neither blank, nor a comment, nor part of a docstring.

    Example:
        >>> bare("def f():\\n    'says f'\\n    # why\\n    return 1\\n")
        'def f():\\n    return 1'
    """
    skip = set()
    for node in ast.walk(ast.parse(text) if tree is None else tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            skip.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return "\n".join(line for i, line in lines if i not in skip and line.strip() and line.strip()[0] != "#")
