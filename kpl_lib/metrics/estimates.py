"""How good a prediction is, with intervals and paired differences, and how far its confidences can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kpl_lib.common.errors import InputError, among
from kpl_lib.metrics.measures import METRICS, measure_all, metric_names, ratio
from kpl_lib.metrics.tally import BINS, bin_of, bootstrap_weights, make_cases, tally, tally_once
from kpl_lib.prediction import Prediction


@dataclass(frozen=True)
class Estimate:
    """A value and its bootstrap percentile interval; `low` and `high` are nan where none was asked for.

    Args:
        value: of all images.
        low, high: ends of the interval.

    Example:
        >>> print(Estimate(0.91, 0.88, 0.94))
        0.910 [0.880, 0.940]

    Chapter: ch-benchmark
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """Metric of the first prediction minus the second; its sign is beyond chance where the interval leaves 0 out.

    Args:
        metric: its name.
        difference: first minus second, in units of the metric.
        low, high: ends of the interval.

    Chapter: ch-benchmark
    """

    metric: str
    difference: float
    low: float
    high: float


def accuracy(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> float:
    """Share of images whose label is right, in 0..1.

    Args:
        prediction: N predictions.
        labels: true class numbers `[N]`.

    Returns:
        The share.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> accuracy(Prediction(p, p, p.argmax(1)), [0, 1])
        0.5

    Chapter: ch-zero-shot
    """
    return _point("accuracy", prediction, labels)


def balanced_accuracy(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> float:
    """Mean recall of the classes that occur, in 0..1.

    Args:
        prediction: N predictions over C classes.
        labels: true class numbers `[N]`.

    Returns:
        The mean; a class without images is left out of it.

    Chapter: ch-benchmark
    """
    return _point("balanced_accuracy", prediction, labels)


def confusion_matrix(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> np.ndarray:
    """Images by true class (rows) and predicted class (columns), whole numbers `[C, C]`.

    Args:
        prediction: N predictions over C classes.
        labels: true class numbers `[N]`.

    Returns:
        Counts; they sum to N.

    Chapter: ch-benchmark
    """
    return tally_once(make_cases(prediction, labels)).confusion[0].astype(np.int64)


def evaluate(
    prediction: Prediction,
    labels: Sequence[int] | torch.Tensor,
    *,
    groups: Sequence | None = None,
    intervals: bool = True,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    positive: int | str | None = None,
    ordered: bool = False,
) -> dict[str, Estimate]:
    """Measure a prediction, with bootstrap intervals.

    `accuracy`, `balanced_accuracy`, `macro_f1`, `macro_auroc` (one class against the rest, from the probabilities),
    `ece`, the recall of each class, and of the positive class `sensitivity` (its recall), `specificity` (recall of the
    rest), `ppv` (share of right ones among those said to be of it) and `auprc` (average precision); with more than two
    classes and no `positive` these four are means over the classes, each against the rest. The calibration error uses
    15 bins of equal width of the largest probability: `ECE = sum_b |sum_{i in b} (confidence_i - right_i)| / N`. What
    is undefined (the recall of a class without images, the PPV of one never said) is nan, and left out of means.

    The intervals say how much a figure would move with other images of the same kind; classifier, texts and seed stay
    as they are. The calibration error rises in resamples (each bin gets noisier), so its interval sits high.

    Args:
        prediction: N predictions over C classes.
        labels: true class numbers `[N]`.
        groups: patient identifiers `[N]`; whole patients are drawn then.
        intervals: also give bootstrap percentile intervals, stratified by class.
        seed, resamples: seed and number of the resamples.
        level: of the interval, in 0..1.
        positive: number or name of the positive class; None is the second of two.
        ordered: classes are grades, in order: also give `quadratic_kappa`.

    Returns:
        Estimates by metric name; recalls as `recall/CLASS`.

    Raises:
        InputError: if labels are missing, of another length, or no class numbers; for an unknown class.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> evaluate(Prediction(p, p, p.argmax(1), ("cat", "dog")), [0, 1])["recall/cat"].value
        1.0

    Source: Guo et al. 2017, arXiv 1706.04599 (calibration); Efron and Tibshirani 1993 (intervals); Cohen 1968 (kappa).
    Chapter: ch-benchmark
    """
    cases, which = make_cases(prediction, labels), positive_class(prediction, positive)
    names = [*metric_names(ordered), *(f"recall/{name}" for name in _class_names(prediction))]
    point = measure_all(tally_once(cases), which, ordered)[:, 0]
    low = high = np.full(len(names), np.nan)
    if intervals:
        blocks = bootstrap_weights(cases.true, groups, resamples, seed)
        low, high = bounds(measure_all(tally(cases, blocks), which, ordered), level)
    rows = zip(names, point, low, high, strict=True)
    return {name: Estimate(float(a), float(b), float(c)) for name, a, b, c in rows}


def positive_class(prediction: Prediction, positive: int | str | None = None) -> int | None:
    """Number of the positive class, from its number or name; None is the second of two, and none where there are more.

    Raises:
        InputError: if there is no such class.
    """
    names = _class_names(prediction)
    if positive is None:
        return 1 if len(names) == 2 else None
    if positive in names:
        return names.index(positive)
    if isinstance(positive, int) and not isinstance(positive, bool) and 0 <= positive < len(names):
        return positive
    raise InputError(f"positive: there is no class {positive!r}; known: {', '.join(names)}")


def paired_difference(
    first: Prediction,
    second: Prediction,
    labels: Sequence[int] | torch.Tensor,
    metric: str = "accuracy",
    *,
    groups: Sequence | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    positive: int | str | None = None,
) -> Difference:
    """How much better the first prediction is than the second, on the same images and the same resamples.

    `d = m(first) - m(second)`, with the percentiles of d.

    Args:
        first, second: predictions of the same N images.
        labels: true class numbers `[N]`.
        metric: a name in `METRICS`.
        groups, resamples, level, seed, positive: as for `evaluate`.

    Returns:
        The difference and its interval; its sign is beyond chance where the interval leaves 0 out.

    Raises:
        InputError: for an unknown metric, and for predictions or labels that do not fit.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> same = Prediction(p, p, p.argmax(1))
        >>> paired_difference(same, same, [0, 1]).difference
        0.0

    Chapter: ch-benchmark
    """
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}: {among(metric, METRICS, 0.4)}")
    measure, which = METRICS[metric], positive_class(first, positive)
    pair = make_cases(first, labels), make_cases(second, labels)
    point = [measure(tally_once(cases), which) for cases in pair]
    blocks = list(bootstrap_weights(pair[0].true, groups, resamples, seed))
    drawn = [measure(tally(cases, blocks), which) for cases in pair]
    low, high = bounds((drawn[0] - drawn[1])[None], level)
    return Difference(metric, float((point[0] - point[1])[0]), float(low[0]), float(high[0]))


def bounds(drawn: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each row of `[M, R]`: low and high `[M]`; nan where a metric is never defined.

    Raises:
        InputError: if `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, not {level!r}")
    low, high = np.full((2, len(drawn)), np.nan)
    known = ~np.isnan(drawn).all(axis=1)
    low[known], high[known] = np.nanquantile(drawn[known], [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def _point(metric: str, prediction: Prediction, labels) -> float:
    return float(METRICS[metric](tally_once(make_cases(prediction, labels)), None)[0])


def _class_names(prediction: Prediction) -> tuple[str, ...]:
    return prediction.class_names or tuple(str(c) for c in range(prediction.probabilities.shape[1]))


@dataclass(frozen=True)
class ReliabilityCurve:
    """Confidence against the share of right answers, in 15 bins of equal width of the largest probability.

    Args:
        edges: `[16]`, from 0 to 1.
        count: `[15]`, images of each bin.
        confidence, accuracy: `[15]`, their mean largest probability and share of right answers; nan in empty bins.
        ece: `sum_b count_b |confidence_b - accuracy_b| / N`, the expected calibration error.

    Chapter: ch-benchmark
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def reliability_curve(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> ReliabilityCurve:
    """Compare confidence with the share of right answers, bin by bin; below the diagonal is too sure of itself.

    `confidence_b = mean_{i in b} max_c P_ic`, `accuracy_b = mean_{i in b} [label_i is right]`.

    Args:
        prediction: N predictions.
        labels: true class numbers `[N]`.

    Returns:
        The curve, and the calibration error that `evaluate` gives.

    Raises:
        InputError: for labels that do not fit.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(reliability_curve(Prediction(p, p, p.argmax(1)), [0, 1]).ece, 2)
        0.4

    Source: Guo et al. 2017, arXiv 1706.04599.
    Chapter: ch-benchmark
    """
    cases = make_cases(prediction, labels)
    confidence = cases.probabilities.max(axis=1)
    bins = bin_of(confidence)
    count, sure = np.bincount(bins, minlength=BINS), np.bincount(bins, confidence, BINS)
    hits = np.bincount(bins, cases.true == cases.predicted, BINS)
    ece = float(np.abs(sure - hits).sum() / len(confidence))
    return ReliabilityCurve(np.linspace(0, 1, BINS + 1), count, ratio(sure, count), ratio(hits, count), ece)
