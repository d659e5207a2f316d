"""Checksum of the code that makes a figure: only what it can reach, wherever that stands, without comments.

It hashes definitions (functions, classes, constants), not modules and not import lines: a definition that moves to
another file, or a file that is renamed, gives the same checksum.
"""

import ast
import hashlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "kpl_lib"
Node = tuple[str, str]  # module and name of a definition


@cache
def code_checksum(*roots: str, folder: Path | None = None) -> str:
    """Checksum of definitions of this library and of all that they use of it, in turn.

    Roots are full names; `folder` is where the library is, None is this one. Gives 16 hexadecimal digits.

    Example:
        >>> code_checksum("kpl_lib.transport.sinkhorn") == code_checksum("kpl_lib.transport.greenkhorn")
        False
    """
    library = _library(folder or Path(__file__).resolve().parents[1])
    reached: set[Node] = set()
    left = [library.find(*root.rpartition(".")[::2]) for root in roots]
    if None in left:
        raise ValueError(f"no such definition: {roots[left.index(None)]}")
    while left:
        node = left.pop()
        if node not in reached:
            reached.add(node)
            left += library.uses(*node)
    texts = sorted({library.source(*node) for node in reached})
    return hashlib.sha256("\n\n".join(texts).encode()).hexdigest()[:16]


def code_of(kind: type) -> str:
    """Checksum of the code of a class: with all that it uses here, of its own source elsewhere (a notebook, say)."""
    if kind.__module__.split(".")[0] == PACKAGE:
        return code_checksum(f"{kind.__module__}.{kind.__qualname__}")
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _library(folder: Path) -> "_Library":
    return _Library(folder)


class _Library:
    """The definitions of all modules below a folder, and what each uses of the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: dict[str, _Module] = {}

    def module(self, name: str) -> "_Module | None":
        """A module of the library by its full name; None where there is none."""
        if name not in self.modules:
            base = self.folder.joinpath(*name.split(".")[1:])
            file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
            if name.split(".")[0] != PACKAGE or not file.is_file():
                return None
            self.modules[name] = _Module(file.read_text(encoding="utf-8"))
        return self.modules[name]

    def find(self, module: str, name: str) -> Node | None:
        """Where something that a module defines, or imports, is defined; None for things of others."""
        found = self.module(module)
        if found is None:
            return None
        if name in found.statements:
            return module, name
        target = found.imports.get(name)
        return self.find(*target) if target else None

    def uses(self, module: str, name: str) -> list[Node]:
        """Definitions that a definition names, or takes from a module."""
        own, found = self.module(module), []
        for statement in own.statements[name]:
            for word, attribute in _words(statement):
                inner = ".".join(own.imports.get(word, ("", "")))
                found.append(self.find(inner, attribute) if self.module(inner) else self.find(module, word))
        return [node for node in found if node]

    def source(self, module: str, name: str) -> str:
        """The lines of a definition that are neither blank, nor comment, docstring, nor import."""
        own = self.module(module)
        return "\n".join(bare(own.text, statement) for statement in own.statements[name])


class _Module:
    """One module: its top-level statements by the names they bind, and what it imports from where."""

    def __init__(self, text: str) -> None:
        tree = ast.parse(text)
        self.text = text
        self.statements: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, Node] = {}
        for statement in tree.body:
            for name in _bound(statement):
                self.statements.setdefault(name, []).append(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                self.imports |= {a.asname or a.name: (node.module, a.name) for a in node.names}


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a top-level statement defines or changes."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", ast.Pass())]
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _words(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Names in a statement, each with the attribute that is taken from it, if any."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name):
            yield node.id, ""


def bare(text: str, part: ast.AST | None = None) -> str:
    """Lines of a source, or of a part of it, that are neither blank, nor comment, docstring, nor import.

    Example:
        >>> bare("import os\\ndef f():\\n    'says f'\\n    # why\\n    return 1\\n")
        'def f():\\n    return 1'
    """
    skip: set[int] = set()
    for node in ast.walk(part or ast.parse(text)):
        told = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if told and ast.get_docstring(node) is not None:
            node = node.body[0]
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        skip.update(range(node.lineno, node.end_lineno + 1))
    first, last = 1, None
    if part is not None:
        first = min([part.lineno, *(node.lineno for node in getattr(part, "decorator_list", []))])
        last = part.end_lineno
    lines = enumerate(text.splitlines()[first - 1 : last], start=first)
    kept = [line for i, line in lines if i not in skip]
    return "\n".join(line for line in kept if line.strip() and line.strip()[0] != "#")
