"""Split conformal prediction: sets of classes that hold the true one as often as was asked, and an abstaining answer.

A score says how strange a class is for an image. All scores here are `1 + e`, and `e` is what is computed: near 1 it
keeps the digits that the score itself would lose, so probabilities of 1e-30 still have an order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kpl_lib.common.checks import check_classes, check_float_matrix, check_labels, shape_of
from kpl_lib.common.errors import InputError, among
from kpl_lib.prediction import Prediction

SCORES = ("lac", "aps", "raps")
CANNOT_SAY = "cannot say"
OWN = 1e-7  # how much of its own probability APS takes off: the randomised score takes a random share
NOISE = 1e-9  # of a sum of weights that is compared with a level, so that 0.07 * 100 is 7


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """For each image the classes that cannot be ruled out.

    Args:
        sets: bool `[N, C]`.
        class_names: the C classes.
        calibration: what made them.

    Chapter: ch-when-unsure
    """

    sets: Tensor
    class_names: tuple[str, ...]
    calibration: "Calibration"

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def sizes(self) -> Tensor:
        """Classes in each set, int64 `[N]`."""
        return self.sets.sum(dim=1)

    @property
    def mean_size(self) -> float:
        """Mean number of classes in a set; the smaller, the more a set says."""
        return float(self.sizes.double().mean())

    @property
    def empty(self) -> float:
        """Share of sets without a class: the image is like no class."""
        return self._share(0)

    @property
    def single(self) -> float:
        """Share of sets with one class."""
        return self._share(1)

    @property
    def full(self) -> float:
        """Share of sets with all classes."""
        return self._share(self.sets.shape[1])

    def _share(self, size: int) -> float:
        return float((self.sizes == size).double().mean())

    @property
    def answers(self) -> tuple[str, ...]:
        """One class, two of more than two as "this or that", and "cannot say" for all other sets."""
        names, said = self.class_names, [CANNOT_SAY] * len(self)
        classes, first = self.sets.nonzero()[:, 1].tolist(), 0
        for row, size in enumerate(self.sizes.tolist()):
            if size == 1 or (size == 2 < len(names)):
                said[row] = " or ".join(names[c] for c in classes[first : first + size])
            first += size
        return tuple(said)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The thresholds below which a class belongs to a set.

    Args:
        score: a name in `SCORES`.
        coverage: the share of images whose set is to hold the true class.
        excess: float64 `[C]`, threshold - 1.
        by_class: each class has its own threshold.
        images, groups: how many labelled images and groups (patients) it was made from.
        ties: share of the calibration scores that equal their threshold; many push the coverage above what was asked.
        penalty, rank: of RAPS.
        class_names: the C classes.

    Chapter: ch-when-unsure
    """

    score: str
    coverage: float
    excess: Tensor
    by_class: bool
    images: int
    groups: int
    ties: float
    penalty: float
    rank: int
    class_names: tuple[str, ...]

    @property
    def thresholds(self) -> Tensor:
        """The largest score that a class in a set has, float64 `[C]`."""
        return 1 + self.excess

    def sets(self, prediction: Prediction) -> PredictionSets:
        """The classes whose score is at most the threshold: `{c : s(x_i, c) <= t_c}`.

        Args:
            prediction: of the classifier that was calibrated, N images.

        Returns:
            The sets.

        Raises:
            InputError: for a prediction of other classes.
        """
        e = _excess(prediction.probabilities, self.score, self.penalty, self.rank)
        if names_of(prediction) != self.class_names:
            own, theirs = (", ".join(names) for names in (names_of(prediction), self.class_names))
            said = f"its classes are {own}, those of the calibration {theirs}"
            raise InputError(f"prediction: {said}: calibrate with the same classes")
        return PredictionSets(e <= self.excess.to(e.device), self.class_names, self)


@torch.no_grad()
def calibrate(
    prediction: Prediction,
    labels: Tensor | Sequence[int],
    *,
    coverage: float = 0.9,
    score: str = "lac",
    by_class: bool = False,
    groups: Sequence | None = None,
    penalty: float = 0.01,
    rank: int = 1,
) -> Calibration:
    """Find the threshold of a score from labelled images, so that sets hold the true class as often as is asked.

        lac: s = 1 - p_c,   aps: s = Σ_{p_j >= p_c} p_j - u p_c,   raps: s = aps + penalty max(0, rank of c - `rank`)
        t = the ⌈(n + 1) coverage⌉-th smallest of the scores s(x_i, y_i) of the n labelled images

    Where the original draws u, it is 1e-7 here: enough to order the least likely classes, which would all score 1, so
    that a hard set does not end in sets of all classes; too little to matter elsewhere.

    With groups each of the G groups weighs `1/(G + 1)`, shared by its images, and `1/(G + 1)` lies at infinity; `t` is
    the smallest score whose weight reaches `coverage`. It holds for images that are exchangeable with the labelled
    ones: drawn alike, and treated alike by the classifier, which must not have read these labels.

    Args:
        prediction: of N images over C classes.
        labels: class numbers `[N]`, -1 where unknown; only labelled images calibrate.
        coverage: share of images whose set is to hold the true class, between 0 and 1; `1 - alpha`.
        score: a name in `SCORES`. LAC has the smallest sets on average, APS and RAPS follow hard images.
        by_class: a threshold for each class, from its own images, so that each class is covered (Mondrian).
        groups: patient identifiers `[N]`; coverage is that of an image of a new patient.
        penalty, rank: of RAPS: the cost of each class beyond the `rank` likeliest.

    Returns:
        The calibration; its `sets` are those of any further images.

    Raises:
        InputError: for labels that do not fit or are too few, and for a coverage or score that cannot be.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> prediction = Prediction(p, p, p.argmax(1), ("cat", "dog"))
        >>> calibrate(prediction, [0, 0, 1], coverage=0.75).sets(prediction).answers
        ('cat', 'cat', 'dog')

    Source: Vovk et al. 2005 (split, Mondrian); Sadinle et al. 2019, arXiv 1609.00451 (LAC); Romano et al. 2020, arXiv
    2006.02544 (APS); Angelopoulos et al. 2021, arXiv 2009.14193 (RAPS).
    Groups: Dunn et al. 2022, arXiv 1809.07441; Lee, Barber and Willett 2023, arXiv 2306.06342.
    Chapter: ch-when-unsure
    """
    e = _excess(prediction.probabilities, score, penalty, rank)
    names, y = names_of(prediction), check_labels(labels, *e.shape).to(e.device)
    check_coverage(coverage)
    unit = group_numbers(groups, len(e)).to(e.device)
    known = (y >= 0).nonzero()[:, 0]
    y, unit, own = y[known], unit[known], e[known, y[known]]
    parts = [y == c for c in range(len(names))] if by_class else [y >= 0]
    whose = [f"class {name!r}" for name in names] if by_class else ["labels"]
    pairs = zip(parts, whose, strict=True)
    found = [_threshold(own[part], unit[part], coverage, who, groups is not None) for part, who in pairs]
    excess = torch.stack(found).expand(len(names)).clone()
    ties = float((own == excess[y]).double().mean())
    counts = len(own), len(unit.unique())
    return Calibration(score, coverage, excess, by_class, *counts, ties, penalty, rank, names)


def names_of(prediction: Prediction) -> tuple[str, ...]:
    """Names of the classes; their numbers where they have none."""
    return prediction.class_names or tuple(map(str, range(prediction.probabilities.shape[1])))


def group_numbers(groups: Sequence | None, count: int) -> Tensor:
    """Number of the group of each image, int64 `[N]`; each image is its own where there are none.

    Raises:
        InputError: for groups of another length.
    """
    if groups is None:
        return torch.arange(count)
    if len(groups) != count:
        raise InputError(f"groups: {len(groups)} for {count} images; give one an image")
    return torch.from_numpy(np.unique([str(group) for group in groups], return_inverse=True)[1])


def needed(coverage: float) -> int:
    """The fewest labelled images (or groups) with a finite threshold: `⌈coverage / (1 - coverage)⌉`.

    Example:
        >>> needed(0.9), needed(0.95)
        (9, 19)
    """
    return math.ceil(coverage / (1 - coverage) - NOISE)


def check_coverage(coverage: float) -> float:
    """Return the coverage if it lies between 0 and 1.

    Raises:
        InputError: if it does not.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, int | float) or not 0 < coverage < 1:
        what = "coverage is the share of images whose set is to hold the true class (1 - alpha)"
        raise InputError(f"{what}: give more than 0 and less than 1, such as 0.9, not {coverage!r}")
    return float(coverage)


def _excess(probabilities: Tensor, score: str, penalty: float, rank: int) -> Tensor:
    """Score - 1 of each class, float64 `[N, C]`."""
    if score not in SCORES:
        raise InputError(f"unknown score {score!r}: {among(score, SCORES)}")
    p = check_float_matrix(probabilities.detach(), "probabilities", "[N, C]").double()
    check_classes(p.shape[1], f"probabilities {shape_of(p)}")
    if score == "lac":
        return -p
    ordered, classes = p.sort(dim=1, descending=True, stable=True)
    rest = ordered.flip(1).cumsum(1).flip(1)[:, 1:]  # what is less likely, summed from the smallest
    e = -torch.cat([rest, rest.new_zeros(len(rest), 1)], dim=1) - OWN * ordered
    if score == "raps":
        e += penalty * (torch.arange(1, p.shape[1] + 1).to(e) - rank).clamp(min=0)
    return torch.empty_like(e).scatter_(1, classes, e)


def _threshold(own: Tensor, unit: Tensor, coverage: float, what: str, grouped: bool) -> Tensor:
    """The smallest score whose weight, of groups that weigh 1 each, reaches `coverage (G + 1)`."""
    _, place, sizes = unit.unique(return_inverse=True, return_counts=True)
    if len(sizes) < needed(coverage):
        kind = "labelled patients" if grouped else "labelled images"
        least = f"at least {needed(coverage)}{' of each class' if what != 'labels' else ''}"
        few = f"{len(sizes)} {kind} are too few, coverage {coverage:g} needs {least}"
        raise InputError(f"{what}: {few}: label more, or ask for less")
    values, order = own.sort()
    weight = (1 / sizes.double())[place][order].cumsum(0)
    return values[int((weight < coverage * (len(sizes) + 1) - NOISE).sum())]
