"""A linear probe of a few labelled images that is held at the text proxies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import log_shares, start, temperature_of
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.features import TextBank


@register("anchored-probe")
@dataclass(eq=False)
class AnchoredProbe(Classifier):
    """Logistic regression on the labelled images, with a penalty on the distance from the text.

    `min_W −Σ_i log softmax(W x_i/τ)_{y_i} + (λ/2) Σ_c ‖w_c − T_c‖²` over the labelled images; then
    `softmax(X Wᵀ/τ + log q)`. The problem is convex and has one solution. Without labels it is T, zero-shot CLIP; the
    more labels there are, the less the text holds. Images without a label are not read. Each image is classified
    alone, new ones too, and the order of the images does not matter.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        strength: λ. It was fixed on dev sets; one for each class, from how well the text knows its labelled images
            as in CLAP, was no better there.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2).flip(0))
        >>> AnchoredProbe(strength=1.0).fit_predict(torch.eye(2), bank, labels=[0, 1]).labels.tolist()
        [0, 1]

    Source: after CLAP, Silva-Rodríguez et al. 2024, arXiv 2312.12730, which steps towards it by gradients and scales W
    to length 1; written from the formula.
    Cost: two products `[L, D] x [D, C]` a step of L-BFGS, for L labelled images; some tens of steps, on the CPU.
    Chapter: ch-encoders-and-labels
    """

    temperature: float | None = None
    strength: float = 300.0
    reads_labels: ClassVar[bool] = True
    model_type: ClassVar[type] = TextClassifier

    @torch.no_grad()
    def _fit(
        self,
        images: Tensor,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None,
        labels: Tensor | None = None,
    ) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        if labels is not None:
            known = labels >= 0
            rows = images[known].cpu().double().numpy(), labels[known].cpu().numpy()
            weights = torch.from_numpy(self._solved(*rows, weights.cpu().double().numpy(), temperature)).to(
                weights
            )
        return TextClassifier(weights, log_shares(prior, len(bank)).to(weights), temperature), chosen

    def _solved(self, x: np.ndarray, labels: np.ndarray, text: np.ndarray, temperature: float) -> np.ndarray:
        owner = np.eye(len(text))[labels]

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(text.shape)
            log_p, away = log_softmax(x @ weights.T / temperature, axis=1), weights - text
            value = -(owner * log_p).sum() + self.strength / 2 * (away**2).sum()
            slope = (np.exp(log_p) - owner).T @ x / temperature + self.strength * away
            return float(value), slope.ravel()

        precise = {"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-7}
        found = minimize(loss, text.ravel(), jac=True, method="L-BFGS-B", options=precise)
        return found.x.reshape(text.shape)
