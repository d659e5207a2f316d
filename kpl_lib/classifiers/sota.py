"""SOTA, self-adaptive optimal transport: several encoders vote, each by its text and by its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.gaussians import LEAST_VARIANCE, confident_means, log_densities, weighted_moments
from kpl_lib.classifiers.opinions import one_each
from kpl_lib.classifiers.start import log_shares, start, text_logits
from kpl_lib.common.checks import check_images, check_same_space, working_dtype
from kpl_lib.features import TextBank, split_views


@dataclass(frozen=True, eq=False)
class ViewsClassifier:
    """Text proxies and Gaussians of several encoders, and how much each of them counts.

    Args:
        weights: text proxies `[C, Σ D_v]`, unit rows in the columns of each encoder.
        offset: `log(C q)` `[C]`.
        means: of the Gaussians, likewise `[C, Σ D_v]`, float64.
        variances: `[Σ D_v]`, float64, shared by the classes.
        trust: α of the Gaussians and β of the texts, `[2, V]`, float64; each row sums to 1.
        views: the columns D_v of each encoder.
        temperature: τ of each encoder, in units of cosines; one number, as 0.2 wrote it, is that of all.
        softness: what log densities are divided by.
    """

    weights: Tensor
    offset: Tensor
    means: Tensor
    variances: Tensor
    trust: Tensor
    views: tuple[int, ...]
    temperature: float | Sequence[float]
    softness: float

    def probabilities(self, images: Tensor) -> Tensor:
        """`½ Σ_v (α_v P_v + β_v y_v)`, `[N, C]`: what the encoders say, without the transport."""
        check_images(images, minimum=1)
        check_same_space(self.weights, images, "weights")
        parts, texts = split_views(images.double(), self.views), self.weights.split(self.views, dim=1)
        each = zip(parts, texts, one_each(self.temperature, len(parts)), strict=True)
        told = [(text_logits(x, t, tau, None) + self.offset.double()).softmax(1) for x, t, tau in each]
        seen = _seen(parts, self.means, self.variances, self.views, self.softness)
        votes = torch.stack([torch.stack(seen), torch.stack(told)])
        mixed = (votes * self.trust[:, :, None, None]).sum(dim=(0, 1)) / 2
        return mixed.to(working_dtype(images, self.weights))

    def scores(self, images: Tensor) -> Tensor:
        """`log` of the probabilities, `[N, C]`."""
        return self.probabilities(images).clamp_min(torch.finfo(torch.float32).tiny).log()


@register("sota")
@dataclass(eq=False)
class SOTA(Classifier):
    """Each encoder says by its text and by Gaussians of its images what it sees; transport balances the sum.

    Of view v: `y_v = softmax(X_v T_vᵀ/τ + log q)`, and `P_v = softmax(−½ Σ_d (x_vd − μ_cd)²/σ_d / 50)`. At the start
    z is the mean of the y_v, μ the unit mean of the 8 images surest by z, weighed by it, σ = 1/D_v, α = β = 1/V.
    Ten times: `F = Σ_v (α_v P_v + β_v y_v)`; `z = Sinkhorn(F, ε, q)`, 15 sweeps, columns first; α_v and β_v are the
    shares of the images on which P_v and y_v agree with z, scaled to sum 1; μ and σ are those of the images under z.

    It reads the images as a set, at least 2; their order does not matter. `fit_predict` gives z, nearly 0 and 1, so
    its confidences say little. `predict` places images one by one, by F: transport needs a set. A bank of one encoder
    is one view; `kpl_lib.features.join` makes several.

    Args:
        text, k: where the text proxies come from; the default is the class names.
        temperature: τ, in units of cosines; None takes that of the encoder, of several each its own.
        confident: images that open each mean.
        rounds: how often z is renewed.
        sweeps: of the transport, in each round.
        regularisation: ε of the transport, in units of probabilities.
        softness: what log densities are divided by, 50.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> SOTA().fit_predict(torch.eye(2).repeat(9, 1), bank).labels[:4].tolist()
        [0, 1, 0, 1]

    Source: OTFusion, arXiv 2506.13723, and its release for CVPR 2026. It has no licence; this is written from the
    formulas. The release stops the transport early where no entry moves by 1e-5, which depends on N; here all sweeps
    are done, in logarithms. At ε = 0.01 they are far from converged, so classes are hardly balanced, and a prior, which
    the release does not know and which here enters y and the transport, is hardly heard.
    Cost: 2 products `[N, D] x [D, C]` a round, and as many for the moments.
    Chapter: ch-encoders-and-labels
    """

    temperature: float | None = None
    confident: int = 8
    rounds: int = 10
    sweeps: int = 15
    regularisation: float = 0.01
    softness: float = 50.0
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = ViewsClassifier

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        weights, chosen = start(bank, images, self.text, self.k)
        views, log_q = bank.views or (images.shape[1],), log_shares(prior, len(bank)).to(images.device)
        parts = split_views(images.double(), views)
        texts = [F.normalize(part, dim=1) for part in weights.split(views, dim=1)]
        own = bank.each_temperature if self.temperature is None else (self.temperature,) * len(views)
        each = zip(parts, texts, own, strict=True)
        told = [text_logits(x, t, tau, prior).softmax(1) for x, t, tau in each]
        z = torch.stack(told).mean(dim=0)
        means = torch.cat([confident_means(x, z, self.confident) for x in parts], dim=1)
        variances = torch.cat(
            [x.new_full((width,), 1 / width) for x, width in zip(parts, views, strict=True)]
        )
        trust = z.new_full((2, len(views)), 1 / len(views))
        for _ in range(self.rounds):
            seen = _seen(parts, means, variances, views, self.softness)
            votes = torch.stack([torch.stack(seen), torch.stack(told)])
            log_z = (votes * trust[:, :, None, None]).sum(dim=(0, 1)) / self.regularisation
            log_z = log_z - log_z.amax(dim=1, keepdim=True)
            for _ in range(self.sweeps):
                log_z = (log_z - log_z.logsumexp(dim=0) + log_q).log_softmax(dim=1)
            z = log_z.exp()
            agree = (votes.argmax(dim=3) == z.argmax(dim=1)).sum(dim=2).double().clamp_min(1e-8)
            trust = agree / agree.sum(dim=1, keepdim=True)
            means = torch.cat([F.normalize(z.T @ x, dim=1) for x in parts], dim=1)
            spread = [
                weighted_moments(x, z, mu).sum(dim=0) / len(x)
                for x, mu in zip(parts, means.split(views, dim=1), strict=True)
            ]
            variances = torch.cat(spread).clamp_min(LEAST_VARIANCE)
        self.joint = log_z.to(working_dtype(images, weights))
        kept = torch.cat(texts, dim=1), log_q.to(weights), means, variances, trust
        return ViewsClassifier(*kept, tuple(views), own, self.softness), chosen


def _seen(
    parts: Sequence[Tensor], means: Tensor, variances: Tensor, views: Sequence[int], softness: float
) -> list[Tensor]:
    """`P_v = softmax(−½ Σ_d (x_vd − μ_cd)²/σ_d / softness)` of each view, `[N, C]`."""
    gaussians = zip(parts, means.split(list(views), dim=1), variances.split(list(views)), strict=True)
    return [(log_densities(x, mu, s.expand_as(mu)) / softness).softmax(dim=1) for x, mu, s in gaussians]
