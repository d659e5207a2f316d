"""Gaussians with one variance a feature: their densities, their moments, and rounds that the text leads."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.neighbours import at_most

LEAST_VARIANCE = 1e-9  # of a feature, of unit vectors: constant features have none


def log_densities(images: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """`l_ic = −½ Σ_d ((x_id − μ_cd)²/σ_cd + log σ_cd)`, `[N, C]`; all float64."""
    precision = 1 / variances
    squares = images**2 @ precision.T - 2 * images @ (means * precision).T + (means**2 * precision).sum(dim=1)
    return -(squares + variances.log().sum(dim=1)) / 2


def weighted_moments(images: Tensor, z: Tensor, means: Tensor) -> Tensor:
    """`Σ_i z_ic (x_id − μ_cd)²`, `[C, D]`; all float64."""
    return z.T @ images**2 - 2 * means * (z.T @ images) + z.sum(dim=0)[:, None] * means**2


def counts_of(labels: Tensor, classes: int) -> Tensor:
    """How many labels `[N]` each class has, float64 `[C]`; unlike `bincount`, without a read of the host."""
    ones = torch.ones(len(labels), dtype=torch.float64, device=labels.device)
    return ones.new_zeros(classes).index_add_(0, labels, ones)


def confident_means(images: Tensor, z: Tensor, confident: int) -> Tensor:
    """`norm(Σ_i z_ic x_i)` over the images of each class with the largest z, `[C, D]`; over all if there are fewer."""
    top = z.topk(at_most(confident, len(images), "confident"), dim=0)
    return F.normalize(torch.einsum("kc,kcd->cd", top.values, images[top.indices]), dim=1)


@torch.no_grad()
def diagonal_rounds(images: Tensor, told: Tensor, *, confident: int = 8, iterations: int = 10) -> Tensor:
    """Expectation maximisation with one variance a feature, opened by the images that the text is surest of.

    `Z_ic ∝ p_ic exp(−½ Σ_d (x_id − μ_cd)²/σ_d)`;  μ, σ from Z; at the start μ_c is the mean of the most confident
    images and σ = 1/D.

    Args:
        images: unit rows, float64 `[N, D]`.
        told: `log p` of the text, `[N, C]`.
        confident: images that open each mean; all where there are fewer.
        iterations: how many.

    Returns:
        Z `[N, C]`.

    Chapter: ch-failures
    """
    n, width = images.shape
    top = told.topk(min(confident, n), dim=0).indices
    means = images[top].mean(dim=0)
    variances = torch.full_like(means[0], 1 / width)
    for _ in range(iterations):
        z = (told + log_densities(images, means, variances.expand_as(means))).softmax(dim=1)
        means = z.T @ images / z.sum(dim=0).clamp_min(1e-12)[:, None]
        variances = (weighted_moments(images, z, means).sum(dim=0) / n).clamp_min(LEAST_VARIANCE)
    return z
