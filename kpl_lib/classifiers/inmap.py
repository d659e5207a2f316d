"""InMaP without transport: vision proxies from the softmax of the text proxies."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.clip import log_shares
from kpl_lib.classifiers.gradient_proxies import GradientProxies


@register("inmap")
@dataclass(eq=False)
class InMaP(GradientProxies):
    """Vision proxies fitted to the zero-shot probabilities.

    `Y = softmax(X Tᵀ/τ_t + log q)`; `P = softmax(X Wᵀ/τ_i)`; `W ← normalize(W − lr/(N τ_i) (P − Y)ᵀ X)`.
    It reads the images as a set, at least 2; their order does not matter. The fitted proxies classify new images.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        text_temperature: τ_t of the pseudo labels, in units of cosines.
        temperature: τ_i of the steps, in units of cosines.
        learning_rate: lr, halved whenever the gradient grows.
        steps: how many.
        confidence: α; pseudo labels above it become one-hot.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> InMaP(steps=10).fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Qian et al. 2023, arXiv 2310.19752 (Apache-2.0). The paper has no prior; here it enters the softmax.
    Cost: 2 products `[N, D] x [D, C]` a step.
    Chapter: ch-benchmark
    """

    def _labels(self, cosines: Tensor, prior: Tensor | Sequence[float] | None) -> Tensor:
        shift = log_shares(prior, cosines.shape[1]).to(cosines)
        return (cosines / self.text_temperature + shift).softmax(dim=1)
