"""A linear score of the image plus the evidence of the text: what kpl-em and kpl-adaptive predict with."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.validation import check_same_space, check_unit_rows, working_dtype

BLOCK = 1 << 14  # images scored together


@dataclass(frozen=True, eq=False)
class EvidenceModel:
    """Scores `x · w_c + b_c + λ (log softmax_c(x Tᵀ/τ) − m_c)`, in nats.

    Args:
        weights: w, float64 `[C, D]`.
        offsets: b, `[C]`.
        text: unit text proxies T `[C, D]`.
        log_mass: m, log mean text probability of each class, `[C]`.
        shares: class shares that the fit ended with, `[C]`.
        strength: λ.
        temperature: τ.
        moved: whether the fit left the text proxies; False gives the text proxies alone.
        support: how much better C Gaussians describe the images than one, in nats an image; nan where not asked.
        names, halves: agreement of the text, see `kpl_lib.agreement`; nan where not asked.

    Chapter: ch-failures
    """

    weights: Tensor
    offsets: Tensor
    text: Tensor
    log_mass: Tensor
    shares: Tensor
    strength: float
    temperature: float
    moved: bool = True
    support: float = float("nan")
    names: float = float("nan")
    halves: float = float("nan")

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images `[N, D]`, fitted or new: `[N, C]`."""
        check_unit_rows(images, "images")
        check_same_space(self.weights, images, "weights")
        return torch.cat([self._block(x.double()) for x in images.split(BLOCK)]).to(working_dtype(images))

    def _block(self, x: Tensor) -> Tensor:
        told = (x @ self.text.double().T / self.temperature).log_softmax(dim=1) - self.log_mass
        return x @ self.weights.T + self.offsets + self.strength * told

    def probabilities(self, images: Tensor) -> Tensor:
        """`softmax(scores)`, `[N, C]`."""
        return self.scores(images).softmax(dim=1)


def text_alone(text: Tensor, temperature: float, **found) -> EvidenceModel:
    """The model that stays with the text proxies: scores `log softmax(x Tᵀ/τ)`.

    Args:
        text: unit text proxies `[C, D]`.
        temperature: τ.
        found: what else was measured, such as `support`.

    Returns:
        A model whose fitted part is zero.

    Chapter: ch-failures
    """
    none = torch.zeros(len(text), dtype=torch.float64, device=text.device)
    weights, shares = torch.zeros_like(text, dtype=torch.float64), torch.full_like(none, 1 / len(text))
    return EvidenceModel(weights, none, text, none, shares, 1.0, temperature, moved=False, **found)
