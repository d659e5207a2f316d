"""Description voting: every description of a class votes with its own cosine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.clip import TextClassifier, log_shares
from kpl_lib.classifiers.start import start_rows
from kpl_lib.features import TextBank


@register("description-vote")
@dataclass(eq=False)
class DescriptionVote(Classifier):
    """Classification by description: the mean cosine of an image with the descriptions of a class.

    `s_ic = (1/M_c) Σ_m x_i · t_cm = x_i · t̄_c`, `P = softmax(s/τ + log q)`. The mean t̄_c is not scaled to
    length 1, so a class with scattered descriptions scores lower; that is the difference from `cupl`.
    Each image is classified alone, new ones too; order and number do not matter.

    Args:
        text, k: which texts vote; the default is all descriptions.
        temperature: τ, in units of cosines.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> DescriptionVote().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Menon and Vondrick 2023, arXiv 2210.07183. It has no licence; this is written from the formula.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    text: str = "all"
    temperature: float = 0.01
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        rows, chosen = start_rows(bank, images, self.text, self.k)
        weights = torch.stack([group.mean(dim=0) for group in rows])
        return TextClassifier(weights, log_shares(prior, len(bank)).to(weights), self.temperature), chosen
