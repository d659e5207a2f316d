"""A thousand resamples of all metrics beside scikit-learn's time for a few of them, on one thread.

Run with `python -m pytest tests/benchmarks/test_metrics_speed.py -s`.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
from guesses import guess

from kpl_lib.metrics import evaluate

FEW, RESAMPLES = 3, 1000


def plain(true, predicted, p, rows):
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


@pytest.mark.parametrize(("count", "classes", "bound"), [(30_000, 10, 50), (2_000, 5, 100)])
def test_a_thousand_resamples_of_all_metrics(count, classes, bound):
    torch.set_num_threads(1)
    prediction, true = guess(count, classes, seed=0)
    predicted, p = prediction.labels.numpy(), prediction.probabilities.numpy()
    rng = np.random.default_rng(0)
    evaluate(prediction, true, resamples=2)  # compiling is not what is measured
    slow, fast = [], []
    for _ in range(FEW):
        start = time.perf_counter()
        plain(true, predicted, p, rng.integers(0, count, count))
        slow.append(time.perf_counter() - start)
        start = time.perf_counter()
        evaluate(prediction, true, resamples=RESAMPLES)
        fast.append(time.perf_counter() - start)
    each, all_of_them = statistics.median(slow), statistics.median(fast)
    ratio = each * RESAMPLES / all_of_them
    print(
        f"\n{count} x {classes}: {all_of_them:.2f} s; scikit-learn {each:.3f} s a resample; {ratio:.0f}x ({bound})"
    )
    assert ratio > bound
