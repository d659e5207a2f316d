"""What every metric is made of, counted for many bootstrap resamples in one compiled pass over the images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kpl_lib.common.checks import check_count
from kpl_lib.common.compiled import machine_code
from kpl_lib.common.errors import InputError
from kpl_lib.prediction import Prediction

BINS = 15


@dataclass(frozen=True)
class Cases:
    """What is tallied: true and predicted classes `[N]`, probabilities `[N, C]`."""

    true: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def classes(self) -> int:
        return self.probabilities.shape[1]


@dataclass(frozen=True)
class Tallies:
    """Sums over the images of R resamples.

    Args:
        confusion: `[R, C, C]`, images by true and predicted class.
        auroc: `[R, C]`, area under the ROC curve of each class against the rest; nan where undefined.
        auprc: `[R, C]`, average precision of each class against the rest; nan where undefined.
        ece: `[R]`, expected calibration error.
    """

    confusion: np.ndarray
    auroc: np.ndarray
    auprc: np.ndarray
    ece: np.ndarray


def make_cases(prediction: Prediction, labels: Sequence[int] | torch.Tensor | None) -> Cases:
    """Check labels against the prediction, and take both to numpy.

    Raises:
        InputError: if labels are missing, of another length, or no class numbers.
    """
    if labels is None:
        raise InputError("labels are missing: metrics need the true classes; predictions do without them")
    true = torch.as_tensor(labels).cpu().numpy()
    count, classes = prediction.probabilities.shape
    if true.shape != (count,):
        raise InputError(f"labels: {list(true.shape)} for {count} predictions; give one label an image")
    if not count:
        raise InputError("labels: there are none; metrics need at least one image")
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= classes:
        raise InputError(f"labels must be class numbers in 0..{classes - 1}")
    probabilities = prediction.probabilities.detach().cpu().double().numpy()
    if not np.isfinite(probabilities).all():
        raise InputError("probabilities hold NaN or Inf: the classifier failed; look at its input")
    return Cases(true.astype(np.int64), prediction.labels.cpu().numpy().astype(np.int64), probabilities)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Number of the bin of equal width, of `BINS` over 0..1, that each confidence falls into."""
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def tally(cases: Cases, blocks: Iterable[np.ndarray]) -> Tallies:
    """Count every resample, in order, from blocks of weights `[N, R_b]`: how often each image stands in each."""
    confidence = cases.probabilities.max(axis=1)
    gap = confidence - (cases.true == cases.predicted)
    order, marks = _sorted(cases)
    fixed = cases.true, cases.predicted, bin_of(confidence), gap, order, marks
    parts = [_run(np.ascontiguousarray(block.T, dtype=np.float32), *fixed) for block in blocks]
    return Tallies(*(np.concatenate(found) for found in zip(*parts, strict=True)))


def tally_once(cases: Cases) -> Tallies:
    """Count the images themselves: R = 1."""
    return tally(cases, [np.ones((len(cases.true), 1), dtype=np.float32)])


def _sorted(cases: Cases) -> tuple[np.ndarray, np.ndarray]:
    """For each class, images by rising probability, and marks: 1 is of the class, 2 is the last of a tie.

    Class by class: of a million images, what all classes need at once would fill the memory several times.
    """
    order = np.empty(cases.probabilities.T.shape, dtype=np.int32)
    marks = np.full(order.shape, 2, dtype=np.uint8)
    for c in range(cases.classes):
        column = np.ascontiguousarray(cases.probabilities[:, c])
        order[c] = np.argsort(column, kind="stable")
        values = column[order[c]]
        marks[c, :-1] *= values[1:] > values[:-1]
        marks[c] += cases.true[order[c]] == c
    return order, marks


def _count(weights, true, predicted, bins, gap, order, marks):  # runs compiled
    """Confusion, AUROC, average precision and calibration error of each row of `weights [R, N]`."""
    resamples, images = weights.shape
    classes = len(order)
    confusion = np.zeros((resamples, classes, classes))
    auroc = np.full((resamples, classes), np.nan)
    auprc = np.full((resamples, classes), np.nan)
    ece = np.zeros(resamples)
    gaps = np.zeros(BINS)
    for r in range(resamples):
        w = weights[r]
        gaps[:] = 0.0
        for i in range(images):
            confusion[r, true[i], predicted[i]] += w[i]
            gaps[bins[i]] += w[i] * gap[i]
        total = confusion[r].sum()
        ece[r] = np.abs(gaps).sum() / total
        for c in range(classes):
            positives = confusion[r, c].sum()
            negatives = total - positives
            if positives == 0:
                continue
            own, other, own_below, other_below, won, precision = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(images):
                mark = marks[c, i]
                if mark & 1:
                    own += w[order[c, i]]
                else:
                    other += w[order[c, i]]
                if mark & 2:
                    if own > 0:
                        above = positives - own_below
                        won += own * (other_below + 0.5 * other)
                        precision += own * above / (above + negatives - other_below)
                    own_below, other_below, own, other = own_below + own, other_below + other, 0.0, 0.0
            auprc[r, c] = precision / positives
            if negatives > 0:
                auroc[r, c] = won / (positives * negatives)
    return confusion, auroc, auprc, ece


_run = machine_code(_count, nogil=True)
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
