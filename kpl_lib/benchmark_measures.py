"""The figures of one run: metrics with intervals, and paired differences against the plain text proxy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpl_lib.classifiers.base import Prediction
from kpl_lib.measures import measure_all, metric_names
from kpl_lib.metrics import bounds, positive_class
from kpl_lib.tallies import make_cases, tally, tally_once

DIFFERENCES = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Measured:
    """Metrics of one run.

    Args:
        names: M metrics.
        point: `[M]`, their values.
        drawn: `[M, R]`, on the resamples.
        spread: `[M]`, standard deviation over the draws of a reference; zeros for one prediction.
    """

    names: tuple[str, ...]
    point: np.ndarray
    drawn: np.ndarray
    spread: np.ndarray


def measure(
    predictions: Sequence[Prediction],
    labels: Sequence[int] | None,
    blocks: Sequence[np.ndarray],
    positive: int | str | None = None,
    ordered: bool = False,
) -> Measured:
    """Measure predictions of the same images; several are averaged, figure by figure and resample by resample.

    Args:
        predictions: of N images.
        labels: true class numbers `[N]`.
        blocks: weights of the resamples, `[N, R_b]` each.
        positive, ordered: as for `evaluate`.

    Raises:
        InputError: if labels are missing or do not fit.
    """
    which = positive_class(predictions[0], positive)
    cases = [make_cases(prediction, labels) for prediction in predictions]
    points = np.stack([measure_all(tally_once(each), which, ordered)[:, 0] for each in cases])
    drawn = sum(measure_all(tally(each, blocks), which, ordered) for each in cases) / len(cases)
    names = (*metric_names(ordered), *(f"recall/{name}" for name in predictions[0].class_names))
    return Measured(names, points.mean(axis=0), drawn, points.std(axis=0))


def as_rows(found: Measured) -> dict[str, list[float | None]]:
    """Value, low and high of each metric, ready for JSON."""
    low, high = bounds(found.drawn)
    return {
        name: [plain(x) for x in triple]
        for name, *triple in zip(found.names, found.point, low, high, strict=True)
    }


def difference(found: Measured, baseline: Measured) -> dict[str, list[float | None]]:
    """Value, low and high of `found - baseline`, on the same resamples."""
    rows = [found.names.index(name) for name in DIFFERENCES]
    low, high = bounds(found.drawn[rows] - baseline.drawn[rows])
    gap = found.point[rows] - baseline.point[rows]
    return {
        name: [plain(x) for x in triple] for name, *triple in zip(DIFFERENCES, gap, low, high, strict=True)
    }


def plain(x: float) -> float | None:
    """Six digits; None where undefined, as JSON has no nan."""
    return None if math.isnan(x) else round(float(x), 6)
