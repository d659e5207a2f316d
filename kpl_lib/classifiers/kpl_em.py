"""KPL-EM: the closed form of KPL, repeated, with the text as evidence for every image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.mixture import Cloud, EvidenceModel, fit_ridge_mixture, text_evidence
from kpl_lib.classifiers.start import start, temperature_of
from kpl_lib.common.checks import check_prior
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank


@register("kpl-em")
@dataclass(eq=False)
class KPLEM(Classifier):
    """A Gaussian mixture in the metric of KPL's closed form, started from the text and led by it.

    With `x̃ = x − (x·û) û`, `Λ` the text evidence, `A = (S̃ + τ_i ‖u‖ I)⁻¹` and `m_c` the weighted mean of x̃:

    `Z = softmax_c( κ (x̃ A m_c − ½ m_c A m_c) + ω Λ_ic + log q_c )`;   m from Z;   A from the scatter inside
    classes, every 5th time.

    It is expectation maximisation of a MAP objective with covariance `A⁻¹/κ`, which never falls when A is
    updated each time. Accuracy may. Its confidences are too high, as text and features come from one image.

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the evidence, in units of cosines; None takes that of the encoder.
        temperature: τ_i of the ridge.
        sharpness: κ, an exponent of the likelihood.
        strength: ω; without the text the classes drift.
        iterations: how many.
        estimate_shares: estimate q on the way, `q_c = (Σ_i Z_ic + 1)/(N + C)`; else it is the prior.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLEM(k=1).fit(torch.eye(2).repeat(9, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: this project.
    Cost: one product `[N, D] x [D, C]` and back an iteration, a D x D solve every 5th. Order-free; predicts new
    images.
    Chapter: ch-failures
    """

    text: str = "top-k"
    text_temperature: float | None = None
    temperature: float = 0.04
    sharpness: float = 5.0
    strength: float = 1.0
    iterations: int = 30
    estimate_shares: bool = False
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = EvidenceModel

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        if prior is not None and self.estimate_shares:
            raise InputError("prior and estimate_shares=True: give the class shares or have them estimated")
        text, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.text_temperature)
        shares = None if self.estimate_shares else check_prior(prior, len(bank)).to(images.device)
        evidence, log_mass = text_evidence(images.double() @ text.double().T, temperature)
        opened = evidence.softmax(dim=0) * (len(images) / len(bank))
        weights, offsets, shares, _ = fit_ridge_mixture(
            Cloud.of(images, self.temperature),
            evidence,
            opened,
            sharpness=self.sharpness,
            strength=self.strength,
            iterations=self.iterations,
            prior=shares,
        )
        offsets = offsets + shares.log()
        model = EvidenceModel(weights, offsets, text, log_mass, shares, self.strength, temperature)
        return model, chosen
