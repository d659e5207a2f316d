"""KPL: knowledge-enhanced text proxies, balanced pseudo labels, vision proxies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank
from kpl_lib.transport import sinkhorn
from kpl_lib.validation import working_dtype
from kpl_lib.vision_proxies import VisionProxies, fit_proxies, ridge_proxies


@dataclass(eq=False)
class _Transported(Classifier):
    """The part that both share: top-k text proxies, then transport run until it has converged."""

    text: str = "top-k"
    transductive: ClassVar[bool] = True
    text_temperature: float = 0.01
    temperature: float = 0.04
    tolerance: float = 1e-4
    sweeps: int = 10_000
    model_type: ClassVar[type] = VisionProxies

    def _transport(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        """Text proxies `[C, D]`, chosen descriptions, and the transport plan with pseudo labels `[N, C]`."""
        weights, chosen = start(bank, images, self.text, self.k)
        dtype = working_dtype(images, weights)
        logits = images.to(dtype) @ weights.to(dtype).T
        plan = sinkhorn(
            logits,
            temperature=self.text_temperature,
            prior=prior,
            iterations=self.sweeps,
            tolerance=self.tolerance,
        )
        return weights, chosen, plan


@register("kpl")
@dataclass(eq=False)
class KPL(_Transported):
    """KPL as published: the transport is run to its fixed point, then the proxies take gradient steps.

    `Y = Sinkhorn(X Tᵀ / τ_t, q)`; `P = softmax(X Wᵀ / τ_i)`; `W ← normalize(W − lr/(N τ_i) (P − Y)ᵀ X)`.
    It reads the images as a set: at least 2, better 10 a class. A uniform prior q is an assumption.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the transport.
        tolerance: largest L1 error of the class shares (of 1) where the transport stops; a miss is a warning.
        sweeps: the most sweeps of the transport.
        temperature: τ_i of the steps.
        learning_rate: lr, halved whenever the gradient grows.
        steps: how many.
        confidence: α; pseudo labels above it become one-hot.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPL(k=1, steps=10).fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Liu et al. 2025, arXiv 2501.11231. The released code stops its transport after 20 single updates,
    long before it has converged. It has no licence; this is written from the formulas.
    Cost: 2 products `[N, D] x [D, C]` a step. Derived in chapter "KPL in one sitting".
    """

    learning_rate: float = 10.0
    steps: int = 2000
    confidence: float = 0.6

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen, plan = self._transport(images, bank, prior)
        proxies = fit_proxies(
            images,
            weights,
            plan.pseudo_labels,
            temperature=self.temperature,
            learning_rate=self.learning_rate,
            steps=self.steps,
            confidence=self.confidence,
        )
        return proxies, chosen


@register("kpl-closed-form")
@dataclass(eq=False)
class KPLClosedForm(_Transported):
    """KPL with one linear solve in place of the steps: ridge regression of the pseudo labels.

    `(S + τ_i ‖u‖ I)(δ_j − mean δ) = τ_i/N (b_j − mean b)`, with `b_j = C sum_i Y_ij x_i` and S the scatter, both
    of the images without their part along the mean image u.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the transport.
        tolerance: largest L1 error of the class shares (of 1) where the transport stops; a miss is a warning.
        sweeps: the most sweeps of the transport.
        temperature: τ_i of the ridge.
        intercept: also add the offsets of a linear discriminant; helps where classes are many.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLClosedForm(k=1).fit(torch.eye(2).repeat(50, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: derived for this project. Cost: one D x D solve. Derived in chapter "What KPL really computes".
    """

    intercept: bool = False

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        _, chosen, plan = self._transport(images, bank, prior)
        labels = plan.pseudo_labels / len(images)  # mass 1, as in the derivation; predictions do not change
        proxies = ridge_proxies(images, labels, temperature=self.temperature, intercept=self.intercept)
        return proxies, chosen
