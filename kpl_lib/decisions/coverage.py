"""How often prediction sets hold the true class, with an interval that knows of patients, and how much they say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from kpl_lib.common.checks import check_count, check_labels
from kpl_lib.common.errors import InputError
from kpl_lib.decisions.conformal import PredictionSets, calibrate, group_numbers
from kpl_lib.metrics.estimates import Estimate
from kpl_lib.prediction import Prediction


@dataclass(frozen=True)
class SetFigures:
    """What prediction sets reach on images whose class is known.

    Args:
        coverage: share of images whose set holds the true class, and its interval.
        asked: the share that was asked for.
        mean_size: mean number of classes in a set.
        class_coverage: the share of each class; nan for one without images.
        class_gap: mean of `|class_coverage - asked|`, a share (0.1 is ten points).
        worst_class: name of the class that is covered least.
        empty, single, full: shares of the sets with no class, one class, all classes.
        ties: share of calibration scores that equal their threshold; many push the coverage above what was asked.

    Chapter: ch-when-unsure
    """

    coverage: Estimate
    asked: float
    mean_size: float
    class_coverage: tuple[float, ...]
    class_gap: float
    worst_class: str
    empty: float
    single: float
    full: float
    ties: float


def evaluate_sets(
    sets: PredictionSets,
    labels: Tensor | Sequence[int],
    *,
    groups: Sequence | None = None,
    level: float = 0.95,
) -> SetFigures:
    """Count how often sets hold the true class, on labelled images that did not calibrate them.

    The interval is that of Clopper and Pearson, exact for independent images. With groups each patient weighs the
    same, as in `calibrate`, and the interval is that of `n` independent images, `n = p (1 - p) / v`, with `v` the
    variance of the mean over patients: at most one for each image, at least one for each patient. A bootstrap of
    patients would be of length 0 where every set is right.

    Args:
        sets: of N images.
        labels: class numbers `[N]`, -1 where unknown; images without a label are left out.
        groups: patient identifiers `[N]`.
        level: of the interval, in 0..1.

    Returns:
        The figures.

    Raises:
        InputError: for labels or groups that do not fit, and where no image has a label.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> prediction = Prediction(p, p, p.argmax(1), ("cat", "dog"))
        >>> sets = calibrate(prediction, [0, 0, 1], coverage=0.75).sets(prediction)
        >>> print(evaluate_sets(sets, [0, 1, 1]).coverage)
        0.667 [0.094, 0.992]

    Source: Clopper and Pearson 1934; Korn and Graubard 1998 (patients); Ding et al. 2023, arXiv 2306.09335 (gap).
    Chapter: ch-when-unsure
    """
    made, names = sets.calibration, sets.class_names
    y = check_labels(labels, *sets.sets.shape).cpu()
    known = y >= 0
    if not bool(known.any()):
        raise InputError("labels: no image has one; give labels of images that did not calibrate the sets")
    y, unit = y[known], group_numbers(groups, len(known))[known].numpy()
    hit = sets.sets.cpu()[known, y].double().numpy()
    each = [float(hit[y == c].mean()) if bool((y == c).any()) else float("nan") for c in range(len(names))]
    seen = PredictionSets(sets.sets.cpu()[known], names, made)
    return SetFigures(
        coverage=_covered(hit, unit, level),
        asked=made.coverage,
        mean_size=seen.mean_size,
        class_coverage=tuple(each),
        class_gap=float(np.nanmean(np.abs(np.array(each) - made.coverage))),
        worst_class=names[int(np.nanargmin(each))],
        empty=seen.empty,
        single=seen.single,
        full=seen.full,
        ties=made.ties,
    )


def _covered(hit: np.ndarray, unit: np.ndarray, level: float) -> Estimate:
    """Mean over groups of the share of hits, with its interval."""
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, not {level!r}")
    _, unit = np.unique(unit, return_inverse=True)
    shares = np.bincount(unit, hit) / np.bincount(unit)
    p, count, groups = float(shares.mean()), len(hit), len(shares)
    n = count
    if groups < count:
        v = shares.var(ddof=1) / groups if groups > 1 else 1.0
        n = groups if p in (0, 1) else float(np.clip(p * (1 - p) / v if v else count, groups, count))
    low, high = (1 - level) / 2, (1 + level) / 2
    x = p * n
    low = float(stats.beta.ppf(low, x, n - x + 1)) if p > 0 else 0.0
    return Estimate(p, low, float(stats.beta.ppf(high, x + 1, n - x)) if p < 1 else 1.0)


def cross_coverage(
    prediction: Prediction,
    labels: Tensor | Sequence[int],
    *,
    groups: Sequence | None = None,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
    **options,
) -> SetFigures:
    """Check sets with the labels that calibrate them: calibrate on all folds but one, count on that one, in turn.

    No further labels are needed, and whole patients stay in one fold. It tells ties, patients that differ, and
    classes that are covered badly. It cannot tell that other images come from elsewhere: see `same_source`.

    Args:
        prediction: of N images over C classes.
        labels: class numbers `[N]`, -1 where unknown.
        groups: patient identifiers `[N]`.
        folds: parts of the labelled images, alike in classes.
        seed: which image falls into which part.
        level: of the interval, in 0..1.
        options: `coverage`, `score`, `by_class`, `penalty`, `rank` of `calibrate`.

    Returns:
        The figures over all folds. The interval is about as wide as coverage on later images varies with the choice
        of the labelled ones.

    Raises:
        InputError: as `calibrate`; also where too few labels are left without one fold.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(10, 1)
        >>> cross_coverage(Prediction(p, p, p.argmax(1)), [0, 1] * 10, coverage=0.75).coverage.value
        1.0

    Chapter: ch-when-unsure
    """
    check_count(folds, "folds", minimum=2)
    whole = calibrate(prediction, labels, groups=groups, **options)
    y = check_labels(labels, *prediction.probabilities.shape).cpu()
    fold = _folds(y, group_numbers(groups, len(y)), folds, seed)
    sets = torch.zeros(prediction.probabilities.shape, dtype=torch.bool)
    ties = []
    for part in range(folds):
        inside = fold == part
        try:
            rest = calibrate(prediction, torch.where(inside, -1, y), groups=groups, **options)
        except InputError as error:
            raise InputError(f"without one of {folds} folds, {error}") from None
        sets[inside] = rest.sets(_rows(prediction, inside)).sets.cpu()
        ties.append(rest.ties)
    pooled = PredictionSets(sets, whole.class_names, replace(whole, ties=float(np.mean(ties))))
    return evaluate_sets(pooled, y, groups=groups, level=level)


def _rows(prediction: Prediction, inside: Tensor) -> Prediction:
    where = inside.to(prediction.probabilities.device)
    parts = prediction.probabilities[where], prediction.scores[where], prediction.labels[where]
    return Prediction(*parts, prediction.class_names)


def _folds(y: Tensor, unit: Tensor, folds: int, seed: int) -> Tensor:
    """Fold of each image, -1 without a label: groups in random order inside the class of their first image."""
    known = (y >= 0).nonzero()[:, 0].numpy()
    _, first, place = np.unique(unit.numpy()[known], return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), y.numpy()[known][first]))
    of_group = np.empty(len(first), dtype=np.int64)
    of_group[order] = np.arange(len(first)) % folds
    fold = torch.full((len(y),), -1)
    fold[known] = torch.from_numpy(of_group[place])
    return fold
