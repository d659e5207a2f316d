"""ADAPT without its stream: one Gaussian a class from all images at once, on top of the zero-shot probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import log_shares, start, temperature_of, text_logits
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.features import TextBank

LEAST_SPREAD = 1e-9  # of images that are all alike


@register("adapt")
@dataclass(eq=False)
class Adapt(Classifier):
    """A linear discriminant whose means come from all images and from a bank of sure ones, times the text.

    `p = softmax(X Tᵀ/τ + log q)`. The bank B holds, of the images with `argmax p = c`, the 6 of least entropy.
    `m_c = (Σ_B p_ic x_i + Σ_all p_ic x_i)/(Σ_B p_ic + Σ_all p_ic)`, the first sums over the bank of class c;
    `μ_c = 0.9 m_c + 0.1 T_c`; `Λ = D ((n − 1) S + tr(S) I)⁻¹`, S the covariance `[D, D]` of the n images of the bank
    less their μ; then `P ∝ p · exp(x Λ μ_c − ½ μ_c Λ μ_c + Σ_B,c (x · x_i)/(2n))`, the last sum over the bank of
    class c. All in one step, without rounds. It reads the images as a set, at least 2; their order does not matter.
    The result is linear, and classifies new images too.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        confident: images of each class in the bank.
        image_share: of m_c in μ_c, at most 1.

    Returns:
        From `fit_predict`: scores `[N, C]`, the logarithms above times τ: cosines, and what the Gaussians add.

    Raises:
        InputError: for fewer than 2 images.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> Adapt().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Zhang et al. 2025, arXiv 2508.15568. The released code, which has no licence, divides the logs of the
    Gaussians by a scale that is set for each data set; here it is 1 for all. This is written from the formulas. The
    paper has no prior; here it enters p.
    Cost: 4 products `[N, D] x [D, C]`, and one solve of the size of the bank or of D.
    Chapter: ch-benchmark
    """

    temperature: float | None = None
    confident: int = 6
    image_share: float = 0.9
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = TextClassifier

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        log_p = text_logits(images, weights, temperature, prior).log_softmax(dim=1)
        x, text, p = images.double(), weights.double(), log_p.exp()
        labels, entropy = p.argmax(dim=1), -(p * log_p).sum(dim=1)
        order = entropy.argsort(stable=True)
        kept = _first_of_each(labels, order, self.confident, len(text))
        owner = F.one_hot(labels[kept], len(text)).to(x)
        near, sure = x[kept], owner * p[kept]
        means = (sure.T @ near + p.T @ x) / (sure.sum(dim=0) + p.sum(dim=0))[:, None]
        means = self.image_share * means + (1 - self.image_share) * text
        directions = shrunk_directions(near - means[labels[kept]], means)
        offset = log_shares(prior, len(text)).to(x) - (means * directions).sum(dim=1) / 2
        directions = directions + owner.T @ near / (2 * len(kept))
        lines = (text + temperature * directions).to(weights)
        return TextClassifier(lines, offset.to(weights), temperature), chosen


def _first_of_each(labels: Tensor, order: Tensor, count: int, classes: int) -> Tensor:
    """The first images of each class in an order `[N]`, at most `count`; class after class, with one read."""
    order = order[labels[order].argsort(stable=True)]
    owner = labels[order]
    first = torch.searchsorted(owner, torch.arange(classes, device=owner.device))
    return order[torch.arange(len(order), device=order.device) - first[owner] < count]


def shrunk_directions(spread: Tensor, means: Tensor) -> Tensor:
    """`D ((n − 1) S + tr(S) I)⁻¹ μ_c`, S the covariance of the rows: Gaussians with one covariance that few rows allow.

    Rows `[n, D]` are images less the mean of their class, means `[C, D]`, both float64. The smaller of the two systems,
    of n or of D unknowns, is solved.

    Source: Kubokawa and Srivastava 2008, the ridge estimator of a precision matrix.
    Chapter: ch-benchmark
    """
    n, d = spread.shape
    spread = spread - spread.mean(dim=0)
    ridge = (spread.square().sum() / max(n - 1, 1)).clamp_min(LEAST_SPREAD)
    if n < d:
        inner = spread @ spread.T + ridge * torch.eye(n).to(spread)
        return d / ridge * (means - torch.linalg.solve(inner, spread @ means.T).T @ spread)
    return d * torch.linalg.solve(spread.T @ spread + ridge * torch.eye(d).to(spread), means.T).T
