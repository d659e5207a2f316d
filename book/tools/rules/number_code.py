"""The numbers that the visible code of a page holds: its settings."""

import ast
from collections.abc import Iterator

from book.tools.rules.chapters import draws, plotters, text
from book.tools.rules.page_text import without_magics

Numbers = frozenset[float]


def hold(values: Numbers, number: float, unit: float) -> bool:
    """Whether a value rounds to `number` at its last digit."""
    return any(abs(value - number) <= 0.5001 * unit for value in values)


def name(values: Numbers, number: float) -> bool:
    """Whether a value is exactly `number`."""
    return any(abs(value - number) <= 1e-9 * number for value in values)


def constant(node: ast.AST) -> float | None:
    """The value of a number, such as `-1.5` or `1 / 3`, else None; signs are dropped: prose says "loses 1.5"."""
    plain = ast.Constant | ast.UnaryOp | ast.BinOp | ast.operator | ast.unaryop
    if not all(isinstance(part, plain) for part in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "", "eval"), {})  # constants and operators only
    except (TypeError, ZeroDivisionError):
        return None
    return abs(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def found(node: ast.AST) -> Iterator[float]:
    """The constants below a node."""
    value = constant(node)
    if value is not None:
        yield value
        return
    for part in ast.iter_child_nodes(node):
        yield from found(part)


def settings(cells: list[dict]) -> Numbers:
    """The constants that the reader sees in code; cells that draw do not count (sizes, colours, limits of axes)."""
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    names = plotters(code)
    shown = [ast.parse(without_magics(text(cell))) for cell in code if not draws(cell, names)]
    return frozenset(value for tree in shown for value in found(tree))
