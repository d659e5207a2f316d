"""A thousand resamples of all metrics beside scikit-learn's time for a few of them; a part of bench.py."""

import statistics
import time
from collections.abc import Iterator

import numpy as np
from guesses import guess
from sklearn import metrics as oracle

from kpl_lib.metrics import evaluate

FEW = 3


def plain(true: np.ndarray, predicted: np.ndarray, p: np.ndarray, rows: np.ndarray) -> None:
    """What `evaluate` measures, by scikit-learn, on one resample."""
    t, q, p = true[rows], predicted[rows], p[rows]
    oracle.accuracy_score(t, q)
    oracle.balanced_accuracy_score(t, q)
    oracle.f1_score(t, q, average=None)
    oracle.precision_score(t, q, average=None, zero_division=0)
    oracle.confusion_matrix(t, q)
    for c in range(p.shape[1]):
        oracle.roc_auc_score(t == c, p[:, c])
        oracle.average_precision_score(t == c, p[:, c])


def resampling(small: bool) -> Iterator[dict]:
    """A row for each size; seconds of a core."""
    resamples = 20 if small else 1000
    for count, classes, bound in [(300, 3, 50)] if small else [(30_000, 10, 50), (2_000, 5, 100)]:
        each, ours = seconds(count, classes, resamples)
        told = {"plain_seconds": each * resamples, "ratio": each * resamples / ours, "bound": bound}
        yield {
            "inputs": "guesses",
            "shape": [count, classes],
            "what": f"{resamples} resamples",
            "seconds": ours,
            **told,
        }


def seconds(count: int, classes: int, resamples: int) -> tuple[float, float]:
    """Medians of one resample by scikit-learn, and of all of them by `evaluate`."""
    prediction, true = guess(count, classes, seed=0)
    predicted, p, rng = prediction.labels.numpy(), prediction.probabilities.numpy(), np.random.default_rng(0)
    evaluate(prediction, true, resamples=2)  # compiling is not what is measured
    works = (
        lambda: plain(true, predicted, p, rng.integers(0, count, count)),
        lambda: evaluate(prediction, true, resamples=resamples),
    )
    times = ([], [])
    for _ in range(FEW):
        for work, taken in zip(works, times, strict=True):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1])
