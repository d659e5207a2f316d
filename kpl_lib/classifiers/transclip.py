"""TransCLIP without shots: a Gaussian a class, the zero-shot probabilities, and nearest neighbours, in turns.

StatA anchors the Gaussians to the texts, the more so the fewer images a class has. Both are a
`GaussianMixture`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.gaussians import (
    LEAST_VARIANCE,
    confident_means,
    counts_of,
    log_densities,
    weighted_moments,
)
from kpl_lib.classifiers.neighbours import at_most, nearest_rows
from kpl_lib.classifiers.start import log_shares, start, temperature_of, text_logits
from kpl_lib.common.checks import check_images, check_same_space, working_dtype
from kpl_lib.features import TextBank


@dataclass(frozen=True, eq=False)
class GaussianClassifier:
    """Text proxies and one Gaussian a class.

    Args:
        weights: unit text proxies `[C, D]`.
        offset: `log(C q)` `[C]`.
        means, variances: of the Gaussians, `[C, D]`, float64.
        temperature: τ, in units of cosines.
        softness: what log densities are divided by.
    """

    weights: Tensor
    offset: Tensor
    means: Tensor
    variances: Tensor
    temperature: float
    softness: float

    def scores(self, images: Tensor) -> Tensor:
        """`log softmax(X Tᵀ/τ + log q + l/softness)`, `[N, C]`: text and densities, without neighbours."""
        check_images(images, minimum=1)
        check_same_space(self.weights, images, "weights")
        logits = text_logits(images, self.weights, self.temperature, None) + self.offset.double()
        logits = logits + log_densities(images.double(), self.means, self.variances) / self.softness
        return logits.log_softmax(dim=1).to(working_dtype(images, self.weights))

    def probabilities(self, images: Tensor) -> Tensor:
        """`softmax(scores)`, `[N, C]`."""
        return self.scores(images).softmax(dim=1)


@dataclass(eq=False)
class GaussianMixture(Classifier):
    """Methods that differ only in how they `_open` with, and `_renew`, means and variances."""

    temperature: float | None = None
    confident: int = 8
    neighbours: int = 3
    rounds: int = 10
    turns: int = 5
    softness: float = 50.0
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = GaussianClassifier

    @abstractmethod
    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """First means and variances `[C, D]` from the zero-shot probabilities z `[N, C]`."""

    @abstractmethod
    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances `[C, D]` from the assignments z `[N, C]`."""

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        log_text = text_logits(images, weights, temperature, prior).log_softmax(dim=1)
        x, text, z = images.double(), weights.double(), log_text.exp()
        links = at_most(self.neighbours, len(x) - 1, "neighbours")
        graph = nearest_rows(images, images, links, themselves=True)
        means, opened = self._open(x, z, text)
        variances = opened.clamp_min(LEAST_VARIANCE)
        for turn in range(self.rounds + 1):
            own = log_text + log_densities(x, means, variances) / self.softness
            for _ in range(self.turns):
                around = graph.pull(z) + graph.push(z, len(x))
                self.joint = (own + around / (2 * links)).log_softmax(dim=1)
                z = self.joint.exp()
            if turn < self.rounds:
                means, renewed = self._renew(x, z, text, opened)
            if turn < self.rounds - 1:
                variances = renewed.clamp_min(LEAST_VARIANCE)
        self.joint = self.joint.to(working_dtype(images, weights))
        offset = log_shares(prior, len(bank)).to(weights)
        model = GaussianClassifier(weights, offset, means, variances, temperature, self.softness)
        return model, chosen


@register("transclip")
@dataclass(eq=False)
class TransCLIP(GaussianMixture):
    """Assignments that agree with the text, with Gaussians of the classes, and between neighbours.

    `ŷ = softmax(X Tᵀ/τ + log q)`, z = ŷ; `μ_c = norm(Σ ŷ_ic x_i)` over the 8 most confident images, one variance a
    feature, σ = 1/D. Ten times: `l_ic = −½ Σ_d (x_id − μ_cd)²/σ_d`; five times
    `z ← norm(ŷ · exp(l/50 + (Aᵀz + A z)/(2·3)))`, with A the cosines of the 3 nearest images; then
    `μ = norm(mean of x under z)`, σ the variance under z. At the end z is found once more, with the last means.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives the joint z. `predict`
    places images one by one, by text and Gaussians: a new image has no place in the graph.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        confident: images that open each mean.
        neighbours: of each image in the graph.
        rounds, turns: of the Gaussians, and of z within each.
        softness: what log densities are divided by, 50.

    Example:
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> TransCLIP().fit_predict(torch.eye(2).repeat(9, 1), bank).labels[:4].tolist()
        [0, 1, 0, 1]

    Source: Zanella et al. 2024, arXiv 2406.01837. Its code is AGPL; this is written from the formulas, and reaches
    the figures of the release: there, confident images are weighed by their probability, and z is found an eleventh
    time, with the variances of the round before. The paper has no prior; here it enters ŷ.
    Cost: one product `[N, D] x [D, N]`, and 5 of `[N, D] x [D, C]` a round.
    Chapter: ch-benchmark
    """

    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return confident_means(x, z, self.confident), torch.full_like(text, 1 / x.shape[1])

    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        means = F.normalize(z.T @ x, dim=1)
        return means, (weighted_moments(x, z, means).sum(dim=0) / len(x)).expand_as(means)


@register("stata")
@dataclass(eq=False)
class StatA(GaussianMixture):
    """TransCLIP with text anchors, and with variances of each class.

    The means open at the texts, μ = T. `β_c = N_c/(1 + N_c)`, with N_c the images whose largest z is that of class c;
    `μ_c = norm(β_c norm(mean) + (1 − β_c) T_c)`; `σ_c = β_c var + (1 − β_c)(σ⁰ + (T_c − μ_c)²)`; the densities get
    `−½ Σ_d log σ_cd`. The anchor's variance is one average over all images,
    `σ⁰ = (1/N) Σ_i Σ_c ŷ_ic (x_i − T_c)²`. All else as in `transclip`. A class that loses its last image falls back
    to its text and hardly ever wins again; soft counts never reach zero.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives the joint z. `predict`
    places images one by one, by text and Gaussians: a new image has no place in the graph.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        confident: images that open each mean, where `initial_means` says so.
        neighbours: of each image in the graph.
        rounds, turns: of the Gaussians, and of z within each.
        softness: what log densities are divided by, 50.
        anchor: N_c at which images and text weigh the same, in images.
        initial_means: `text`, as released, or `confident`: the most confident images, as in `transclip`.
        soft_counts: count `N_c = Σ_i z_ic`, which no script of the authors does.

    Example:
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> StatA().fit_predict(torch.eye(2).repeat(9, 1), bank).labels[:4].tolist()
        [0, 1, 0, 1]

    Source: Zanella et al. 2025, arXiv 2501.03729. Its code is AGPL; this is written from the formulas, with the
    defaults of the release. Soft counts with either start were better on real histology (9 classes, 1,000 images).
    The paper has no prior; here it enters ŷ.
    Cost: one product `[N, D] x [D, N]`, and 6 of `[N, D] x [D, C]` a round.
    Chapter: ch-benchmark
    """

    anchor: float = 1.0
    initial_means: str = "text"
    soft_counts: bool = False
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"initial_means": ("text", "confident")}

    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        means = text if self.initial_means == "text" else confident_means(x, z, self.confident)
        return means, (weighted_moments(x, z, text).sum(dim=0) / len(x)).expand_as(text)

    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        mass = z.sum(dim=0)[:, None].clamp_min(torch.finfo(z.dtype).tiny)
        count = mass if self.soft_counts else counts_of(z.argmax(dim=1), len(text))[:, None]
        share = count / (self.anchor + count)
        means = F.normalize(share * F.normalize(z.T @ x / mass, dim=1) + (1 - share) * text, dim=1)
        spread = weighted_moments(x, z, means) / mass
        return means, share * spread + (1 - share) * (opened + (text - means) ** 2)
