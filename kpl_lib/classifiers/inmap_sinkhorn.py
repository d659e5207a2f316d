"""InMaP: vision proxies from pseudo labels that Sinkhorn sweeps have balanced."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.gradient_proxies import GradientProxies
from kpl_lib.transport import sinkhorn


@register("inmap-sinkhorn")
@dataclass(eq=False)
class InMaPSinkhorn(GradientProxies):
    """Vision proxies fitted to balanced pseudo labels.

    `Y = 20 sweeps of Sinkhorn(X Tᵀ/τ_t, q)` from the row softmax, columns first; then the steps of `inmap`.
    Run to convergence, and on the same texts, this is `kpl`. It reads the images as a set, at least 2; their
    order does not matter. The fitted proxies classify new images.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        text_temperature: τ_t of the transport, in units of cosines.
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

    def _labels(self, cosines: Tensor, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"temperature": self.text_temperature, "iterations": self.sweeps}
        return sinkhorn(cosines, prior=prior, **rule).pseudo_labels
