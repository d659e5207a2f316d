"""Sinkhorn labels: the balanced pseudo labels themselves, without any vision proxy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import cosines, start, temperature_of
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.features import TextBank
from kpl_lib.transport import sinkhorn


@register("sinkhorn")
@dataclass(eq=False)
class SinkhornLabels(Classifier):
    """Zero-shot probabilities, tilted until the class shares are those of the prior.

    `Y = softmax_c(X Tᵀ/τ + g)`, with the class potentials g such that `(1/N) Σ_i Y_ic = q_c`. It reads the images
    as a set, at least 2; their order does not matter. Only g is learned, so it classifies new images as well.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        tolerance: largest L1 error of the class shares (of 1) where the transport stops; a miss is a warning.
        sweeps: the most sweeps.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> SinkhornLabels().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Cuturi 2013, arXiv 1306.0895.
    Cost: one product `[N, D] x [D, C]`, and 2 passes over `[N, C]` a sweep.
    Chapter: ch-transport, ch-benchmark
    """

    temperature: float | None = None
    tolerance: float = 1e-4
    sweeps: int = 10_000
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = TextClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        rule = {"temperature": temperature, "iterations": self.sweeps, "tolerance": self.tolerance}
        plan = sinkhorn(cosines(images, weights), prior=prior, **rule)
        return TextClassifier(weights, plan.class_potentials, temperature), chosen
