"""Centred text: zero-shot CLIP once the mean image is taken away, the cheapest baseline of all that read a set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.start import log_shares, start, temperature_of
from kpl_lib.classifiers.zero_shot import Clip, TextClassifier
from kpl_lib.features import TextBank, mean_image


@register("centred-text")
@dataclass(eq=False)
class CentredText(Clip):
    """Zero-shot CLIP for images without their mean.

    `P = softmax((X − u) Tᵀ / τ + log q)`, u the mean image: each class loses its mean cosine with the images, so a
    text that lies close to all of them no longer wins them all. It reads the images as a set, at least 2; their order
    does not matter. Only u is learned, so it classifies new images as well.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.

    Returns:
        From `fit_predict`: scores are `X Tᵀ − u Tᵀ + τ log(C q)`, `[N, C]`.

    Raises:
        InputError: for fewer than 2 images.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> both_nearer_to_cat = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
        >>> CentredText().fit_predict(both_nearer_to_cat, bank).labels.tolist()
        [0, 1]

    Source: derived for this project; the first step of KPL's closed form, and a baseline that no paper reports.
    Cost: one product `[N, D] x [D, C]`, as `clip`.
    Chapter: ch-benchmark
    """

    transductive: ClassVar[bool] = True

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.temperature)
        away = weights.double() @ mean_image(images).double() / temperature
        offset = (log_shares(prior, len(bank)).to(away) - away).to(weights)
        return TextClassifier(weights, offset, temperature), chosen
