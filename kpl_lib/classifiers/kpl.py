"""KPL: knowledge-enhanced text proxies, balanced pseudo labels, vision proxies.

As published (`kpl`), as its released code computes it, where transport stops after 20 single updates (`kpl-released`),
and with one linear solve in place of the steps (`kpl-closed-form`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.inmap import GradientProxies
from kpl_lib.classifiers.start import cosines, start, temperature_of
from kpl_lib.features import TextBank
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import VisionProxies, ridge_proxies


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
        text_temperature: τ_t of the transport, in units of cosines; None takes that of the encoder.
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

    def _labels(self, cosines: Tensor, temperature: float, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"iterations": self.sweeps, "tolerance": self.tolerance}
        return sinkhorn(cosines, temperature=temperature, prior=prior, **rule).pseudo_labels


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
        text_temperature: τ_t of the transport, in units of cosines; None takes that of the encoder.
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
    text_temperature: float | None = None
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
        rule = {"temperature": temperature_of(bank, self.text_temperature), "prior": prior}
        if self.plan == "released":
            labels = greenkhorn(logits, iterations=self.updates, start="released", **rule).pseudo_labels
        else:
            found = sinkhorn(logits, iterations=self.sweeps, tolerance=self.tolerance, **rule)
            labels = found.pseudo_labels / len(images)
        proxies = ridge_proxies(images, labels, temperature=self.temperature, intercept=self.intercept)
        return proxies, chosen


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
        text_temperature: τ_t of the transport, in units of cosines; None takes that of the encoder.
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

    def _labels(self, cosines: Tensor, temperature: float, prior: Tensor | Sequence[float] | None) -> Tensor:
        rule = {"temperature": temperature, "iterations": self.updates, "start": "released"}
        return greenkhorn(cosines, prior=prior, **rule).pseudo_labels
