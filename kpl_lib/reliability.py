"""How far confidences can be believed: the reliability curve."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kpl_lib.classifiers.base import Prediction
from kpl_lib.measures import ratio
from kpl_lib.tallies import BINS, bin_of, make_cases


@dataclass(frozen=True)
class ReliabilityCurve:
    """Confidence against the share of right answers, in 15 bins of equal width of the largest probability.

    Args:
        edges: `[16]`, from 0 to 1.
        count: `[15]`, images of each bin.
        confidence: `[15]`, their mean largest probability; nan in empty bins.
        accuracy: `[15]`, their share of right answers; nan in empty bins.
        ece: `sum_b count_b |confidence_b - accuracy_b| / N`, the expected calibration error.

    Chapter: ch-benchmark
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float


def reliability_curve(prediction: Prediction, labels: Sequence[int] | torch.Tensor) -> ReliabilityCurve:
    """Compare confidence with the share of right answers, bin by bin.

    `confidence_b = mean_{i in b} max_c P_ic`, `accuracy_b = mean_{i in b} [label_i is right]`. A calibrated
    prediction lies on the diagonal; below it, the prediction is too sure of itself.

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
    right, bins = cases.true == cases.predicted, bin_of(confidence)
    count = np.bincount(bins, minlength=BINS)
    sure = np.bincount(bins, confidence, BINS)
    hits = np.bincount(bins, right, BINS)
    ece = float(np.abs(sure - hits).sum() / len(confidence))
    return ReliabilityCurve(np.linspace(0, 1, BINS + 1), count, ratio(sure, count), ratio(hits, count), ece)
