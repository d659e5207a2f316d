"""Pseudo labels by entropic optimal transport between images and classes: Sinkhorn and Greenkhorn.

Both look for the plan `Π = diag(a) exp(L/τ) diag(b)` of mass 1 whose rows sum to 1/N and whose columns sum to the class
prior q. Potentials are logarithms in float64, so a small temperature neither overflows nor dies out.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from kpl_lib.common.checks import check_count, check_logits, check_positive, check_prior, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers.scaling import balance_by_sweeps, balance_greedily


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """Pseudo labels and how well they keep their marginals.

    Args:
        pseudo_labels: `[N, C]`; rows sum to 1 (`start="released"`: the raw plan, of mass about 1).
        iterations: sweeps (Sinkhorn) or single updates (Greenkhorn) that were done.
        converged: True only if a tolerance was asked for and met.
        row_error: L1 distance of the row sums, on a plan of mass 1, from 1/N.
        column_error: the same of the column sums, from the prior.
        class_potentials: Sinkhorn only: g `[C]`, float64, mean 0, with `Y = softmax_rows(L/τ + g)`.

    Chapter: ch-transport
    """

    pseudo_labels: Tensor
    iterations: int
    converged: bool
    row_error: float
    column_error: float
    class_potentials: Tensor | None = None


@torch.no_grad()
def sinkhorn(
    logits: Tensor,
    *,
    temperature: float = 0.01,
    prior: Tensor | Sequence[float] | None = None,
    iterations: int = 20,
    tolerance: float | None = None,
    sums: Sums = ALONE,
) -> TransportPlan:
    """Pseudo labels with the class frequencies of a prior: rescale all columns, then all rows, and repeat.

        Π ← softmax_rows(L/τ)/N,   then Π_ic ← Π_ic q_c / Σ_i Π_ic,  Π_ic ← Π_ic / (N Σ_c Π_ic)  repeated,   Y = N Π

    Args:
        logits: cosines of images and text proxies, `[N, C]`.
        temperature: τ, in units of the logits.
        prior: class frequencies q, `[C]`, positive, sum 1; uniform if None.
        iterations: most sweeps (columns, then rows).
        tolerance: stop once the L1 error of the columns is at most this; None does all `iterations`.
        sums: the processes that hold the rows; this one alone, or a group (see `kpl_lib.distributed`).

    Returns:
        TransportPlan with rows of sum 1. A missed tolerance gives a UserWarning and `converged=False`.

    Raises:
        InputError: if the logits are no finite floating-point matrix, or the prior does not fit.

    >>> plan = sinkhorn(torch.tensor([[0.30, 0.10], [0.28, 0.20], [0.27, 0.22]]), iterations=200)
    >>> [round(x, 2) for x in plan.pseudo_labels.sum(dim=0).tolist()]
    [1.5, 1.5]

    Source: Cuturi 2013 (arXiv 1306.0895); 20 sweeps from the row softmax is InMaP (arXiv 2310.19752).
    Cost: a sweep reads the plan `[N, C]` twice, 16 N C bytes in float64 (each process its rows), for 4 N C flops. First
    and last, and where scalings grow too far, N C exponentials more. On another device than the CPU the host looks
    every 50 sweeps; the result is that of a look at each.
    Chapter: ch-transport
    """

    def check() -> Tensor:
        check_logits(logits, minimum=sums.least)
        check_positive(temperature, "temperature")
        check_count(iterations, "iterations")
        if tolerance is not None:
            check_positive(tolerance, "tolerance")
        return check_prior(prior, logits.shape[1])

    q = sums.agreed(check, logits).to(logits.device)
    plan, g, done, met = balance_by_sweeps(logits, temperature, q, iterations, tolerance, sums)
    n = sums.place(logits)[1]
    result = _report(plan, q, done, met, working_dtype(logits), n, n, sums)
    result = replace(result, class_potentials=g - g.mean())
    return _warn_if_missed(result, tolerance, "sinkhorn") if sums.rank == 0 else result


@torch.no_grad()
def greenkhorn(
    logits: Tensor,
    *,
    temperature: float = 0.01,
    prior: Tensor | Sequence[float] | None = None,
    iterations: int | None = None,
    tolerance: float = 1e-9,
    start: Literal["plan", "released"] = "plan",
) -> TransportPlan:
    """Pseudo labels with the class frequencies of a prior: rescale the row or column most off, and repeat.

        i = argmax |Σ_j P_ij − 1/N|,   j = argmax |Σ_i P_ij − q_j|;   row i or column j, whichever is further off

    `start="plan"` runs to the tolerance, to Sinkhorn's fixed point. `start="released"` does what the authors' code
    does: 20 updates from the row softmax (mass N, not 1), returned as they are, far from converged.

    Args:
        logits: cosines of images and text proxies, `[N, C]`.
        temperature: τ, in units of the logits.
        prior: class frequencies q, `[C]`, positive, sum 1; uniform if None.
        iterations: most single updates; None means 1000 (N + C), or 20 for `start="released"`.
        tolerance: stop once the L1 errors of rows and columns together are at most this; not for "released".
        start: "plan" or "released".

    Returns:
        TransportPlan; rows of sum 1 for "plan". A missed tolerance gives a UserWarning and `converged=False`.

    Raises:
        InputError: as `sinkhorn`, or if `start` is neither of the two.

    >>> plan = greenkhorn(torch.tensor([[0.30, 0.10], [0.28, 0.20], [0.27, 0.22]]))
    >>> plan.converged, [round(x, 6) for x in plan.pseudo_labels.sum(dim=0).tolist()]
    (True, [1.5, 1.5])

    Source: Altschuler et al. 2017 (arXiv 1705.09634); KPL (arXiv 2501.11231), whose code stops after 20 updates.
    Cost: an update of "plan" reads N + C sums to find its row or column, 8 (N + C) bytes and 4 (N + C) flops in
    float64, and changes a column (32 N bytes, 4 N flops) or a row (32 C, 4 C); it runs on the CPU, wherever the
    logits are. One of "released" makes the whole plan anew: 8 passes over `[N, C]`, 32 N C bytes in float32, and N
    C exponentials.
    Chapter: ch-transport
    """
    check_logits(logits)
    check_positive(temperature, "temperature")
    check_positive(tolerance, "tolerance")
    if start not in ("plan", "released"):
        raise InputError(f"start must be 'plan' or 'released', not {start!r}")
    n, c = logits.shape
    q = check_prior(prior, c).to(logits.device)
    if iterations is None:
        iterations = 20 if start == "released" else 1000 * (n + c)
    check_count(iterations, "iterations")
    if start == "released":
        return _released(logits, temperature, q, iterations)
    plan, done, met = balance_greedily(logits.cpu(), temperature, q.cpu(), iterations, tolerance)
    plan = plan.to(logits.device)
    plan /= n * plan.sum(dim=1, keepdim=True)
    result = _report(plan, q, done, met, working_dtype(logits), n, scale=n)
    return _warn_if_missed(result, tolerance, "greenkhorn")


def _released(logits: Tensor, temperature: float, q: Tensor, iterations: int) -> TransportPlan:
    """The authors' loop: row softmax of mass N, targets 1/N and q. First index wins, ties go to columns."""
    dtype = working_dtype(logits)
    n, c = logits.shape
    z = (logits.to(dtype) / temperature).log_softmax(dim=1)
    if not torch.isfinite(z).all():
        raise InputError(f"temperature {temperature:g} is too small: logits / temperature overflows")
    q = q.to(dtype)
    f, g = z.new_zeros(n), z.new_zeros(c)
    for _ in range(iterations):  # which one is updated is decided where the plan is: none waits for the host
        plan = (z + f[:, None] + g).exp()
        rows, columns = (plan.sum(dim=1) - 1 / n).abs(), (plan.sum(dim=0) - q).abs()
        i, j = rows.argmax(dim=0, keepdim=True), columns.argmax(dim=0, keepdim=True)
        row_is_worse = rows[i] > columns[j]
        new_f = -math.log(n) - (z.index_select(0, i)[0] + g).logsumexp(dim=0)
        new_g = q[j].log() - (z.index_select(1, j)[:, 0] + f).logsumexp(dim=0)
        f[i], g[j] = torch.where(row_is_worse, new_f, f[i]), torch.where(row_is_worse, g[j], new_g)
    return _report((z + f[:, None] + g).exp(), q, iterations, False, dtype, n, scale=1)


def _report(
    plan: Tensor,
    q: Tensor,
    done: int,
    met: bool,
    dtype: torch.dtype,
    n: int,
    scale: float,
    sums: Sums = ALONE,
) -> TransportPlan:
    off = sums.total((plan.sum(dim=1) - 1 / n).abs().sum()), (sums.total(plan.sum(dim=0)) - q).abs().sum()
    row_error, column_error = torch.stack(off).tolist()
    return TransportPlan(plan.mul_(scale).to(dtype), done, met, row_error, column_error)


def _warn_if_missed(plan: TransportPlan, tolerance: float | None, name: str) -> TransportPlan:
    if tolerance is not None and not plan.converged:
        warnings.warn(
            f"{name} missed the tolerance {tolerance:g} in {plan.iterations} iterations (row error "
            f"{plan.row_error:.3g}, column error {plan.column_error:.3g}): raise iterations or tolerance",
            UserWarning,
            stacklevel=4,
        )
    return plan
