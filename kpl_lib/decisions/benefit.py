"""What errors cost: predictive values at another prevalence, and the net benefit of treating by a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kpl_lib.common.checks import check_labels
from kpl_lib.common.errors import InputError
from kpl_lib.metrics.estimates import positive_class
from kpl_lib.prediction import Prediction


@dataclass(frozen=True, eq=False)
class NetBenefit:
    """Net benefit of three policies, in true positives for each image, at each threshold.

    Args:
        thresholds: `[T]`, the probability from which one would treat.
        model: `[T]`, treat where the classifier's probability reaches the threshold.
        treat_all: `[T]`, treat everyone; to treat no one has 0 throughout.
        prevalence: the share of positives that it holds for.

    Chapter: ch-when-unsure
    """

    thresholds: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray
    prevalence: float


def net_benefit(
    probabilities: Prediction | Tensor | Sequence[float],
    labels: Tensor | Sequence[int],
    thresholds: float | Sequence[float],
    *,
    positive: int | str | None = None,
    prevalence: float | None = None,
) -> NetBenefit:
    """Weigh true against false positives by the threshold at which one would treat.

        net benefit = sens · prev - (1 - spec)(1 - prev) threshold/(1 - threshold)

    Who treats from a probability on takes `(1 - threshold)/threshold` false alarms for one case found.

    Args:
        probabilities: a prediction, or the probability of the positive class `[N]`.
        labels: class numbers `[N]`; for plain probabilities 1 is positive and 0 is not. -1 is unknown, and left out.
        thresholds: in 0..1, one or more.
        positive: number or name of the positive class of a prediction; None is the second of two.
        prevalence: prev, the share of positives where it will be used; None is that of the labels.

    Returns:
        The net benefit, beside that of treating everyone.

    Raises:
        InputError: for input that does not fit, where a prediction of more classes has no `positive`, and for labels
            without positives or without negatives.

    Example:
        >>> net_benefit([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], [0.5, 0.8]).model.round(3).tolist()
        [0.25, 0.25]

    Source: Vickers and Elkin 2006, "Decision curve analysis".
    Chapter: ch-when-unsure
    """
    p, ill = _positives(probabilities, labels, positive)
    t = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if t.ndim != 1 or not ((t >= 0) & (t < 1)).all():
        raise InputError(f"thresholds must lie in 0..1, below 1, not {thresholds!r}")
    if ill.all() or not ill.any():
        raise InputError("labels: net benefit takes images of both kinds; there is one kind")
    share = float(ill.mean()) if prevalence is None else _share(prevalence, "prevalence")
    treated = p[:, None] >= t
    odds = t / (1 - t)
    model = treated[ill].mean(axis=0) * share - treated[~ill].mean(axis=0) * (1 - share) * odds
    return NetBenefit(t, model, share - (1 - share) * odds, share)


def _positives(probabilities, labels, positive: int | str | None) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the positive class, and whether it is that, of the images with a label."""
    which, classes = 1, 2
    if isinstance(probabilities, Prediction):
        which = positive_class(probabilities, positive)
        classes = probabilities.probabilities.shape[1]
        if which is None:
            raise InputError(f"positive: there are {classes} classes; say which one is the positive one")
        probabilities = probabilities.probabilities[:, which]
    elif positive is not None:
        raise InputError("positive: probabilities of one class have no other; leave it out")
    p = torch.as_tensor(probabilities).detach().cpu().double()
    if p.dim() != 1 or not bool(((p >= 0) & (p <= 1)).all()):
        raise InputError("probabilities must be one number in 0..1 for each image")
    y = check_labels(labels, len(p), classes).cpu()
    return p[y >= 0].numpy(), (y[y >= 0] == which).numpy()


@dataclass(frozen=True)
class PredictiveValues:
    """How far an answer can be believed.

    Args:
        ppv: share of ill ones among those called positive; nan where none is.
        npv: share of healthy ones among those called negative; nan where none is.

    Chapter: ch-when-unsure
    """

    ppv: float
    npv: float


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> PredictiveValues:
    """What a positive and a negative answer are worth where a disease is as common as `prevalence`.

        PPV = sens · prev / (sens · prev + (1 - spec)(1 - prev))
        NPV = spec (1 - prev) / (spec (1 - prev) + (1 - sens) prev)

    Args:
        sensitivity: sens, the share of positives that are found, in 0..1.
        specificity: spec, the share of negatives that are left alone, in 0..1.
        prevalence: prev, the share of positives, in 0..1.

    Returns:
        Both values.

    Raises:
        InputError: for a number outside 0..1.

    Example:
        >>> round(predictive_values(0.9, 0.9, 0.5).ppv, 3), round(predictive_values(0.9, 0.9, 0.01).ppv, 3)
        (0.9, 0.083)

    Source: Bayes' rule.
    Chapter: ch-when-unsure
    """
    s, c = _share(sensitivity, "sensitivity"), _share(specificity, "specificity")
    q = _share(prevalence, "prevalence")
    found, alarms, spared, missed = s * q, (1 - c) * (1 - q), c * (1 - q), (1 - s) * q
    return PredictiveValues(_part(found, alarms), _part(spared, missed))


def _part(right: float, wrong: float) -> float:
    return right / (right + wrong) if right + wrong else float("nan")


def _share(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{name} must lie in 0..1, not {value!r}")
    return float(value)
