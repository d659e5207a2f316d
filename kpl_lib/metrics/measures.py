"""The metrics by name, each a function of the tallies of many resamples."""

from collections.abc import Callable

import numpy as np

from kpl_lib.metrics.tally import Tallies

Metric = Callable[[Tallies, int | None], np.ndarray]


def recalls(tallies: Tallies) -> np.ndarray:
    """Recall of each class, `[R, C]`; nan for a class without images."""
    right = np.diagonal(tallies.confusion, axis1=1, axis2=2)
    return ratio(right, tallies.confusion.sum(axis=2))


def _accuracy(tallies: Tallies, positive: int | None) -> np.ndarray:
    return np.trace(tallies.confusion, axis1=1, axis2=2) / tallies.confusion.sum(axis=(1, 2))


def _balanced_accuracy(tallies: Tallies, positive: int | None) -> np.ndarray:
    return _one_or_mean(recalls(tallies), None)


def _macro_f1(tallies: Tallies, positive: int | None) -> np.ndarray:
    right = np.diagonal(tallies.confusion, axis1=1, axis2=2)
    return _one_or_mean(ratio(2 * right, tallies.confusion.sum(axis=2) + tallies.confusion.sum(axis=1)), None)


def _macro_auroc(tallies: Tallies, positive: int | None) -> np.ndarray:
    return _one_or_mean(tallies.auroc, None)


def _ece(tallies: Tallies, positive: int | None) -> np.ndarray:
    return tallies.ece


def _sensitivity(tallies: Tallies, positive: int | None) -> np.ndarray:
    return _one_or_mean(recalls(tallies), positive)


def _specificity(tallies: Tallies, positive: int | None) -> np.ndarray:
    total = tallies.confusion.sum(axis=(1, 2))[:, None]
    actual, said = tallies.confusion.sum(axis=2), tallies.confusion.sum(axis=1)
    right = np.diagonal(tallies.confusion, axis1=1, axis2=2)
    return _one_or_mean(ratio(total - actual - said + right, total - actual), positive)


def _ppv(tallies: Tallies, positive: int | None) -> np.ndarray:
    right = np.diagonal(tallies.confusion, axis1=1, axis2=2)
    return _one_or_mean(ratio(right, tallies.confusion.sum(axis=1)), positive)


def _auprc(tallies: Tallies, positive: int | None) -> np.ndarray:
    return _one_or_mean(tallies.auprc, positive)


def _quadratic_kappa(tallies: Tallies, positive: int | None) -> np.ndarray:
    """`1 - sum (i-j)^2 O_ij / sum (i-j)^2 E_ij`, E from the margins; for classes that are grades, in order."""
    grades = np.arange(tallies.confusion.shape[1])
    cost = (grades[:, None] - grades) ** 2
    actual, said = tallies.confusion.sum(axis=2), tallies.confusion.sum(axis=1)
    found = np.einsum("rij,ij->r", tallies.confusion, cost) * actual.sum(axis=1)
    return 1 - ratio(found, np.einsum("ri,rj,ij->r", actual, said, cost, optimize=True))


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_auroc": _macro_auroc,
    "macro_f1": _macro_f1,
    "ece": _ece,
    "sensitivity": _sensitivity,
    "specificity": _specificity,
    "ppv": _ppv,
    "auprc": _auprc,
    "quadratic_kappa": _quadratic_kappa,
}


def measure_all(tallies: Tallies, positive: int | None, ordered: bool) -> np.ndarray:
    """The metrics of `metric_names`, then the recall of each class, on every resample: `[metrics, R]`."""
    rows = [METRICS[name](tallies, positive) for name in metric_names(ordered)]
    return np.vstack([*rows, recalls(tallies).T])


def metric_names(ordered: bool = False) -> tuple[str, ...]:
    """Names in the order of `METRICS`; kappa only where classes are ordered."""
    return tuple(name for name in METRICS if ordered or name != "quadratic_kappa")


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """`top / bottom`, nan where the bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _one_or_mean(each: np.ndarray, positive: int | None) -> np.ndarray:
    """Of `[R, C]`: the column of the positive class, or the mean over the classes where it is defined."""
    if positive is not None:
        return each[:, positive]
    return ratio(np.nansum(each, axis=1), (~np.isnan(each)).sum(axis=1))
