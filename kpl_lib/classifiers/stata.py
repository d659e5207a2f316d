"""StatA: TransCLIP whose Gaussians are anchored to the texts, the more so the fewer images a class has."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.gaussians import GaussianMixture, weighted_moments


@register("stata")
@dataclass(eq=False)
class StatA(GaussianMixture):
    """TransCLIP with text anchors, and with variances of each class.

    `β_c = N_c/(1 + N_c)` with `N_c = Σ_i z_ic`; `μ_c = norm(β_c mean + (1 − β_c) T_c)`;
    `σ_c = β_c var + (1 − β_c)(σ⁰ + (T_c − μ_c)²)`; the densities get `−½ Σ_d log σ_cd`. The anchor's variance is one
    average over all images, `σ⁰ = (1/N) Σ_i Σ_c ŷ_ic (x_i − T_c)²`. All else as in `transclip`.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives the joint z. `predict`
    places images one by one, by text and Gaussians: a new image has no place in the graph.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines.
        confident: images that open each mean.
        neighbours: of each image in the graph.
        rounds, turns: of the Gaussians, and of z within each.
        softness: what log densities are divided by, 50.
        anchor: N_c at which images and text weigh the same, in images.

    Example:
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> StatA().fit_predict(torch.eye(2).repeat(9, 1), bank).labels[:4].tolist()
        [0, 1, 0, 1]

    Source: Zanella et al. 2025, arXiv 2501.03729. Its code is AGPL; this is written from the formulas. The paper
    has no prior; here it enters ŷ.
    Cost: one product `[N, D] x [D, N]`, and 6 of `[N, D] x [D, C]` a round.
    Chapter: ch-benchmark
    """

    anchor: float = 1.0

    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> Tensor:
        return (weighted_moments(x, z, text).sum(dim=0) / len(x)).expand_as(text)

    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        count = z.sum(dim=0)[:, None].clamp_min(torch.finfo(z.dtype).tiny)
        share = count / (self.anchor + count)
        means = F.normalize(share * (z.T @ x / count) + (1 - share) * text, dim=1)
        spread = weighted_moments(x, z, means) / count
        return means, share * spread + (1 - share) * (opened + (text - means) ** 2)
