"""How good a prediction is, with bootstrap intervals and paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kpl_lib.classifiers.base import Prediction
from kpl_lib.errors import InputError
from kpl_lib.measures import METRICS, find_metric, make_tables, measure_all
from kpl_lib.resampling import bootstrap_weights


@dataclass(frozen=True)
class Estimate:
    """A value and its bootstrap percentile interval; `low` and `high` are nan where none was asked for.

    Example:
        >>> print(Estimate(0.91, 0.88, 0.94))
        0.910 [0.880, 0.940]
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
    """Metric of the first prediction minus the second, on the same resamples.

    The sign is beyond chance where the interval leaves 0 out.
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

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> accuracy(Prediction(p, p, p.argmax(1)), [0, 1])
        0.5
    """
    return _point("accuracy", prediction, labels)


def balanced_accuracy(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> float:
    """Mean recall of the classes that occur, in 0..1. Arguments as for `accuracy`."""
    return _point("balanced_accuracy", prediction, labels)


def evaluate(
    prediction: Prediction,
    labels: Sequence[int] | torch.Tensor,
    *,
    groups: Sequence | None = None,
    intervals: bool = True,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Measure a prediction: accuracy, balanced accuracy, macro AUROC, macro F1, calibration error, recalls.

    AUROC is one class against the rest, from the probabilities. The expected calibration error uses 15 bins of
    equal width of the largest probability: `ECE = sum_b |sum_{i in b} (confidence_i - right_i)| / N`.
    Classes without images are left out of means.

    Args:
        prediction: N predictions over C classes.
        labels: true class numbers `[N]`.
        groups: patient identifiers `[N]`; whole patients are drawn then.
        intervals: also give bootstrap percentile intervals, stratified by class.
        seed: of the resamples.
        resamples: how many.
        level: of the interval, in 0..1.

    Returns:
        Estimates by metric name; recalls as `recall/CLASS`.

    Raises:
        InputError: if labels are missing, of another length, or no class numbers.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> evaluate(Prediction(p, p, p.argmax(1), ("cat", "dog")), [0, 1])["recall/cat"].value
        1.0

    Source: Guo et al. 2017, arXiv 1706.04599 (calibration); Efron and Tibshirani 1993 (intervals).
    """
    tables = make_tables(prediction, labels)
    names = [*METRICS, *(f"recall/{name}" for name in _class_names(prediction))]
    point = measure_all(tables, np.ones((len(tables.true), 1), dtype=np.float32))[:, 0]
    low = high = np.full(len(names), np.nan)
    if intervals:
        blocks = bootstrap_weights(tables.true, groups, resamples, seed)
        low, high = _bounds(np.concatenate([measure_all(tables, block) for block in blocks], axis=1), level)
    rows = zip(names, point, low, high, strict=True)
    return {name: Estimate(float(a), float(b), float(c)) for name, a, b, c in rows}


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
) -> Difference:
    """How much better the first prediction is than the second, on the same images and the same resamples.

    `d = m(first) - m(second)`, with the percentiles of d over the resamples.

    Args:
        first, second: predictions of the same N images.
        labels: true class numbers `[N]`.
        metric: a name in `METRICS`.
        groups, resamples, level, seed: as for `evaluate`.

    Returns:
        The difference and its interval; its sign is beyond chance where the interval leaves 0 out.

    Raises:
        InputError: for an unknown metric, and for predictions or labels that do not fit.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> same = Prediction(p, p, p.argmax(1))
        >>> paired_difference(same, same, [0, 1]).difference
        0.0
    """
    measure = find_metric(metric)
    pair = make_tables(first, labels), make_tables(second, labels)
    ones = np.ones((len(pair[0].true), 1), dtype=np.float32)
    point = measure(pair[0], ones) - measure(pair[1], ones)
    blocks = bootstrap_weights(pair[0].true, groups, resamples, seed)
    drawn = np.concatenate([measure(pair[0], block) - measure(pair[1], block) for block in blocks])
    low, high = _bounds(drawn[None], level)
    return Difference(metric, float(point[0]), float(low[0]), float(high[0]))


def _point(metric: str, prediction: Prediction, labels) -> float:
    tables = make_tables(prediction, labels)
    return float(METRICS[metric](tables, np.ones((len(tables.true), 1), dtype=np.float32))[0])


def _bounds(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of each row; nan where a metric is never defined."""
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, not {level!r}")
    low, high = np.full((2, len(drawn)), np.nan)
    known = ~np.isnan(drawn).all(axis=1)
    low[known], high[known] = np.nanquantile(drawn[known], [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def _class_names(prediction: Prediction) -> tuple[str, ...]:
    return prediction.class_names or tuple(str(c) for c in range(prediction.probabilities.shape[1]))
