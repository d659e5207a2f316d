"""SS-Text-U without shots: text proxies moved towards the balanced means of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import cosines, start
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.common.checks import working_dtype
from kpl_lib.features import TextBank
from kpl_lib.transport import sinkhorn


@register("ss-text")
@dataclass(eq=False)
class SSText(Classifier):
    """Alternate balanced pseudo labels and class vectors, the latter in closed form.

    Three times: `Z = Sinkhorn(X Ŵᵀ/τ, q)`, `W = T + (1/τ)(1/N) Zᵀ X`, `Ŵ = normalize(W)`; then `softmax(X Ŵᵀ/τ)`.
    It reads the images as a set, at least 2; their order does not matter. The vectors classify new images, one by
    one: the prior shapes them, but no longer holds the class shares.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines.
        iterations: pairs of pseudo labels and vectors.
        sweeps: of the transport, in each.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> SSText().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Silva-Rodríguez and Konukoglu 2026, SS-Text-U (MIT), the unlabelled half alone: there, labelled images
    are a further term of W.
    Cost: 6 products `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    temperature: float = 0.01
    iterations: int = 3
    sweeps: int = 10
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = TextClassifier

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        text, chosen = start(bank, images, self.text, self.k)
        text = text.to(working_dtype(images, text))
        weights, rule = text, {"temperature": self.temperature, "iterations": self.sweeps}
        for _ in range(self.iterations):
            labels = sinkhorn(cosines(images, weights), prior=prior, **rule).pseudo_labels
            pull = labels.T @ images.to(labels.dtype) / len(images)
            weights = F.normalize(text + pull / self.temperature, dim=1)
        return TextClassifier(weights, weights.new_zeros(len(weights)), self.temperature), chosen
