"""CALIP: images look at texts and texts at patches, without training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.start import log_shares, start, temperature_of
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.common.checks import working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank
from kpl_lib.patches import Patches, check_tokens
from kpl_lib.prediction import Prediction

BLOCK = 256  # images looked at together: memory stays at BLOCK x P x (C + D) numbers


@dataclass(frozen=True, eq=False)
class PatchClassifier(TextClassifier):
    """Fixed class vectors, and what patches add to their scores.

    Args:
        weights: T `[C, D]`, unit text proxies.
        offset: g `[C]`, `log(C q)` for class shares q.
        temperature: τ, in units of cosines.
        patch_weight: β2, of the patches that each class looks at.
        text_weight: β3, of the texts that each patch looks at.
    """

    patch_weight: float
    text_weight: float

    def scores_with(self, images: Tensor, patches: Tensor) -> Tensor:
        """`[N, C]`, in units of cosines, from images `[N, D]` and patches `[N, P, D]`."""
        plain = self.scores(images)
        check_tokens(patches, images)
        dtype = working_dtype(images, self.weights)
        weights, added = self.weights.to(dtype), []
        for x, tokens in zip(images.split(BLOCK), patches.split(BLOCK), strict=True):
            tokens = F.normalize(tokens.to(x.device, dtype), dim=2)
            looks = 2 * tokens @ weights.T
            seen = (looks.softmax(dim=1) * (tokens @ x.to(dtype)[:, :, None])).sum(dim=1)
            told = looks.softmax(dim=2) @ weights
            told = (told.mean(dim=1) + told.amax(dim=1)) @ weights.T
            added.append(self.patch_weight * seen + self.text_weight * told)
        return plain + torch.cat(added)


@register("calip")
@dataclass(eq=False)
class Calip(Classifier):
    """Zero-shot CLIP with attention between the patches of an image and the texts.

    For one image x `[D]` with unit patches F `[P, D]`: `A = 2 F Tᵀ`,
    `scores = x Tᵀ + β2 x (softmax_patches(A)ᵀ F)ᵀ + β3 (mean + max over patches of softmax_classes(A) T) Tᵀ`, and
    `P = softmax(scores / τ + log q)`. Each image is classified alone, new ones too, so order and number do not
    matter. It needs patches, from `Encoder.encode_patches`.

    The released code searches β2 in 0.001..2 and β3 in 0.001..0.1 for the largest accuracy on the test labels. Here
    they stay at the middle of those ranges, which no label has seen.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder, 0.01 of CLIP.
        patch_weight: β2.
        text_weight: β3.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)] * 2, torch.eye(2))
        >>> patches = torch.eye(2)[:, None].expand(2, 3, 2)
        >>> Calip().fit_predict(torch.eye(2), bank, patches=patches).labels.tolist()
        [0, 1]

    Source: Guo et al. 2022, arXiv 2209.14169.
    Cost: products `[N P, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    temperature: float | None = None
    patch_weight: float = 1.0
    text_weight: float = 0.05
    needs_patches: ClassVar[bool] = True
    model_type: ClassVar[type] = PatchClassifier

    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        offset = log_shares(prior, len(bank)).to(weights)
        factors = temperature_of(bank, self.temperature), self.patch_weight, self.text_weight
        return PatchClassifier(weights, offset, *factors), chosen

    def predict(self, images: Tensor | Features | Patches, patches: Tensor | None = None) -> Prediction:
        """Classify images with their patches, the fitted ones or new ones.

        Args:
            images: unit rows `[N, D]`, or images with their patches.
            patches: `[N, P, D]`, where `images` has none.

        Returns:
            Probabilities, scores and labels.

        Raises:
            InputError: before `fit`, or without patches.
        """
        if isinstance(images, Patches):
            images, patches = images.features, images.tokens
        plain = super().predict(images)
        if patches is None:
            raise InputError(
                "classifier 'calip' needs patches: pass patches=encoder.encode_patches(dataset).tokens"
            )
        x = images.images if isinstance(images, Features) else images
        scores = self.model.scores_with(x, patches)
        shares = (scores / self.model.temperature).softmax(dim=1)
        return Prediction(shares, scores, scores.argmax(dim=1), plain.class_names)

    def fit_predict(
        self,
        images: Tensor | Features | Patches,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None = None,
        patches: Tensor | None = None,
        labels: Tensor | Sequence[int] | None = None,
    ) -> Prediction:
        """Take the text proxies, and classify images with their patches."""
        if isinstance(images, Patches):
            images, patches = images.features, images.tokens
        return self.fit(images, bank, prior, labels).predict(images, patches)
