"""TransCLIP without shots: a Gaussian a class, the zero-shot probabilities, and nearest neighbours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.gaussians import GaussianMixture, weighted_moments


@register("transclip")
@dataclass(eq=False)
class TransCLIP(GaussianMixture):
    """Assignments that agree with the text, with Gaussians of the classes, and between neighbours.

    `ŷ = softmax(X Tᵀ/τ + log q)`, z = ŷ; μ_c from the 8 most confident images, one variance a feature, σ = 1/D.
    Ten times: `l_ic = −½ Σ_d (x_id − μ_cd)²/σ_d`; five times `z ← norm(ŷ · exp(l/50 + (Aᵀz + A z)/(2·3)))`, with A
    the cosines of the 3 nearest images; then `μ = norm(mean of x under z)`, σ the variance under z.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives the joint z. `predict`
    places images one by one, by text and Gaussians: a new image has no place in the graph.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines.
        confident: images that open each mean.
        neighbours: of each image in the graph.
        rounds, turns: of the Gaussians, and of z within each.
        softness: what log densities are divided by, 50.

    Example:
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> TransCLIP().fit_predict(torch.eye(2).repeat(9, 1), bank).labels[:4].tolist()
        [0, 1, 0, 1]

    Source: Zanella et al. 2024, arXiv 2406.01837. Its code is AGPL; this is written from the formulas. The paper
    has no prior; here it enters ŷ.
    Cost: one product `[N, D] x [D, N]`, and 5 of `[N, D] x [D, C]` a round.
    Chapter: ch-benchmark
    """

    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> Tensor:
        return torch.full_like(text, 1 / x.shape[1])

    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        means = F.normalize(z.T @ x, dim=1)
        return means, (weighted_moments(x, z, means).sum(dim=0) / len(x)).expand_as(means)
