"""Bootstrap weights: how often each image is drawn in each resample."""

from collections.abc import Iterator, Sequence

import numpy as np

from kpl_lib.errors import InputError
from kpl_lib.validation import check_count

BLOCK = 100


def bootstrap_weights(
    labels: np.ndarray, groups: Sequence | None = None, resamples: int = 1000, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draw with replacement inside each class, so that class sizes stay; by patient where groups are known.

    `W[i, r]` is how often image i stands in resample r.

    Args:
        labels: true class numbers `[N]`.
        groups: patient identifiers `[N]`. Whole patients are drawn then, inside the commonest class of each.
        resamples: how many resamples R.
        seed: the same seed draws the same resamples.

    Returns:
        Blocks `[N, <= 100]` of whole counts in float32, R columns in all.

    Raises:
        InputError: for groups of another length, or fewer than 1 resample.

    Example:
        >>> next(bootstrap_weights(np.array([0, 0, 1]), resamples=2)).sum(axis=0)
        array([3., 3.], dtype=float32)

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap".
    Chapter: ch-benchmark
    """
    check_count(resamples, "resamples")
    units, unit_of = _units(labels, groups)
    rng = np.random.default_rng(seed)
    strata = [np.flatnonzero(units == value) for value in np.unique(units)]
    for start in range(0, resamples, BLOCK):
        width = min(BLOCK, resamples - start)
        drawn = np.empty((len(units), width), dtype=np.float32)
        for rows in strata:
            cells = rng.integers(0, len(rows), (len(rows), width)) * width + np.arange(width)
            drawn[rows] = np.bincount(cells.ravel(), minlength=len(rows) * width).reshape(len(rows), width)
        yield drawn if unit_of is None else drawn[unit_of]


def _units(labels: np.ndarray, groups: Sequence | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The class of each unit that is drawn, and the unit of each image (None: images themselves)."""
    if groups is None:
        return labels, None
    if len(groups) != len(labels):
        raise InputError(f"groups: {len(groups)} for {len(labels)} images; give one an image")
    _, unit_of = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
    votes = np.zeros((unit_of.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(votes, (unit_of, labels), 1)
    return votes.argmax(axis=1), unit_of
