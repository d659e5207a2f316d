"""The metrics themselves, each computed for many resamples at once."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array

from kpl_lib.classifiers.base import Prediction
from kpl_lib.errors import InputError

BINS = 15


@dataclass(frozen=True)
class Tables:
    """What all metrics are computed from: true and predicted classes `[N]`, probabilities `[N, C]`."""

    true: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def classes(self) -> int:
        return self.probabilities.shape[1]

    def sums(
        self, index: np.ndarray, rows: int, weights: np.ndarray, data: np.ndarray | None = None
    ) -> np.ndarray:
        """Add `data_i W[i, r]` into the row `index_i`: `[rows, R]`."""
        data = np.ones(len(index), dtype=np.float32) if data is None else data
        return csr_array((data, (index, np.arange(len(index)))), shape=(rows, len(index))) @ weights

    def hits(self, weights: np.ndarray) -> np.ndarray:
        """Weight of the right predictions of each class, `[C, R]`."""
        right = (self.true == self.predicted).astype(np.float32)
        return self.sums(self.true, self.classes, weights, right)


def make_tables(prediction: Prediction, labels: Sequence[int] | torch.Tensor | None) -> Tables:
    """Check labels against the prediction, and take both to numpy."""
    if labels is None:
        raise InputError("labels are missing: metrics need the true classes; predictions do without them")
    true = torch.as_tensor(labels).cpu().numpy()
    count, classes = prediction.probabilities.shape
    if true.shape != (count,):
        raise InputError(f"labels: {list(true.shape)} for {count} predictions; give one label an image")
    if true.dtype.kind not in "iu" or true.min() < 0 or true.max() >= classes:
        raise InputError(f"labels must be class numbers in 0..{classes - 1}")
    probabilities = prediction.probabilities.detach().cpu().double().numpy()
    return Tables(true.astype(np.int64), prediction.labels.cpu().numpy(), probabilities)


def find_metric(name: str) -> Callable:
    """The metric of this name."""
    if name not in METRICS:
        near = difflib.get_close_matches(str(name), METRICS, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown metric {name!r}: {hint}known: {', '.join(METRICS)}")
    return METRICS[name]


def _accuracy(tables: Tables, weights: np.ndarray) -> np.ndarray:
    return tables.hits(weights).sum(axis=0) / weights.sum(axis=0)


def _recalls(tables: Tables, weights: np.ndarray) -> np.ndarray:
    total = tables.sums(tables.true, tables.classes, weights)
    return ratio(tables.hits(weights), total)


def _balanced_accuracy(tables: Tables, weights: np.ndarray) -> np.ndarray:
    return _mean(_recalls(tables, weights))


def _macro_f1(tables: Tables, weights: np.ndarray) -> np.ndarray:
    total = tables.sums(tables.true, tables.classes, weights)
    total = total + tables.sums(tables.predicted, tables.classes, weights)
    return _mean(ratio(2 * tables.hits(weights), total))


def _ece(tables: Tables, weights: np.ndarray) -> np.ndarray:
    confidence = tables.probabilities.max(axis=1)
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gap = (confidence - (tables.true == tables.predicted)).astype(np.float32)
    return np.abs(tables.sums(bins, BINS, weights, gap)).sum(axis=0) / weights.sum(axis=0)


def _macro_auroc(tables: Tables, weights: np.ndarray) -> np.ndarray:
    return _mean(np.stack([_auroc(tables, c, weights) for c in range(tables.classes)]))


def _auroc(tables: Tables, c: int, weights: np.ndarray) -> np.ndarray:
    """Chance that an image of class c has a larger probability of c than another; ties count half. `[R]`"""
    order = np.argsort(tables.probabilities[:, c], kind="stable")
    values, positive = tables.probabilities[order, c], tables.true[order] == c
    others = weights[order]
    others[positive] = 0
    below = np.concatenate([np.zeros((1, weights.shape[1]), weights.dtype), np.cumsum(others, axis=0)])
    at = values[positive]
    rank = below[np.searchsorted(values, at, "left")] + below[np.searchsorted(values, at, "right")]
    own = weights[order[positive]]
    won = np.einsum("nr,nr->r", own, rank, dtype=np.float64) / 2
    return ratio(won, own.sum(axis=0, dtype=np.float64) * below[-1])


METRICS: dict[str, Callable[[Tables, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_auroc": _macro_auroc,
    "macro_f1": _macro_f1,
    "ece": _ece,
}


def measure_all(tables: Tables, weights: np.ndarray) -> np.ndarray:
    """Every metric on every resample, `[metrics, R]`."""
    return np.vstack([*(measure(tables, weights) for measure in METRICS.values()), _recalls(tables, weights)])


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """`top / bottom`, nan where nothing was drawn."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean over the classes that are there, `[C, R]` to `[R]`."""
    return ratio(np.nansum(rows, axis=0), (~np.isnan(rows)).sum(axis=0))
