"""Ridge regression of soft labels on centred features, with one factorisation for any number of labels.

With û = u/‖u‖ and a = X û, the centred images are `X̃ = X − a ûᵀ`. They are never stored: `X̃ᵀX̃` and
`X̃X̃ᵀ` follow from the raw products, so half-precision images are converted one block at a time.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import shape_of, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.features import mean_image

BLOCK_BYTES = 1 << 26
# Beyond one of these the steps end elsewhere by a few percent.
MOST_MASS, LEAST_LENGTH, MOST_LEVERAGE = 0.2, 5.0, 0.7
ROW_SUM_ERROR = 0.01  # plans whose mass is this close to N have rows of sum 1
FEWER = 2  # a released plan with columns that differ this much in mass has columns that were never scaled


@dataclass(frozen=True, eq=False)
class RidgeSystem:
    """The system `(S̃ + λ I) w = b` with `S̃ = X̃ᵀX̃/N` and `λ = τ ‖u‖`, factorised.

    Args:
        images: as given, `[N, D]`; in a group the rows of this process.
        axis: û, float64 `[D]`.
        length: ‖u‖.
        ridge: λ.
        factor: Cholesky factor of `S̃ + λ I`, `[D, D]`, or if N < D of `X̃X̃ᵀ/N + λ I`, `[N, N]`; float64.
        count: N.
        sums: the processes that hold the images.

    Chapter: ch-closed-form
    """

    images: Tensor
    axis: Tensor
    length: float
    ridge: float
    factor: Tensor
    count: int
    sums: Sums = ALONE

    def solve(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Label sums `B = Yᵀ X̃` and directions `B (S̃ + λ I)⁻¹` for labels `[N, C]`; both float64 `[C, D]`."""
        sums = self._sums(labels)
        if len(self.factor) == len(self.axis):
            return sums, torch.cholesky_solve(sums.T, self.factor).T
        return sums, self._sums(torch.cholesky_solve(labels.double(), self.factor))

    def leverage(self, enough: float = 0.0) -> float:
        """Largest diagonal entry of the hat matrix `X̃ (S̃ + λ I)⁻¹ X̃ᵀ/N`, in [0, 1).

        A cheap bound `max_i ‖x̃_i‖²/(N λ)` is returned in its place where that is at most `enough`.
        """
        n = self.count
        lengths = [x.norm(dim=1) ** 2 - (x @ self.axis.to(x)) ** 2 for x in _blocks(self.images)]
        bound = float(self.sums.largest(torch.cat(lengths).max())) / (n * self.ridge)
        if bound <= enough:
            return bound
        if len(self.factor) != len(self.axis):
            return 1 - self.ridge * float(torch.cholesky_inverse(self.factor).diagonal().min())
        largest = 0.0
        for x in _blocks(self.images):
            x = x.double()
            x = x - torch.outer(x @ self.axis, self.axis)
            half = torch.linalg.solve_triangular(self.factor, x.T, upper=False)
            largest = max(largest, float((half**2).sum(dim=0).max()) / n)
        return float(self.sums.largest(self.axis.new_tensor(largest)))

    def _sums(self, labels: Tensor) -> Tensor:
        sums = torch.zeros(labels.shape[1], len(self.axis), dtype=torch.float64, device=labels.device)
        row = 0
        for x in _blocks(self.images):
            sums += (labels[row : row + len(x)].to(x.dtype).T @ x).double()
            row += len(x)
        sums = self.sums.total(sums)
        return sums - torch.outer(sums @ self.axis, self.axis)


@torch.no_grad()
def ridge_system(images: Tensor, temperature: float, sums: Sums = ALONE) -> RidgeSystem:
    """Factorise `S̃ + τ ‖u‖ I`, or its N x N twin where that is smaller and this process has all rows.

    Args:
        images: unit rows `[N, D]`.
        temperature: τ.
        sums: the processes that hold the images; this one alone, or a group.

    Returns:
        RidgeSystem.

    Raises:
        InputError: if the mean image is zero.

    >>> system = ridge_system(torch.eye(3)[:2], temperature=0.04)
    >>> round(system.length, 4), system.factor.shape
    (0.7071, torch.Size([2, 2]))

    Chapter: ch-closed-form
    """
    n, d = sums.place(images)[1], images.shape[1]
    u = mean_image(images, sums=sums)
    length = float(u.norm())
    if length < 1e-6:
        raise InputError(
            f"images {shape_of(images)} have mean zero, the closed form needs ‖u‖ > 0: do not centre them"
        )
    axis, ridge = u / length, temperature * length
    if n < d and sums.world == 1:
        x = images.to(working_dtype(images))
        a = (x @ axis.to(x)).double()
        gram = (_lower_product(x) - torch.outer(a, a)) / n
    else:
        gram = torch.zeros(d, d, dtype=torch.float64, device=images.device)
        side = torch.zeros_like(axis)
        for x in _blocks(images):
            gram += _lower_product(x.T)
            side += (x.T @ (x @ axis.to(x))).double()
        gram, side = sums.total(gram) / n, sums.total(side) / n
        gram += torch.outer(axis, (axis @ side) * axis - side) - torch.outer(side, axis)
    gram.diagonal().add_(ridge)
    (gram,) = sums.first(gram)
    return RidgeSystem(images, axis, length, ridge, torch.linalg.cholesky(gram), n, sums)


def _lower_product(x: Tensor, width: int = 128) -> Tensor:
    """`x xᵀ` in float64; right on and below the diagonal, which is all that a Cholesky factor reads."""
    product = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    for i in range(0, len(x), width):
        product[i:, i : i + width] = x[i:] @ x[i : i + width].T
    return product


def warn_where_steps_end_elsewhere(system: RidgeSystem, mass: Tensor) -> None:
    """Warn, with the figures, if column masses `[C]` or images break a condition of the closed form."""
    n, c = system.count, len(mass)
    share, length = c * float(mass.max()) / n, n * system.length
    light = share <= MOST_MASS
    if light and length >= LEAST_LENGTH and system.leverage(enough=MOST_LEVERAGE) <= MOST_LEVERAGE:
        return
    cure = "use more images, or fit_proxies"
    if not light and float(mass.sum()) >= n * (1 - ROW_SUM_ERROR):
        cure = "divide a plan whose rows sum to 1 by N"
    elif not light and float(mass.min()) * FEWER < float(mass.max()):
        cure = "some columns were not scaled: give greenkhorn at least C updates, or use fit_proxies"
    said = (
        f"the closed form is not where the steps end: column mass C c/N = {share:.3g} (at most "
        f"{MOST_MASS}), N ‖u‖ = {length:.3g} (at least {LEAST_LENGTH}), leverage {system.leverage():.3g} (at "
        f"most {MOST_LEVERAGE}): {cure}"
    )
    if system.sums.rank == 0:
        warnings.warn(said, UserWarning, stacklevel=4)


def _blocks(images: Tensor) -> Iterator[Tensor]:
    dtype = working_dtype(images)
    for block in images.split(max(1, BLOCK_BYTES // (images.shape[1] * dtype.itemsize))):
        yield block.to(dtype)
