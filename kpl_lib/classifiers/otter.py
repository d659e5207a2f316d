"""OTTER: the exact transport between images and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import start, temperature_of, text_logits
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.common.checks import check_prior
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank

UPDATES = 100_000_000  # pivots of the network simplex, at most
SPLIT = 1e-6  # of an image: a smaller part in a class comes from rounding, such as of a prior in float32


@register("otter")
@dataclass(eq=False)
class Otter(Classifier):
    """Labels whose shares are exactly those of the prior, at the least total cost.

    `min Σ_ij −log p_ij π_ij` over plans π with rows 1/N and columns q, `p = softmax(X Tᵀ/τ)`; the label is
    `argmax_j π_ij`. By duality that is `argmax_j (log p_ij + v_j)` with class potentials v, which classify new
    images as well, and give the probabilities `softmax(X Tᵀ/τ + v)`. Of all v that belong to the plan, the mean of
    the extreme ones is taken. It reads the images as a set, at least 2; their order does not matter, save for
    the at most C − 1 images that the plan splits between classes.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> Otter().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Shin et al. 2024, arXiv 2404.08461. It has no licence; this is written from the formula, and POT solves
    the transport.
    Cost: one product `[N, D] x [D, C]`, and a network simplex on N x C.
    Chapter: ch-benchmark
    """

    temperature: float | None = None
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        q = check_prior(prior, len(weights)).numpy()
        log_p = text_logits(images, weights, temperature, None).log_softmax(dim=1)
        v = torch.from_numpy(class_potentials(-log_p.cpu().numpy(), q)).to(images.device)
        return TextClassifier(weights, v, temperature), chosen


def class_potentials(cost: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Potentials v `[C]`, mean 0, of the cheapest plan: images of class j have `c_ij − v_j <= c_ik − v_k`.

    `v_k − v_j <= d_jk = min over i in j of (c_ik − c_ij)`: the shortest ways from any class are such a v,
    and so is their mean, which lies inside wherever there is room.

    Args:
        cost: `[N, C]`.
        q: class shares `[C]`.
    """
    from kpl_lib.common.extras import ot  # takes a second to import

    n, c = cost.shape
    plan, log = ot.emd(np.full(n, 1 / n), q, cost, numItermax=UPDATES, log=True)
    if log["warning"]:
        raise InputError(f"the exact transport of {n} images to {c} classes failed: {log['warning']}")
    ways = np.zeros((c, c))
    for j in range(c):
        members = cost[plan[:, j] > SPLIT / n]
        ways[j] = (members - members[:, [j]]).min(axis=0)
    for middle in range(c):
        ways = np.minimum(ways, ways[:, [middle]] + ways[[middle]])
    v = ways.mean(axis=0)
    return v - v.mean()
