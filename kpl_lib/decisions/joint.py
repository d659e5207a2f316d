"""The joint step of Conf-OT: calibration and test images are balanced over the classes together, without labels."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kpl_lib.prediction import Prediction
from kpl_lib.transport import sinkhorn

TINY = 1e-300  # in place of a probability of 0, whose logarithm would not be finite


@torch.no_grad()
def joint_step(
    prediction: Prediction,
    *,
    temperature: float = 0.8,
    sweeps: int = 3,
    prior: Tensor | Sequence[float] | None = None,
) -> Prediction:
    """Balance the probabilities of all images, so that the classes get the shares of a prior.

        P ← softmax_rows(log p / ε),   then columns to N q and rows to 1, `sweeps` times

    Calibration images and those to classify go in together and are treated alike; no label is read, so sets that
    are calibrated afterwards keep their coverage. They shrink where the classes are about as common as the prior says.
    Under a false prior they grow: with classes of uneven size, leave the uniform one. The shares of the labels that
    calibrate may serve as prior where these are many; of 50 they cost about two points of coverage, because the prior
    then fits the calibration images better than the others. Shares of other labels cost none.

    Args:
        prediction: of any classifier, N images over C classes.
        temperature: ε, in units of log probabilities.
        sweeps: how often columns and rows are scaled.
        prior: class shares q `[C]`; None is uniform.

    Returns:
        The prediction with the new probabilities as its scores too.

    Raises:
        InputError: for probabilities that are not finite, fewer than 2 images, or a prior that does not fit.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
        >>> joint_step(Prediction(p, p, p.argmax(1), ("cat", "dog"))).labels.tolist()
        [0, 0, 1]

    Source: Silva-Rodríguez, Ben Ayed and Dolz 2025, arXiv 2505.24693. There the logits are `100 x·t`; the logarithm of
    their softmax differs from them by a number for each row, which the rows take out again.
    Cost: `sweeps` passes over `[N, C]`.
    Chapter: ch-when-unsure
    """
    logits = prediction.probabilities.detach().double().clamp(min=TINY).log()
    plan = sinkhorn(logits, temperature=temperature, prior=prior, iterations=sweeps).pseudo_labels
    return replace(prediction, probabilities=plan, scores=plan, labels=plan.argmax(dim=1))
