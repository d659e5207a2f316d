"""How many answers are right, by labels of some images: exact intervals, patients kept whole."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest

from kpl_lib.common.errors import InputError
from kpl_lib.own_images.table import Classification, by_patient

LEVEL = 0.95  # of the intervals
POWER = 0.8  # that a number of labels gives
MOST = 20_000  # labels that are asked for


@dataclass(frozen=True)
class Judgement:
    """How many answers are right, of those whose class is known: one answer an image, or one a patient.

    Args:
        unit: "images" or "patients".
        class_names: the C classes.
        confusion: answers by true class (rows) and predicted class (columns), C rows of C.

    Example:
        >>> found = Judgement("patients", ("cat", "dog"), ((30, 4), (0, 6)))
        >>> print(found)
        36 of 40 patients right: 76 to 97 %
        true class  cat  dog  right
        cat         30   4    30 of 34: 73 to 97 %
        dog         0    6    6 of 6: 54 to 100 %
        balanced accuracy 94 %; always 'cat' would be right on 34 of 40
        >>> found.at_least(0.75)
        'above 75 %: shown, the whole interval lies there'

    Source: Clopper and Pearson 1934.
    Chapter: ch-own-images
    """

    unit: str
    class_names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def right(self) -> int:
        """Answers that are right."""
        return int(np.trace(self.confusion))

    @property
    def count(self) -> int:
        """Answers whose class is known."""
        return int(np.sum(self.confusion))

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of Clopper and Pearson of the share of right answers, of 95 %."""
        return tuple(binomtest(self.right, self.count).proportion_ci(LEVEL, "exact"))

    @property
    def balanced_accuracy(self) -> float:
        """Mean share of right answers over the classes that occur."""
        rows = [(row[c], sum(row)) for c, row in enumerate(self.confusion) if sum(row)]
        return sum(right / count for right, count in rows) / len(rows)

    def at_least(self, excluded: float) -> str:
        """Whether the labels show a share of right answers above this one; if not, how many might."""
        (low, high), share = self.interval, self.right / self.count
        above = f"above {100 * excluded:.4g} %"
        if low > excluded:
            return f"{above}: shown, the whole interval lies there"
        if high < excluded:
            return f"{above}: excluded, the whole interval lies below it"
        if share <= excluded:
            return f"{above}: not shown, nor the contrary; what was seen is not above it"
        needed = labels_needed(share, excluded)
        least = f"more than {MOST:,}" if needed is None else f"about {needed:,}"
        truth = f"if {100 * share:.0f} % is the truth"
        return f"{above}: not shown; {truth}, it takes {least} labelled {self.unit} (power 80 %)"

    def __str__(self) -> str:
        table, names = np.array(self.confusion), self.class_names
        seen = np.flatnonzero(table.sum(axis=0) + table.sum(axis=1))
        rows = [["true class", *(names[c] for c in seen), "right"]]
        for c in np.flatnonzero(table.sum(axis=1)):
            rows.append([names[c], *map(str, table[c, seen]), _said(int(table[c, c]), int(table[c].sum()))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(f"{t:<{w}}" for t, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        common = int(table.sum(axis=1).argmax())
        last = f"balanced accuracy {100 * self.balanced_accuracy:.0f} %; always {names[common]!r} would be right on"
        first = _said(self.right, self.count, f" {self.unit} right")
        return "\n".join([first, *lines, f"{last} {table[common].sum()} of {self.count}"])


def judge_answers(result: Classification) -> Judgement:
    """Count what is right among the rows whose class is known; over patients where they are.

    Args:
        result: N images with their true classes, "" where unknown.

    Returns:
        The counts, with what follows from them.

    Raises:
        InputError: if no class is known, or the images of a patient are of several.

    Chapter: ch-own-images
    """
    rows = result if result.groups is None else by_patient(result)
    told = {} if rows is result else dict(zip(rows.names, rows.truth or (), strict=False))
    mixed = [g for g, t in zip(told and result.groups, result.truth or (), strict=False) if t and not told[g]]
    if mixed:
        cure = "give each eye or lesion a code of its own, or leave the patients out of the table"
        raise InputError(f"patient {mixed[0]!r} has labels of several classes, and one answer: {cure}")
    number = {name: c for c, name in enumerate(result.class_names)}
    table = np.zeros((len(number), len(number)), dtype=int)
    for true, said in zip(rows.truth or (), rows.labels, strict=False):
        if true:
            table[number[true], number[said]] += 1
    if not table.any():
        raise InputError("no image has a label; give --labels FILE.csv with path,label of some of them")
    unit = "images" if result.groups is None else "patients"
    return Judgement(unit, result.class_names, tuple(map(tuple, table.tolist())))


def labels_needed(hoped: float, excluded: float) -> int | None:
    """How many labels show a share above `excluded`, four times in five, if the true share is `hoped`.

    Args:
        hoped: the true share.
        excluded: the share that the exact interval of 95 % is to lie above.

    Returns:
        The number; None where it is more than 20,000.

    Example:
        >>> labels_needed(1.0, 0.85), labels_needed(0.85, 0.85)
        (23, None)

    Chapter: ch-own-images
    """
    sizes = np.arange(1, MOST + 1)
    enough = binom.sf(binom.ppf((1 + LEVEL) / 2, sizes, excluded), sizes, hoped) >= POWER
    return int(sizes[enough][0]) if enough.any() else None


def _said(right: int, count: int, what: str = "") -> str:
    low, high = binomtest(right, count).proportion_ci(LEVEL, "exact")
    return f"{right} of {count}{what}: {100 * low:.0f} to {100 * high:.0f} %"
