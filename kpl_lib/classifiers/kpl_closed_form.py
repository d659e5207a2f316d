"""KPL with one linear solve in place of the steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.gradient_proxies import cosines
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import VisionProxies, ridge_proxies


@register("kpl-closed-form")
@dataclass(eq=False)
class KPLClosedForm(Classifier):
    """Where the steps of the released code end: ridge regression of the pseudo labels.

    `(S̃ + τ_i ‖u‖ I)(δ_j − δ̄) = (τ_i/N)(b_j − b̄)`, with `b_j = C Σ_i Y_ij x̃_i` and S̃ the scatter, both of the
    images without their part along the mean image u. It reads the images as a set, at least 2; their order
    matters only where the released plan breaks near ties by it. The directions classify new images. Without an
    intercept a prior hardly moves labels: the cut goes through the mean image.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        plan: Y. `released` is the plan of `kpl-released`; `converged` is the plan of `kpl`, divided by N, as the
            derivation needs labels of mass 1.
        text_temperature: τ_t of the transport, in units of cosines.
        temperature: τ_i of the ridge, in units of cosines.
        tolerance: of the `converged` plan: largest L1 error of the class shares (of 1); a miss is a warning.
        sweeps: of the `converged` plan, at most.
        updates: of the `released` plan.
        intercept: also add the offsets of a linear discriminant; helps where classes are many.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLClosedForm(k=1).fit(torch.eye(2).repeat(50, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: derived for this project.
    Cost: one solve, D x D or N x N.
    Chapter: ch-closed-form, ch-benchmark
    """

    text: str = "top-k"
    plan: str = "released"
    text_temperature: float = 0.01
    temperature: float = 0.04
    tolerance: float = 1e-4
    sweeps: int = 10_000
    updates: int = 20
    intercept: bool = False
    transductive: ClassVar[bool] = True
    order_free: ClassVar[bool] = False
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"plan": ("released", "converged")}
    model_type: ClassVar[type] = VisionProxies

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        logits = cosines(images, weights)
        rule = {"temperature": self.text_temperature, "prior": prior}
        if self.plan == "released":
            labels = greenkhorn(logits, iterations=self.updates, start="released", **rule).pseudo_labels
        else:
            found = sinkhorn(logits, iterations=self.sweeps, tolerance=self.tolerance, **rule)
            labels = found.pseudo_labels / len(images)
        proxies = ridge_proxies(images, labels, temperature=self.temperature, intercept=self.intercept)
        return proxies, chosen
