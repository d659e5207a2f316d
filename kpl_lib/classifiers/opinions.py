"""Several encoders, each asked alone, and the weighted mean of what they say, in logarithms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.classifiers.mixture import EvidenceModel
from kpl_lib.common.checks import check_same_space, check_unit_rows
from kpl_lib.features import split_views


def one_each(given: float | Sequence[float], count: int) -> tuple[float, ...]:
    """A value for each encoder; one number is that of all."""
    return tuple(given) if isinstance(given, Sequence) else (given,) * count


@dataclass(frozen=True, eq=False)
class OpinionPool:
    """`log p_ic = Σ_v w_v log p_ic^(v)`, rows scaled to sum 1: encoders that err apart correct each other.

    The fields are those of an `EvidenceModel` for each of V encoders, side by side or on top of each other.

    Args:
        weights, text: `[C, Σ D_v]`.
        offsets, log_mass, each_shares, each_text_shares: `[V, C]`.
        trust: w `[V]`, sum 1.
        views: the columns D_v of each encoder.
        strengths, each_moved, supports, contradictions, each_names, each_halves: V values each.
        temperature: τ of the texts of each, V values; one number, as 0.2 wrote it, is that of all.

    Chapter: ch-encoders-and-labels
    """

    weights: Tensor
    text: Tensor
    offsets: Tensor
    log_mass: Tensor
    each_shares: Tensor
    each_text_shares: Tensor
    trust: Tensor
    views: tuple[int, ...]
    strengths: tuple[float, ...]
    each_moved: tuple[bool, ...]
    supports: tuple[float, ...]
    contradictions: tuple[float, ...]
    each_names: tuple[float, ...]
    each_halves: tuple[float, ...]
    temperature: float | Sequence[float]

    @staticmethod
    def of(models: Sequence[EvidenceModel], trust: Sequence[float]) -> "OpinionPool":
        """The pool of fitted models, one an encoder, with their weights."""
        told = torch.tensor(trust, dtype=torch.float64, device=models[0].weights.device)
        return OpinionPool(
            torch.cat([one.weights for one in models], dim=1),
            torch.cat([one.text for one in models], dim=1),
            torch.stack([one.offsets for one in models]),
            torch.stack([one.log_mass for one in models]),
            torch.stack([one.shares for one in models]),
            torch.stack([one.text_shares for one in models]),
            told / told.sum(),
            tuple(one.weights.shape[1] for one in models),
            *(
                tuple(getattr(one, name) for one in models)
                for name in ("strength", "moved", "support", "contradiction", "names", "halves")
            ),
            tuple(one.temperature for one in models),
        )

    @property
    def parts(self) -> tuple[EvidenceModel, ...]:
        """The model of each encoder."""
        each = one_each(self.temperature, len(self.views))
        sides = zip(*(rows.split(list(self.views), dim=1) for rows in (self.weights, self.text)), strict=True)
        return tuple(
            EvidenceModel(
                weights,
                self.offsets[v],
                text,
                self.log_mass[v],
                self.each_shares[v],
                self.strengths[v],
                each[v],
                self.each_moved[v],
                self.supports[v],
                self.contradictions[v],
                self.each_names[v],
                self.each_halves[v],
                self.each_text_shares[v],
            )
            for v, (weights, text) in enumerate(sides)
        )

    @property
    def moved(self) -> bool:
        """Whether the fit left the text for any encoder."""
        return any(self.each_moved)

    @property
    def support(self) -> float:
        """Mean over the encoders, in nats an image."""
        return sum(self.supports) / len(self.supports)

    @property
    def contradiction(self) -> float:
        """Mean over the encoders, in nats an image."""
        return sum(self.contradictions) / len(self.contradictions)

    @property
    def names(self) -> float:
        """The least agreement of text proxies and class names."""
        return min(self.each_names)

    @property
    def halves(self) -> float:
        """The least agreement of two halves of the descriptions."""
        return min(self.each_halves)

    @property
    def shares(self) -> Tensor:
        """Class shares `[C]`, the mean over the encoders."""
        return self.each_shares.mean(dim=0)

    @property
    def text_shares(self) -> Tensor:
        """Class shares of the texts' labels `[C]`, the mean over the encoders."""
        return self.each_text_shares.mean(dim=0)

    def scores(self, images: Tensor) -> Tensor:
        """Log probabilities of images `[N, Σ D_v]`, fitted or new, up to a number for each row: `[N, C]`."""
        check_unit_rows(images, "images")
        check_same_space(self.weights, images, "weights")
        said = zip(self.trust.tolist(), self.parts, split_views(images, self.views), strict=True)
        return sum(weight * part.scores(x).log_softmax(dim=1) for weight, part, x in said)

    def probabilities(self, images: Tensor) -> Tensor:
        """`softmax(scores)`, `[N, C]`."""
        return self.scores(images).softmax(dim=1)
