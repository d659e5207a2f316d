"""Do the images to classify come from where the calibration images came from? A permutation test on features."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import check_count, check_images, check_same_space
from kpl_lib.common.errors import InputError
from kpl_lib.decisions.conformal import group_numbers

BLOCK = 100  # permutations at a time


@dataclass(frozen=True)
class ShiftTest:
    """How far apart the means of two sets of images are, beside what chance gives.

    Args:
        statistic: squared distance of the means, in units of the spread of the images.
        expected: its mean over the permutations.
        p_value: share of permutations whose distance is at least as large; a small one says that the sets differ.
        permutations: how many were drawn.
        low, high: between them lie the distances of 95 % of the permutations.

    Chapter: ch-when-unsure
    """

    statistic: float
    expected: float
    p_value: float
    permutations: int
    low: float = float("nan")
    high: float = float("nan")


@torch.no_grad()
def same_source(
    first: Tensor,
    second: Tensor,
    *,
    first_groups: Sequence | None = None,
    second_groups: Sequence | None = None,
    permutations: int = 999,
    seed: int = 0,
) -> ShiftTest:
    """Test whether two sets of images could be one set that was parted at random; no label is needed.

        T = (m₁ - m₂)ᵀ (S + λ I)⁻¹ (m₁ - m₂),   p = (1 + #{permutations with T' >= T}) / (1 + permutations)

    m are the mean features, S is the covariance of all images together and λ the mean of its eigenvalues. Another
    scanner is found, and so is another mix of classes; both are reasons not to trust a coverage. A large p-value does
    not prove one source: what moves no mean, and what fits few images only, stays unseen.

    Args:
        first: unit rows `[N1, D]`, such as the calibration images.
        second: unit rows `[N2, D]` of the same encoder, such as the images to classify.
        first_groups, second_groups: patient identifiers of each; whole patients change sides then. Give both or none.
        permutations: how many are drawn; the smallest p-value is `1 / (1 + permutations)`.
        seed: the same seed draws the same permutations.

    Returns:
        The test.

    Raises:
        InputError: for features or groups that do not fit, and for a patient with images on both sides.

    Example:
        >>> images = torch.nn.functional.normalize(torch.randn(80, 4, generator=torch.Generator().manual_seed(0)))
        >>> same_source(images[:40], images[40:]).p_value > 0.05
        True
        >>> moved = torch.nn.functional.normalize(images[40:] + torch.tensor([0.5, 0, 0, 0]))
        >>> same_source(images[:40], moved).p_value
        0.001

    Source: Hotelling 1931 (distance); Gretton et al. 2012 (permutation of two samples). The weight of λ was chosen on
    dev images of three encoders, among six statistics.
    Cost: one product `[D, N] x [N, D]`, and `[permutations, N] x [N, D]`.
    Chapter: ch-when-unsure
    """
    check_images(first, "first")
    check_images(second, "second")
    check_same_space(second, first, "second")
    check_count(permutations, "permutations")
    unit, sides = _units(first_groups, second_groups, len(first), len(second))
    y = _scaled(torch.cat([first, second]).double())
    t = torch.cat([_distances(y, unit, block) for block in _orders(sides, permutations, seed)])
    least = t[0] * (1 - 1e-9)  # the same parts in another order differ by rounding
    p = float((t >= least).double().mean())
    low, high = torch.quantile(t[1:], t.new_tensor([0.025, 0.975])).tolist()
    return ShiftTest(float(t[0]), float(t[1:].mean()), p, permutations, low, high)


def _units(first: Sequence | None, second: Sequence | None, n1: int, n2: int) -> tuple[Tensor, Tensor]:
    """Number of the unit of each image `[N]`, and which units stand on the first side, bool `[G]`."""
    if (first is None) != (second is None):
        raise InputError("groups: of one side only; give first_groups and second_groups, or none")
    a, b = group_numbers(first, n1), group_numbers(second, n2)
    both = set() if first is None else {str(g) for g in first} & {str(g) for g in second}
    if both:
        raise InputError(f"groups: {min(both)!r} has images on both sides; put each patient on one side")
    sides = torch.arange(int(a.max() + b.max()) + 2) <= a.max()
    return torch.cat([a, b + a.max() + 1]), sides


def _scaled(x: Tensor) -> Tensor:
    """Centred rows, scaled by `(S + λ I)^(-1/2)`."""
    x = x - x.mean(dim=0)
    spread, axes = torch.linalg.eigh(x.T @ x / len(x))
    return x @ axes / (spread + spread.mean()).clamp(min=torch.finfo(x.dtype).tiny).sqrt()


def _orders(sides: Tensor, permutations: int, seed: int):
    """Blocks of sides, bool `[<= 100, G]`: as given, then permuted."""
    source = torch.Generator().manual_seed(seed)
    yield sides[None]
    for start in range(0, permutations, BLOCK):
        width = min(BLOCK, permutations - start)
        yield sides[torch.rand((width, len(sides)), generator=source).argsort(dim=1)]


def _distances(y: Tensor, unit: Tensor, sides: Tensor) -> Tensor:
    """T for each row of sides, `[R]`; the rows of y sum to zero, so one mean gives the other."""
    on = sides[:, unit].to(y)
    count = on.sum(dim=1, keepdim=True)
    total = on @ y
    return ((total / count + total / (len(y) - count)) ** 2).sum(dim=1)
