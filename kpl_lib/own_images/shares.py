"""Do two tables answer with the classes equally often? Other patients and another scanner change the shares alike."""

from dataclasses import dataclass
from math import hypot

from scipy.stats import binomtest

from kpl_lib.common.errors import InputError
from kpl_lib.own_images.judge import LEVEL
from kpl_lib.own_images.table import Classification, by_patient


@dataclass(frozen=True)
class ShareChange:
    """How often two tables answer with a class.

    Args:
        class_name: the class.
        first, second: its answers, and all answers, of each table.
        low, high: limits of the second share minus the first, of 95 % for this class alone.

    Chapter: ch-own-images
    """

    class_name: str
    first: tuple[int, int]
    second: tuple[int, int]
    low: float
    high: float

    def __str__(self) -> str:
        (k1, n1), (k2, n2) = self.first, self.second
        change = 100 * (k2 / n2 - k1 / n1)
        said = "may be chance" if self.low <= 0 <= self.high else "beyond chance"
        limits = f"{100 * self.low:+.0f} to {100 * self.high:+.0f}"
        return f"{self.class_name}: {k1} of {n1}, then {k2} of {n2}: {change:+.0f} points ({limits}), {said}"


def share_changes(first: Classification, second: Classification) -> tuple[ShareChange, ...]:
    """Compare how often two tables answer with each class; over patients where both know them.

        d = p₂ - p₁,   low = d - √((p₂ - l₂)² + (u₁ - p₁)²),   high = d + √((u₂ - p₂)² + (p₁ - l₁)²)

    l and u are the limits of Wilson of each share. Other patients change the shares as another scanner does.

    Args:
        first, second: tables of the same classes, with no image or patient in common.

    Returns:
        One row a class.

    Raises:
        InputError: for other classes, a patient (or image) in both, and patients in one table alone.

    Example:
        >>> import torch
        >>> def answers(paths, labels):
        ...     return Classification(("a", "b"), paths, labels, torch.ones(40, 2), ("",) * 40, ())
        >>> first = answers(tuple(map(str, range(40))), ("a",) * 34 + ("b",) * 6)
        >>> second = answers(tuple(map(str, range(40, 80))), ("a",) * 20 + ("b",) * 20)
        >>> print(share_changes(first, second)[1])
        b: 6 of 40, then 20 of 40: +35 points (+15 to +52), beyond chance

    Source: Newcombe 1998, method 10 (from the limits of Wilson).
    Chapter: ch-own-images
    """
    if set(first.class_names) != set(second.class_names):
        both = [", ".join(rows.class_names) for rows in (first, second)]
        raise InputError(f"other classes: {both[0]}; and {both[1]}")
    if (first.groups is None) != (second.groups is None):
        raise InputError("only one table has the column 'patient': give --group-pattern to both, or to none")
    tables = [rows if rows.groups is None else by_patient(rows) for rows in (first, second)]
    both = {*(first.groups or first.paths)} & {*(second.groups or second.paths)}
    if both:
        raise InputError(f"{min(both)!r} stands in both tables: compare other images, of other patients")
    found = []
    for name in first.class_names:
        k, n = zip(*((rows.labels.count(name), len(rows.labels)) for rows in tables), strict=True)
        p1, p2 = k[0] / n[0], k[1] / n[1]
        limits = [binomtest(a, b).proportion_ci(LEVEL, "wilson") for a, b in zip(k, n, strict=True)]
        (l1, u1), (l2, u2) = limits
        low, high = p2 - p1 - hypot(p2 - l2, u1 - p1), p2 - p1 + hypot(u2 - p2, p1 - l1)
        found.append(ShareChange(name, (k[0], n[0]), (k[1], n[1]), float(low), float(high)))
    return tuple(found)
