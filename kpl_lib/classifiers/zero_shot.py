"""Text alone: zero-shot CLIP, CuPL, description voting, and WaffleCLIP's random words as the control for every gain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import log_shares, start, start_rows, temperature_of
from kpl_lib.common.checks import check_same_space, check_unit_rows, working_dtype
from kpl_lib.features import TextBank


@dataclass(frozen=True, eq=False)
class TextClassifier:
    """Fixed class vectors with offsets.

    Args:
        weights: T `[C, D]`, unit text proxies for most methods.
        offset: g `[C]`, what is added to the logits of each class; `log(C q)` for class shares q.
        temperature: τ, in units of cosines.
    """

    weights: Tensor
    offset: Tensor
    temperature: float

    def scores(self, images: Tensor) -> Tensor:
        """`X Tᵀ + τ g`, `[N, C]`: plain cosines under a uniform prior."""
        check_unit_rows(images, "images")
        check_same_space(self.weights, images, "weights")
        dtype = working_dtype(images, self.weights)
        return images.to(dtype) @ self.weights.to(dtype).T + self.temperature * self.offset.to(dtype)

    def probabilities(self, images: Tensor) -> Tensor:
        """`softmax(scores / τ)`, `[N, C]`."""
        return (self.scores(images) / self.temperature).softmax(dim=1)


@register("clip")
@dataclass(eq=False)
class Clip(Classifier):
    """Zero-shot CLIP with one prompt for each class name.

    `P = softmax(X Tᵀ / τ + log q)`. Each image is classified alone, new ones too, so order and number do not
    matter.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder, 0.01 of CLIP.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)] * 2, torch.eye(2))
        >>> Clip().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Radford et al. 2021, arXiv 2103.00020.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-zero-shot
    """

    temperature: float | None = None
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        return TextClassifier(weights, log_shares(prior, len(bank)).to(weights), temperature), chosen


@register("cupl")
@dataclass(eq=False)
class CuPL(Clip):
    """Zero-shot CLIP with all descriptions in place of the class name.

    `T_c = normalize(mean_m t_cm)`, then as CLIP.

    Args:
        text, k: where the text proxies come from; the default is all descriptions.
        temperature: τ, in units of cosines; None takes that of the encoder.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> CuPL().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Pratt et al. 2023, arXiv 2209.03320. It has no licence; this is written from the formula. Each image is
    classified alone, new ones too; order and number do not matter.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-zero-shot
    """

    text: str = "all"


@register("description-vote")
@dataclass(eq=False)
class DescriptionVote(Classifier):
    """Classification by description: the mean cosine of an image with the descriptions of a class.

    `s_ic = (1/M_c) Σ_m x_i · t_cm = x_i · t̄_c`, `P = softmax(s/τ + log q)`. The mean t̄_c is not scaled to
    length 1, so a class with scattered descriptions scores lower; that is the difference from `cupl`.
    Each image is classified alone, new ones too; order and number do not matter.

    Args:
        text, k: which texts vote; the default is all descriptions.
        temperature: τ, in units of cosines; None takes that of the encoder.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> DescriptionVote().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Menon and Vondrick 2023, arXiv 2210.07183. It has no licence; this is written from the formula.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    text: str = "all"
    temperature: float | None = None
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        rows, chosen = start_rows(bank, images, self.text, self.k)
        weights = torch.stack([group.mean(dim=0) for group in rows])
        temperature = temperature_of(bank, self.temperature)
        return TextClassifier(weights, log_shares(prior, len(bank)).to(weights), temperature), chosen


@register("waffle")
@dataclass(eq=False)
class Waffle(DescriptionVote):
    """Description voting with random words in the sentences of the descriptions.

    `s_ic = (1/R) Σ_r x_i · t_cr`, with R sentences that name the class and are the same nonsense for every class.
    The bank must hold them: `kpl_lib.knowledge.controls.with_controls(bank, kb, encoder.encode_texts)` encodes as
    many as a class has descriptions, for each seed, and the mean over R is the mean over the seeds.
    Each image is classified alone, new ones too; order and number do not matter.

    Args:
        text, k: which texts vote; the default is the random words.
        temperature: τ, in units of cosines; None takes that of the encoder.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> rows = tuple(torch.eye(2)[:, None])
        >>> bank = TextBank(("cat", "dog"), rows, torch.eye(2), controls={"random": rows})
        >>> Waffle().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Roth et al. 2023, arXiv 2306.07282 (MIT); the released code averages accuracies over seeds, here the
    scores are averaged.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    text: str = "random"
