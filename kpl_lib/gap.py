"""The modality gap: how far image and text features lie apart, measured and removed."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_images, check_same_space, working_dtype


@dataclass(frozen=True)
class ModalityGap:
    """Measures of two clouds of unit vectors, images X `[N, D]` and texts Z `[M, D]`.

    Args:
        distance: `‖u − v‖` between the centroids `u = mean(X)` and `v = mean(Z)`; 0 to 2.
        image_cone: `‖u‖`; 1 if all images agree, near 0 if they fill the sphere.
        text_cone: `‖v‖`, the same of the texts.
        image_cosine: mean cosine of two different images.
        text_cosine: mean cosine of two different texts.
        cross_cosine: mean cosine of an image and a text, `u · v`.
        image_rank: effective rank of the centred images (exp of the entropy of the normalised spectrum).
        text_rank: the same of the texts.
        separability: accuracy of a linear probe, image or text, on held-out rows; 0.5 is chance.

    Chapter: ch-gap
    """

    distance: float
    image_cone: float
    text_cone: float
    image_cosine: float
    text_cosine: float
    cross_cosine: float
    image_rank: float
    text_rank: float
    separability: float


@torch.no_grad()
def modality_gap(images: Tensor, texts: Tensor, *, seed: int = 0) -> ModalityGap:
    """Measure the gap between image and text features.

        u = mean(X),  v = mean(Z),  gap = ‖u − v‖
        cosine within = (N² ‖u‖² − Σ_i ‖x_i‖²) / (N (N − 1))
        effective rank = exp(−Σ_r p_r log p_r),  p_r = σ_r² / Σ_s σ_s²,  σ the singular values of X − u

    Args:
        images: unit rows `[N, D]`.
        texts: unit rows `[M, D]`.
        seed: of the five folds of the probe (logistic regression; rows of both kinds weigh the same).

    Returns:
        ModalityGap. All measures are on features as they are, in D dimensions, not on a picture of them.

    Raises:
        InputError: if there are fewer than five rows of a kind, or the two do not fit.

    >>> x = F.normalize(torch.tensor([[1.0, 0.1 * i, 0.0] for i in range(5)]), dim=1)
    >>> gap = modality_gap(x, x.flip(1))
    >>> gap.separability, round(gap.distance, 2)
    (1.0, 1.38)

    Source: gap and cones, Liang et al. 2022 (arXiv 2203.02053); rank, Roy and Vetterli 2007 (there σ in place of σ²).
    Chapter: ch-gap
    """
    _check_pair(images, texts, least=5)
    x, z = images.double(), texts.double()
    u, v = x.mean(dim=0), z.mean(dim=0)
    return ModalityGap(
        distance=float((u - v).norm()),
        image_cone=float(u.norm()),
        text_cone=float(v.norm()),
        image_cosine=_cosine_within(x),
        text_cosine=_cosine_within(z),
        cross_cosine=float(u @ v),
        image_rank=effective_rank(x),
        text_rank=effective_rank(z),
        separability=_separability(x, z, seed),
    )


def _check_pair(images: Tensor, texts: Tensor, least: int) -> None:
    check_images(images, minimum=least)
    check_images(texts, "texts", minimum=least)
    check_same_space(texts, images, "texts")


def _cosine_within(x: Tensor) -> float:
    n = len(x)
    return float((x.sum(dim=0).square().sum() - x.square().sum()) / (n * (n - 1)))


def effective_rank(x: Tensor) -> float:
    """Effective rank of a cloud `[N, D]`: the number of directions that it fills, between 1 and D.

    Args:
        x: rows `[N, D]`.

    Returns:
        The rank, as defined in `modality_gap`.

    >>> round(effective_rank(torch.cat([torch.eye(4), -torch.eye(4)])), 6)
    4.0

    Chapter: ch-gap
    """
    power = torch.linalg.svdvals(x.double() - x.double().mean(dim=0)).square()
    total = power.sum()
    return float(torch.special.entr(power / total).sum().exp()) if total > 0 else 1.0


def _separability(x: Tensor, z: Tensor, seed: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rows = torch.cat([x, z]).cpu().numpy()
    kind = [0] * len(x) + [1] * len(z)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    probe = LogisticRegression(C=100.0, max_iter=1000, class_weight="balanced")
    return float(cross_val_score(probe, rows, kind, cv=folds, scoring="balanced_accuracy").mean())


@torch.no_grad()
def close_gap(images: Tensor, texts: Tensor, amount: float = 1.0) -> tuple[Tensor, Tensor]:
    """Move both clouds towards each other along the line of their centroids, and back onto the sphere.

        x' = normalize(x − (a/2)(u − v)),   z' = normalize(z + (a/2)(u − v))

    Args:
        images: unit rows `[N, D]`.
        texts: unit rows `[M, D]`.
        amount: a; 0 leaves all, 1 makes the centroids meet before the rows are normalised.

    Returns:
        The moved images and texts. Before the rows are normalised, the score of class j changes by −(a/2)(u − v) · z_j,
        the same for every image, and by what all classes share: the border between classes shifts, it does not turn.

    Raises:
        InputError: if the two do not fit.

    >>> x = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1]]), dim=1)
    >>> a, b = close_gap(x, x.flip(1))
    >>> bool((a.mean(dim=0) - b.mean(dim=0)).norm() < 0.2)
    True

    Source: Liang et al. 2022 (arXiv 2203.02053).
    Chapter: ch-gap
    """
    _check_pair(images, texts, least=1)
    dtype = working_dtype(images, texts)
    x, z = images.to(dtype), texts.to(dtype)
    shift = amount / 2 * (x.mean(dim=0) - z.mean(dim=0))
    return F.normalize(x - shift, dim=1), F.normalize(z + shift, dim=1)
