"""ZLaP: labels spread from the class texts along a graph of texts and images."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.neighbours import Graph, at_most, nearest_rows
from kpl_lib.classifiers.start import log_shares, start
from kpl_lib.common.checks import check_images, check_same_space, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank

EXACT = 1e-12  # what is left of the series where it stops
TINY = 1e-30  # an image without any link gets the same score for each class


@dataclass(frozen=True, eq=False)
class GraphClassifier:
    """The fitted graph, which new images are linked to one by one.

    Args:
        weights: unit text proxies `[C, D]`.
        images: the fitted images `[N, D]`.
        influence: `F_n / √d_n` of the C texts and then the N images, `[C + N, C]`, float64.
        neighbours: links of an image to images, and to texts.
        power: of the cosines with texts.
    """

    weights: Tensor
    images: Tensor
    influence: Tensor
    neighbours: int
    power: float

    def scores(self, images: Tensor) -> Tensor:
        """`log Σ_n w_n F_nc / √d_n` over the links of an image, `[N, C]`: one step along the fitted graph."""
        check_images(images, minimum=1)
        check_same_space(self.weights, images, "weights")
        x, classes = images.double(), len(self.weights)
        near = nearest_rows(images, self.images, min(self.neighbours, len(self.images)))
        around = Graph(near.weights.clamp_min(0), near.index).pull(self.influence[classes:])
        texts = _text_links(x, self.weights, self.neighbours, self.power).pull(self.influence[:classes])
        return (around + texts + TINY).log().to(working_dtype(images, self.weights))

    def probabilities(self, images: Tensor) -> Tensor:
        """The same sums, scaled to 1, `[N, C]`."""
        return self.scores(images).softmax(dim=1)


@register("zlap")
@dataclass(eq=False)
class ZLaP(Classifier):
    """Label propagation over images and class texts.

    Nodes are classes and images. A links each image to its 5 nearest images, by cosine, and to its 5 nearest texts,
    by cosine^5; `W = A + Aᵀ`, `S = D^-½ W D^-½` with the degrees D. Scores are the rows of `(I − 0.3 S)⁻¹` at the
    class nodes: `F = Σ_t (0.3 S)^t E`, E the class nodes. `P = F` scaled to rows of sum 1, scores `log F`.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives F. `predict` links
    new images one by one to the fitted graph, and takes one step along it; so the model keeps the fitted images.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        neighbours: of an image among images, and among texts (fewer where there are fewer classes).
        power: of the cosines with texts.
        damping: α of the series, below 1.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> ZLaP(neighbours=1).fit_predict(torch.eye(2).repeat(2, 1), bank).labels.tolist()
        [0, 1, 0, 1]

    Source: Kalantidis et al. 2024, arXiv 2404.04072 (MIT). Negative cosines count as 0. The paper has no prior, and
    here one is left out with a warning: rows of F are so flat that weights q would decide alone.
    Cost: one product `[N, D] x [D, N]`, and 23 sparse ones.
    Chapter: ch-benchmark
    """

    neighbours: int = 5
    power: float = 5.0
    damping: float = 0.3
    transductive: ClassVar[bool] = True
    takes_prior: ClassVar[bool] = False
    model_type: ClassVar[type] = GraphClassifier

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.damping >= 1:
            raise InputError(f"damping must be below 1, not {self.damping!r}: the series would not end")

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        if bool((log_shares(prior, len(bank)).abs() > 1e-6).any()):
            warnings.warn("zlap knows no prior: it is left out", UserWarning, stacklevel=3)
        x, classes = images.double(), len(bank)
        links = at_most(self.neighbours, len(x) - 1, "neighbours")
        near = nearest_rows(images, images, links, themselves=True)
        near = Graph(near.weights.clamp_min(0), near.index)
        texts = _text_links(x, weights, self.neighbours, self.power)
        one = x.new_ones(len(x) + classes, 1)
        root = _spread(near, texts, one).clamp_min(TINY).rsqrt()
        seeds = torch.zeros(len(one), classes, dtype=x.dtype, device=x.device)
        seeds.fill_diagonal_(1)
        found = seeds
        for _ in range(math.ceil(math.log(EXACT) / math.log(self.damping))):
            found = seeds + self.damping * root * _spread(near, texts, root * found)
        self.joint = (found[classes:] + TINY).log().to(working_dtype(images, weights))
        model = GraphClassifier(weights, images, root * found, self.neighbours, self.power)
        return model, chosen


def _text_links(x: Tensor, weights: Tensor, k: int, power: float) -> Graph:
    near = nearest_rows(x, weights.double(), min(k, len(weights)))
    return Graph(near.weights.clamp_min(0) ** power, near.index)


def _spread(near: Graph, texts: Graph, values: Tensor) -> Tensor:
    """`W z = (A + Aᵀ) z` of the texts `[C, …]` and then the images `[N, …]`, in one tensor."""
    classes = len(values) - len(near.index)
    own, other = values[classes:], values[:classes]
    images = near.pull(own) + near.push(own, len(own)) + texts.pull(other)
    return torch.cat([texts.push(own, classes), images])
