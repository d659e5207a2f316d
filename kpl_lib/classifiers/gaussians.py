"""What TransCLIP and StatA share: Gaussians of the classes, with the text and with neighbours, in turns."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier
from kpl_lib.classifiers.clip import log_shares, text_logits
from kpl_lib.classifiers.neighbours import at_most, nearest
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank
from kpl_lib.validation import check_images, check_same_space, working_dtype

LEAST_VARIANCE = 1e-9  # of a feature, of unit vectors: constant features have none


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


def log_densities(images: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """`l_ic = −½ Σ_d ((x_id − μ_cd)²/σ_cd + log σ_cd)`, `[N, C]`; all float64."""
    precision = 1 / variances
    squares = images**2 @ precision.T - 2 * images @ (means * precision).T + (means**2 * precision).sum(dim=1)
    return -(squares + variances.log().sum(dim=1)) / 2


def weighted_moments(images: Tensor, z: Tensor, means: Tensor) -> Tensor:
    """`Σ_i z_ic (x_id − μ_cd)²`, `[C, D]`; all float64."""
    return z.T @ images**2 - 2 * means * (z.T @ images) + z.sum(dim=0)[:, None] * means**2


@dataclass(eq=False)
class GaussianMixture(Classifier):
    """Methods that differ only in how they `_open` with, and `_renew`, means and variances."""

    temperature: float = 0.01
    confident: int = 8
    neighbours: int = 3
    rounds: int = 10
    turns: int = 5
    softness: float = 50.0
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = GaussianClassifier

    @abstractmethod
    def _open(self, x: Tensor, z: Tensor, text: Tensor) -> Tensor:
        """First variances `[C, D]`."""

    @abstractmethod
    def _renew(self, x: Tensor, z: Tensor, text: Tensor, opened: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances `[C, D]` from the assignments z `[N, C]`."""

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        log_text = text_logits(images, weights, self.temperature, prior).log_softmax(dim=1)
        x, text, z = images.double(), weights.double(), log_text.exp()
        links = at_most(self.neighbours, len(x) - 1, "neighbours")
        graph = nearest(images, images, links, themselves=True)
        top = z.topk(at_most(self.confident, len(x), "confident"), dim=0).indices
        means = F.normalize(x[top].mean(dim=0), dim=1)
        opened = variances = self._open(x, z, text).clamp_min(LEAST_VARIANCE)
        for _ in range(self.rounds):
            own = log_text + log_densities(x, means, variances) / self.softness
            for _ in range(self.turns):
                around = graph.pull(z) + graph.push(z, len(x))
                self.joint = (own + around / (2 * links)).log_softmax(dim=1)
                z = self.joint.exp()
            means, variances = self._renew(x, z, text, opened)
            variances = variances.clamp_min(LEAST_VARIANCE)
        self.joint = self.joint.to(working_dtype(images, weights))
        offset = log_shares(prior, len(bank)).to(weights)
        model = GaussianClassifier(weights, offset, means, variances, self.temperature, self.softness)
        return model, chosen
