"""KPL as its released code computes it: the transport stops after 20 single updates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.gradient_proxies import GradientProxies
from kpl_lib.transport import greenkhorn


@register("kpl-released")
@dataclass(eq=False)
class KPLReleased(GradientProxies):
    """KPL as released: 20 greedy updates from the row softmax, returned as they are, then the steps of `kpl`.

    The plan has mass about 1 instead of N, so the steps see labels of about `1/N` of the size that `kpl` gives
    them. With more than 20 classes, only 20 columns are scaled at all and the others keep their mass. It reads the
    images as a set, at least 2. Its last updates go to the row that is furthest off, and of near ties the first:
    another order of the images moves probabilities by about 1 %. The fitted proxies classify new images. A prior
    hardly moves labels: it weighs the columns of the plan, but the cut still goes through the mean image.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the transport, in units of cosines.
        temperature: τ_i of the steps, in units of cosines.
        learning_rate: lr, halved whenever the gradient grows.
        steps: how many.
        confidence: α; pseudo labels above it become one-hot.
        updates: greedy updates of a single row or column.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLReleased(k=1, steps=10).fit(torch.eye(2).repeat(9, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: Liu et al. 2025, arXiv 2501.11231, and what its code returns. It has no licence; this is written from
    the formulas.
    Cost: 2 products `[N, D] x [D, C]` a step.
    Chapter: ch-transport, ch-closed-form, ch-benchmark
    """

    text: str = "top-k"
    updates: int = 20
    order_free: ClassVar[bool] = False

    def _labels(self, cosines: Tensor, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"temperature": self.text_temperature, "iterations": self.updates, "start": "released"}
        return greenkhorn(cosines, prior=prior, **rule).pseudo_labels
