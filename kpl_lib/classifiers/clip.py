"""Zero-shot CLIP: one text proxy a class, the nearest one wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank
from kpl_lib.validation import check_prior, check_same_space, check_unit_rows, working_dtype


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


def text_logits(
    images: Tensor, weights: Tensor, temperature: float, prior: Tensor | Sequence[float] | None
) -> Tensor:
    """`X Tᵀ / τ + log(C q)`, float64 `[N, C]`: the logits of zero-shot CLIP, for methods that go on from them."""
    dtype = working_dtype(images, weights)
    cosines = (images.to(dtype) @ weights.to(dtype).T).double()
    return cosines / temperature + log_shares(prior, len(weights)).to(cosines)


def log_shares(prior: Tensor | Sequence[float] | None, classes: int) -> Tensor:
    """`log(C q)`, float64 `[C]` on the CPU; zeros for a uniform prior."""
    return (classes * check_prior(prior, classes)).log()


@register("clip")
@dataclass(eq=False)
class Clip(Classifier):
    """Zero-shot CLIP with one prompt for each class name.

    `P = softmax(X Tᵀ / τ + log q)`. Each image is classified alone, new ones too, so order and number do not
    matter.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; 0.01 is what CLIP was trained with.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)] * 2, torch.eye(2))
        >>> Clip().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Radford et al. 2021, arXiv 2103.00020.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-zero-shot
    """

    temperature: float = 0.01
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        return TextClassifier(weights, log_shares(prior, len(bank)).to(weights), self.temperature), chosen
