"""KPL as published: knowledge-enhanced text proxies, balanced pseudo labels, vision proxies."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.gradient_proxies import GradientProxies
from kpl_lib.transport import sinkhorn


@register("kpl")
@dataclass(eq=False)
class KPL(GradientProxies):
    """KPL as published: the transport is run to its fixed point, then the proxies take gradient steps.

    `Y = Sinkhorn(X Tᵀ / τ_t, q)`; `P = softmax(X Wᵀ / τ_i)`; `W ← normalize(W − lr/(N τ_i) (P − Y)ᵀ X)`.
    It reads the images as a set: at least 2, better 10 a class; their order does not matter. The fitted proxies
    classify new images. A uniform prior q is an assumption. On the same texts it is `inmap-sinkhorn`, run to
    convergence.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the transport, in units of cosines.
        temperature: τ_i of the steps, in units of cosines.
        learning_rate: lr, halved whenever the gradient grows.
        steps: how many.
        confidence: α; pseudo labels above it become one-hot.
        tolerance: largest L1 error of the class shares (of 1) where the transport stops; a miss is a warning.
        sweeps: the most sweeps of the transport.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPL(k=1, steps=10).fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Liu et al. 2025, arXiv 2501.11231. The released code stops its transport after 20 single updates, long
    before it has converged. It has no licence; this is written from the formulas.
    Cost: 2 products `[N, D] x [D, C]` a step.
    Chapter: ch-one-sitting, ch-benchmark
    """

    text: str = "top-k"
    tolerance: float = 1e-4
    sweeps: int = 10_000

    def _labels(self, cosines: Tensor, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"iterations": self.sweeps, "tolerance": self.tolerance}
        return sinkhorn(cosines, temperature=self.text_temperature, prior=prior, **rule).pseudo_labels
