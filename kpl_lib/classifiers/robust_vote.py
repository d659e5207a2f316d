"""A robust vote: the mean over descriptions is CGBC's, which odd ones cannot move far; a control of the text side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.start import log_shares, start_rows, temperature_of
from kpl_lib.classifiers.zero_shot import DescriptionVote, TextClassifier
from kpl_lib.common.checks import check_same_space, check_unit_rows, working_dtype
from kpl_lib.features import TextBank


@dataclass(frozen=True, eq=False)
class RobustTexts(TextClassifier):
    """The texts that vote, `weights` `[ΣM_c, D]`, class after class, `counts` of each; the offset is `[C]`."""

    counts: Sequence[int]
    delta: float
    rho: float

    def scores(self, images: Tensor) -> Tensor:
        """The soft-trimmed mean cosine with the texts of each class, `+ τ log(C q)`, `[N, C]`."""
        check_unit_rows(images, "images")
        check_same_space(self.weights, images, "weights")
        votes = (images.double() @ self.weights.double().T).split(tuple(self.counts), dim=1)
        means = torch.stack([trimmed_mean(rows, self.delta, self.rho) for rows in votes], dim=1)
        return (means + self.temperature * self.offset).to(working_dtype(images, self.weights))


@register("robust-vote")
@dataclass(eq=False)
class RobustVote(DescriptionVote):
    """Classification by description, each vote pulled in to a width around the median vote.

    `s_ic = med_m v_m + (w/M_c) Σ_m ψ((v_m − med v)/w)`, `v_m = x_i · t_cm`, ψ cut at −1 and 1, `w = κ · MAD`, the
    median distance from the median, and `κ = max(1, √(2 log(2/δ)/(M_c ρ)))`; `P = softmax(s/τ + log q)`. Each image
    is classified alone, new ones too; order and number do not matter. With one text a class it is `clip`.

    Args:
        text, k: which texts vote; the default is all descriptions.
        temperature: τ, in units of cosines; None takes that of the encoder.
        delta: δ, the chance of a miss that the width allows for.
        rho: ρ, the share of a class's descriptions that count as independent.

    Returns:
        From `fit_predict`: scores s `[N, C]`, with `τ log(C q)` added.

    Raises:
        InputError: for a class without texts.

    Example:
        >>> texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> bank = TextBank(("cat", "dog"), [texts, texts.flip(1)], torch.eye(2))
        >>> RobustVote().fit_predict(torch.eye(2), bank).scores.tolist()  # the odd vote of each class is gone
        [[1.0, 0.0], [0.0, 1.0]]

    Source: Liu et al. 2026, arXiv 2603.07911 (CGBC), its mean alone: the paper also lets a language model write the
    concepts, and picks diverse ones. Its code has no licence; this is written from the formula, and δ and ρ are
    choices made here.
    Cost: one product `[N, D] x [D, ΣM_c]`, and 2 sorts of it.
    Chapter: ch-benchmark
    """

    delta: float = 0.05
    rho: float = 0.5
    model_type: ClassVar[type] = RobustTexts

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        rows, chosen = start_rows(bank, images, self.text, self.k)
        texts = torch.cat(rows)
        offset = log_shares(prior, len(bank)).to(texts.device)
        counts = tuple(len(group) for group in rows)
        temperature = temperature_of(bank, self.temperature)
        model = RobustTexts(texts, offset, temperature, counts, self.delta, self.rho)
        return model, chosen


def trimmed_mean(values: Tensor, delta: float, rho: float) -> Tensor:
    """The mean of values `[N, M]` over M, each cut at `w` from the median: `[N]`."""
    middle = _median(values)
    apart = values - middle
    width = max(1.0, math.sqrt(2 * math.log(2 / delta) / (values.shape[1] * rho))) * _median(apart.abs())
    return (middle + apart.clamp(-width, width)).mean(dim=1)


def _median(values: Tensor) -> Tensor:
    """`[N, 1]`; of an even number, the mean of the two in the middle."""
    ordered, count = values.sort(dim=1).values, values.shape[1]
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2])[:, None] / 2
