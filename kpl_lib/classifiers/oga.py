"""OGA: images come one by one, sure ones are kept, and the Gaussians of what was kept help with the next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.adapt import shrunk_directions
from kpl_lib.classifiers.base import Classifier, model_on, register
from kpl_lib.classifiers.start import log_shares, start, temperature_of, text_logits
from kpl_lib.classifiers.zero_shot import TextClassifier
from kpl_lib.common.checks import check_count, check_images, check_same_space
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.prediction import Prediction


@dataclass(frozen=True, eq=False)
class Stream(TextClassifier):
    """Where a stream stands: the class vectors that predict now, and the cache that the next image may change.

    Beside what `TextClassifier` holds, in float64: text proxies `[C, D]`, `log(C q)`, the kept images `[C, M, D]`, and
    the entropy of each, infinite where a place is free.
    """

    text: Tensor
    log_q: Tensor
    cache: Tensor
    entropy: Tensor
    strength: float

    def after(self, images: Tensor) -> tuple["Stream", Tensor]:
        """The stream after these images, in this order, and what it said of each: log probabilities `[n, C]`.

        What each image says decides on the next, so all of it runs on the CPU, to which images and cache move once.
        """
        check_images(images, minimum=1)
        check_same_space(self.text, images, "text proxies")
        if (here := images.device).type != "cpu":
            now, told = model_on("cpu", self).after(images.cpu())
            return model_on(here, now), told.to(here)
        log_p = (text_logits(images, self.text, self.temperature, None) + self.log_q).log_softmax(dim=1)
        entropy, labels = -(log_p.exp() * log_p).sum(dim=1), log_p.argmax(dim=1)
        now, said, waiting = replace(self, cache=self.cache.clone(), entropy=self.entropy.clone()), [], 0
        for i, (h, c) in enumerate(zip(entropy.tolist(), labels.tolist(), strict=True)):
            least_sure, place = now.entropy[c].max(dim=0)
            if h < least_sure:
                if waiting < i:
                    said.append(now.scores(images[waiting:i]))  # these saw the cache as it was
                now.cache[c, place], now.entropy[c, place], waiting = images[i].double(), h, i
                now = now.renewed()
        said.append(now.scores(images[waiting:]))
        return now, (torch.cat(said) / self.temperature).log_softmax(dim=1)

    def renewed(self) -> "Stream":
        """The same cache with the class vectors that belong to it."""
        kept = self.entropy.isfinite()
        counts = kept.sum(dim=1)
        known = counts > 1
        if not known.any():
            return self
        means = self.cache.sum(dim=1)[known] / counts[known, None]
        spread = (self.cache[known] - means[:, None])[kept[known]]
        found = shrunk_directions(spread, means)
        heights = -(means * found).sum(dim=1) / 2
        directions = found.mean(dim=0).repeat(len(known), 1)
        offset = heights.mean().repeat(len(known))
        directions[known], offset[known] = found, heights
        weights = self.text + self.temperature * self.strength * directions
        offset = self.log_q + self.strength * offset
        return replace(self, weights=weights.to(self.weights), offset=offset.to(self.offset))


@register("oga")
@dataclass(eq=False)
class OGA(Classifier):
    """Zero-shot probabilities times Gaussians of the surest images that a stream has brought so far.

    `y = softmax(x Tᵀ/τ + log q)`. The cache holds, of the images with `argmax y = c`, the 8 of least entropy; each
    new image may replace the least sure one. `μ_c` is their mean once there are 2, and
    `Λ = D ((n − 1) S + tr(S) I)⁻¹` with S the covariance of the n cached images less their μ;
    `P ∝ y · exp(0.05 (x Λ μ_c − ½ μ_c Λ μ_c))`. A class that has no μ yet gets the mean exponent of the others.

    **The order of the images matters**: an image is judged by what came before it. `fit` takes the images in a
    random order, and `fit_predict` says of each what was said at its turn; `update` goes on with images that arrive,
    in their order; `predict` only looks. Report the mean over many orders, and the worst tenth (`expected_tail`).

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder.
        cache: images kept for each class.
        strength: of the Gaussians, 0.05.
        seed: of the order in which `fit` takes the images.

    Returns:
        From `fit_predict`: scores `[N, C]` are log probabilities, each from the turn of its image.

    Raises:
        InputError: for `update` before `fit`.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> stream = OGA().fit(torch.eye(2), bank)
        >>> stream.update(torch.eye(2)[:1]).labels.tolist()
        [0]

    Source: Fuchs et al. 2025, arXiv 2501.04352 (code MIT, defaults from there). There, images come in batches of 32,
    and past 4 D cached images the plain inverse of S takes the place of Λ; here they come one by one, and Λ stays.
    The paper has no prior; here it enters y.
    Cost: one solve of the size of the cache, or of D, whenever the cache changes.
    Chapter: ch-benchmark
    """

    temperature: float | None = None
    cache: int = 8
    strength: float = 0.05
    seed: int = field(default_factory=int)  # 0; as a default it would be held to be a count
    transductive: ClassVar[bool] = True
    order_free: ClassVar[bool] = False
    model_type: ClassVar[type] = Stream

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.seed, "seed", minimum=0)

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        text = weights.double()
        log_q = log_shares(prior, len(text)).to(text)
        cache = text.new_zeros(len(text), self.cache, text.shape[1])
        free = text.new_full((len(text), self.cache), torch.inf)
        temperature = temperature_of(bank, self.temperature)
        opened = Stream(weights, log_q.to(weights), temperature, text, log_q, cache, free, self.strength)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        order = order.to(images.device)
        model, said = opened.after(images[order])
        self.joint = said[order.argsort()]
        return model, chosen

    @torch.no_grad()
    def update(self, images: Tensor) -> Prediction:
        """Classify images as they arrive, in this order, and learn from each.

        Args:
            images: unit rows `[n, D]`; one image is `[1, D]`.

        Returns:
            What was said of each at its turn.

        Raises:
            InputError: before `fit`, or for images of another encoder.
        """
        if self.model is None:
            raise InputError("classifier 'oga' is not fitted: call fit(images, bank) with the first images")
        self.model, said = self.model.after(images)
        return Prediction(said.exp(), said, said.argmax(dim=1), self.class_names)


def expected_tail(results: Sequence[float], share: float = 0.1) -> float:
    """Expected tail accuracy: the mean of the worst tenth of the results of many orders.

    Args:
        results: one figure an order, such as its accuracy; the paper takes 100 orders.
        share: of the results, rounded up to whole ones.

    Returns:
        The mean of the smallest.

    Raises:
        InputError: without results, or for a share that is not above 0 and at most 1.

    Example:
        >>> expected_tail([0.9, 0.5, 0.7, 0.8], share=0.5)
        0.6

    Source: Fuchs et al. 2025, arXiv 2501.04352.
    Chapter: ch-benchmark
    """
    if not len(results) or not 0 < share <= 1:
        raise InputError("expected_tail: give at least one result, and a share above 0 and at most 1")
    count = math.ceil(share * len(results) - 1e-9)  # 0.1 * 30 is a little above 3
    return sum(sorted(results)[:count]) / count
