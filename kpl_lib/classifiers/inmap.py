"""InMaP: vision proxies by gradient steps, from the softmax of the text proxies or from labels balanced by Sinkhorn.

`GradientProxies` is what InMaP and KPL share: pseudo labels from the text proxies, then the steps.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import cosines, log_shares, start, temperature_of
from kpl_lib.features import TextBank
from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import VisionProxies, fit_proxies


@dataclass(eq=False)
class GradientProxies(Classifier):
    """Methods that differ only in their pseudo labels `_labels`, and in the texts that they start from."""

    transductive: ClassVar[bool] = True
    text_temperature: float | None = None
    temperature: float = 0.04
    learning_rate: float = 10.0
    steps: int = 2000
    confidence: float = 0.6
    model_type: ClassVar[type] = VisionProxies

    @abstractmethod
    def _labels(self, cosines: Tensor, temperature: float, prior: Tensor | Sequence[float] | None) -> Tensor:
        """Pseudo labels `[N, C]` from the cosines `[N, C]` with the text proxies, at τ_t."""

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.text_temperature)
        proxies = fit_proxies(
            images,
            weights,
            self._labels(cosines(images, weights), temperature, prior),
            temperature=self.temperature,
            learning_rate=self.learning_rate,
            steps=self.steps,
            confidence=self.confidence,
        )
        return proxies, chosen


@register("inmap")
@dataclass(eq=False)
class InMaP(GradientProxies):
    """Vision proxies fitted to the zero-shot probabilities.

    `Y = softmax(X Tᵀ/τ_t + log q)`; `P = softmax(X Wᵀ/τ_i)`; `W ← normalize(W − lr/(N τ_i) (P − Y)ᵀ X)`.
    It reads the images as a set, at least 2; their order does not matter. The fitted proxies classify new images.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        text_temperature: τ_t of the pseudo labels, in units of cosines; None takes that of the encoder.
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

    def _labels(self, cosines: Tensor, temperature: float, prior: Tensor | Sequence[float] | None) -> Tensor:
        shift = log_shares(prior, cosines.shape[1]).to(cosines)
        return (cosines / temperature + shift).softmax(dim=1)


@register("inmap-sinkhorn")
@dataclass(eq=False)
class InMaPSinkhorn(GradientProxies):
    """Vision proxies fitted to balanced pseudo labels.

    `Y = 20 sweeps of Sinkhorn(X Tᵀ/τ_t, q)` from the row softmax, columns first; then the steps of `inmap`.
    Run to convergence, and on the same texts, this is `kpl`. It reads the images as a set, at least 2; their
    order does not matter. The fitted proxies classify new images.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        text_temperature: τ_t of the transport, in units of cosines; None takes that of the encoder.
        temperature: τ_i of the steps, in units of cosines.
        learning_rate: lr, halved whenever the gradient grows.
        steps: how many.
        confidence: α; pseudo labels above it become one-hot.
        sweeps: of the transport, columns then rows.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> InMaPSinkhorn(steps=10).fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Qian et al. 2023, arXiv 2310.19752 (Apache-2.0).
    Cost: 2 products `[N, D] x [D, C]` a step.
    Chapter: ch-benchmark
    """

    sweeps: int = 20

    def _labels(self, cosines: Tensor, temperature: float, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"temperature": temperature, "iterations": self.sweeps}
        return sinkhorn(cosines, prior=prior, **rule).pseudo_labels
