"""What InMaP and KPL share: pseudo labels from the text proxies, then gradient steps on vision proxies."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank
from kpl_lib.validation import working_dtype
from kpl_lib.vision_proxies import VisionProxies, fit_proxies


@dataclass(eq=False)
class GradientProxies(Classifier):
    """Methods that differ only in their pseudo labels `_labels`, and in the texts that they start from."""

    transductive: ClassVar[bool] = True
    text_temperature: float = 0.01
    temperature: float = 0.04
    learning_rate: float = 10.0
    steps: int = 2000
    confidence: float = 0.6
    model_type: ClassVar[type] = VisionProxies

    @abstractmethod
    def _labels(self, cosines: Tensor, prior: Tensor | Sequence[float] | None) -> Tensor:
        """Pseudo labels `[N, C]` from the cosines `[N, C]` with the text proxies."""

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        proxies = fit_proxies(
            images,
            weights,
            self._labels(cosines(images, weights), prior),
            temperature=self.temperature,
            learning_rate=self.learning_rate,
            steps=self.steps,
            confidence=self.confidence,
        )
        return proxies, chosen


def cosines(images: Tensor, weights: Tensor) -> Tensor:
    """`X Tᵀ`, `[N, C]`, at least in float32."""
    dtype = working_dtype(images, weights)
    return images.to(dtype) @ weights.to(dtype).T
