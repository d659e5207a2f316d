"""SS-Text-U: text proxies moved towards the balanced means of the images, and towards those that are labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import log_shares, start, temperature_of, text_logits
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.common.checks import working_dtype
from kpl_lib.features import TextBank


@register("ss-text")
@dataclass(eq=False)
class SSText(Classifier):
    """Alternate balanced pseudo labels and class vectors, the latter in closed form.

    Three times: `Z = Sinkhorn(X Ŵᵀ/τ, q)`, `W = A + (1/τ)(1/N) Zᵀ X`, `Ŵ = normalize(W)`; then `softmax(X Ŵᵀ/τ)`.
    Without labels `A = T`. With labels X holds the N images without one, and `A = T + (1/τ)(1/L) (n_c/2) Σ_c x_i`,
    the sum over the n_c labelled images of class c, of L in all; a class without any stays at T_c. Fitted to labelled
    images alone this is SS-Text+, `Ŵ = normalize(A)`: text moved by shots, in closed form.
    The 10 sweeps, columns first, start from `exp(X Ŵᵀ/τ)` as it is. From its row softmax, as elsewhere in this
    library, they end elsewhere: 10 sweeps do not converge.
    It reads the images as a set, at least 2; their order does not matter. The vectors classify new images, one by
    one: the prior shapes them, but no longer holds the class shares.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        iterations: pairs of pseudo labels and vectors.
        sweeps: of the transport, in each.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> SSText().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Silva-Rodríguez and Konukoglu 2026, the repository jusiro/SS-Text-U (MIT), which takes the class shares of
    the labelled images for q. Here q is the prior that is given, else even: images drawn to be labelled, as many of
    each class, say nothing about shares. In float32 the release overflows at a scale of 100, CLIP's; here the sweeps
    run on logarithms, in float64.
    Cost: 6 products `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    temperature: float | None = None
    iterations: int = 3
    sweeps: int = 10
    transductive: ClassVar[bool] = True
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
        text, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        text = text.to(working_dtype(images, text))
        anchor, log_q = text, log_shares(prior, len(text)).to(images.device)
        if labels is not None:
            known = labels >= 0
            anchor = text + _pull(images[known].to(text), labels[known], len(text)) / temperature
            images = images[~known]
        weights = text if len(images) else F.normalize(anchor, dim=1)
        for _ in range(self.iterations if len(images) else 0):
            z = text_logits(images, weights, temperature, None)
            for _ in range(self.sweeps):
                z = (z - z.logsumexp(dim=0) + log_q).log_softmax(dim=1)
            shares = z.exp().to(text)
            pull = shares.T @ images.to(text) / len(images)
            weights = F.normalize(anchor + pull / temperature, dim=1)
        return TextClassifier(weights, weights.new_zeros(len(weights)), temperature), chosen


def _pull(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """`(n_c/2) Σ_c x_i/L` over L labelled images `[L, D]`: `[C, D]`."""
    owner = F.one_hot(labels, classes).to(images)
    return owner.sum(dim=0)[:, None] * (owner.T @ images) / (2 * len(images))
