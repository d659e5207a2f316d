"""The numbers that the code of a page holds: those that its assertions pin down, and its settings."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from chapter_rules import draws, plotters, tags, text

TIGHT = 6  # a bracket that holds a number is at most so many units of its last quoted digit wide
SLACK = {"near": 2, "round": 1}  # from this argument on a call holds a tolerance or a number of digits
TOLERANCES = {"abs", "rel", "atol", "rtol", "axis", "dim"}


@dataclass(frozen=True)
class Numbers:
    """Single values, and the brackets (low, high) of assertions such as `4.5 < gain < 5.5`."""

    values: frozenset[float] = frozenset()
    brackets: frozenset[tuple[float, float]] = frozenset()

    def __or__(self, other: "Numbers") -> "Numbers":
        return Numbers(self.values | other.values, self.brackets | other.brackets)

    def hold(self, number: float, unit: float) -> bool:
        """Whether a value rounds to `number` at its last digit, or a narrow bracket holds it."""
        widest = (TIGHT + 0.001) * unit
        close = any(abs(value - number) <= 0.5001 * unit for value in self.values)
        return close or any(low <= number <= high and high - low <= widest for low, high in self.brackets)

    def name(self, number: float) -> bool:
        """Whether a value is exactly `number`."""
        return any(abs(value - number) <= 1e-9 * number for value in self.values)


def constant(node: ast.AST) -> float | None:
    """The value of a number, such as `-1.5` or `1 / 3`, else None; signs are dropped: prose says "loses 1.5"."""
    if any(
        not isinstance(part, ast.Constant | ast.UnaryOp | ast.BinOp | ast.operator | ast.unaryop)
        for part in ast.walk(node)
    ):
        return None
    try:
        value = eval(compile(ast.Expression(node), "", "eval"), {})  # constants and operators only
    except (TypeError, ZeroDivisionError):
        return None
    return abs(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def slack(node: ast.AST) -> list[ast.AST]:
    """Parts that pin nothing down: subscripts, lengths, digits of `round`, tolerances, what an `if` may skip."""
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.If):
        return [*node.body, *node.orelse]
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        return node.args[SLACK.get(called, 9) :] + [
            word.value for word in node.keywords if word.arg in TOLERANCES
        ]
    if isinstance(node, ast.Compare) and isinstance(node.left, ast.Call):
        called = ast.unparse(node.left.func)
        differs = any(isinstance(part, ast.BinOp) for part in ast.walk(node.left))
        return node.comparators if called == "len" or (called == "abs" and differs) else []
    return []


def found(node: ast.AST) -> Iterator[float | tuple[float, float]]:
    """The constants and brackets below a node, without slack."""
    value = constant(node)
    if value is not None:
        yield value
        return
    skipped = {id(part) for part in slack(node)}
    if isinstance(node, ast.Compare):
        ends = [constant(node.left), constant(node.comparators[-1])]
        if len(node.comparators) == 2 and None not in ends:
            yield min(ends), max(ends)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "between":
        ends = [constant(argument) for argument in node.args[:2]]
        if None not in ends:
            yield min(ends), max(ends)
    for part in ast.iter_child_nodes(node):
        if id(part) not in skipped:
            yield from found(part)


def numbers(nodes: list[ast.AST]) -> Numbers:
    """All numbers of some pieces of code."""
    every = [value for node in nodes for value in found(node)]
    single, pairs = ([value for value in every if isinstance(value, kind)] for kind in (float, tuple))
    return Numbers(frozenset(single), frozenset(pairs))


def parsed(cell: dict) -> ast.Module:
    """The code of a cell; lines for the shell become `pass`."""
    return ast.parse(re.sub(r"^(\s*)[%!](?!=).*$", r"\1pass", text(cell), flags=re.MULTILINE))


def asserted(cells: list[dict]) -> Numbers:
    """What assertions pin down: hidden assertion cells whole, and the `assert` lines of visible ones."""
    nodes: list[ast.AST] = []
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        lines = [node for node in ast.walk(parsed(cell)) if isinstance(node, ast.Assert)]
        if lines:
            nodes += [parsed(cell)] if "remove-cell" in tags(cell) else lines
    return numbers(nodes)


def settings(cells: list[dict]) -> Numbers:
    """The constants that the reader sees in code; cells that draw do not count (sizes, colours, limits of axes)."""
    code = [cell for cell in cells if cell["cell_type"] == "code" and "remove-cell" not in tags(cell)]
    names = plotters(code)
    return numbers([parsed(cell) for cell in code if not draws(cell, names)])
