"""Scaling of a kernel to given marginals, in float64: the arithmetic under the transport plans.

A plan is `P_ij = exp(L_ij/τ + f_i + g_j)`. The potentials f, g are logarithms, so a small temperature neither
overflows nor dies out; between two visits to the logarithms, sweeps are plain products, which cost far less.
Greedy single updates are compiled by numba at the first call.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kpl_lib.common.compiled import machine_code
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers.looks import look_after

TINY = 1e-200  # a marginal below this is recomputed from the potentials: its entries may have died out


def _greedy(z, f, g, plan, rows, columns, r, q, tolerance, limit):  # runs compiled; z and plan are [C, N]
    """Update potentials, plan and marginals in place until the L1 error is met; return the updates done."""
    c, n = plan.shape
    done = 0
    while True:
        worst_row, worst_column, error = 0.0, 0.0, 0.0
        for k in range(n):
            error += abs(rows[k] - r)
            worst_row = max(worst_row, abs(rows[k] - r))
        for k in range(c):
            error += abs(columns[k] - q[k])
            worst_column = max(worst_column, abs(columns[k] - q[k]))
        if error <= tolerance or done >= limit:
            return done
        done += 1
        if worst_row > worst_column:
            i = 0
            while abs(rows[i] - r) != worst_row:  # the first of equals
                i += 1
            if rows[i] > TINY:
                change = r / rows[i] - 1
                f[i] += np.log(r / rows[i])
                for k in range(c):
                    columns[k] += plan[k, i] * change
                    plan[k, i] += plan[k, i] * change
            else:
                top = (z[:, i] + g).max()
                f[i] = np.log(r) - top - np.log(np.exp(z[:, i] + g - top).sum())
                for k in range(c):
                    new = np.exp(z[k, i] + f[i] + g[k])
                    columns[k] += new - plan[k, i]
                    plan[k, i] = new
            rows[i] = r
        else:
            j = 0
            while abs(columns[j] - q[j]) != worst_column:
                j += 1
            if columns[j] > TINY:
                change = q[j] / columns[j] - 1
                g[j] += np.log(q[j] / columns[j])
                for k in range(n):
                    rows[k] += plan[j, k] * change
                    plan[j, k] += plan[j, k] * change
            else:
                top = (z[j] + f).max()
                g[j] = np.log(q[j]) - top - np.log(np.exp(z[j] + f - top).sum())
                new = np.exp(z[j] + f + g[j])
                rows += new - plan[j]
                plan[j] = new
            columns[j] = q[j]


greedy_updates = machine_code(_greedy, fastmath={"reassoc", "nsz", "nnan"})
BLOCK = 1 << 22  # entries of a block of rows: 32 MB in float64
FAR = math.exp(50)  # scalings beyond this go back to the logarithms
ROUND = 20  # greedy updates, in units of N + C, after which the plan is rebuilt from its potentials


def balance_by_sweeps(
    logits: Tensor,
    temperature: float,
    q: Tensor,
    iterations: int,
    tolerance: float | None,
    sums: Sums = ALONE,
) -> tuple[Tensor, Tensor, int, bool]:
    """Sweeps (columns to q, then rows to 1/N) from the row softmax; in a group, of the rows of this process.

    Returns:
        The plan `[N, C]`, float64; the column potentials g `[C]`; the sweeps done; whether the L1 error of the
        columns met the tolerance.
    """
    f, plan = sums.agreed(lambda: row_softmax(logits, temperature)), None
    n, done, stop = sums.place(logits)[1], 0, False
    while not stop:
        f, g = _log_sweep(logits, temperature, q, f, n, sums)
        plan = _plan(logits, temperature, f, g, plan)
        a, b, done, met, stop = _plain_sweeps(plan, q, done + 1, (iterations, tolerance), n, sums)
        f = f + a.log()
    return plan.mul_(a[:, None]).mul_(b), g + b.log(), done, met


def balance_greedily(
    logits: Tensor, temperature: float, q: Tensor, limit: int, tolerance: float
) -> tuple[Tensor, int, bool]:
    """Single updates from the row softmax over N, on the CPU, in rounds that rounding cannot outgrow.

    Returns:
        The plan `[N, C]`, float64; the updates done; whether the L1 error of both sides met the tolerance.
    """
    n, c = logits.shape
    f = row_softmax(logits, temperature) - math.log(n)
    g = torch.zeros(c, dtype=torch.float64)
    z = (logits.double() / temperature).T.contiguous()
    done, last = 0, 1
    while True:
        plan = _plan(logits, temperature, f, g)
        rows, columns = plan.sum(dim=1), plan.sum(dim=0)
        error = float((rows - 1 / n).abs().sum() + (columns - q).abs().sum())
        met = error <= tolerance * (1 + 1e-6)  # the compiled sum runs in another order
        if met or done >= limit or last == 0:
            return plan, done, met
        state = (x.numpy() for x in (z, f, g, plan.T.contiguous(), rows, columns))
        last = greedy_updates(*state, 1 / n, q.numpy(), tolerance, min(limit - done, ROUND * (n + c)))
        done += last


def row_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Row potentials `[N]` of the row softmax: `−log Σ_j exp(L_ij/τ)`."""
    f = -torch.cat([z.logsumexp(dim=1) for z in _blocks(logits, temperature)])
    if not torch.isfinite(f).all():
        raise InputError(f"temperature {temperature:g} is too small: logits / temperature overflows float64")
    return f


def _blocks(logits: Tensor, temperature: float) -> Iterator[Tensor]:
    for block in logits.split(max(1, BLOCK // logits.shape[1])):
        yield block.double() / temperature


def _log_sweep(
    logits: Tensor, temperature: float, q: Tensor, f: Tensor, n: int, sums: Sums
) -> tuple[Tensor, Tensor]:
    """Columns, then rows, in logarithms."""
    rows = f.split(max(1, BLOCK // logits.shape[1]))
    pairs = zip(_blocks(logits, temperature), rows, strict=True)
    columns = torch.stack([(z + r[:, None]).logsumexp(dim=0) for z, r in pairs]).logsumexp(dim=0)
    top = sums.largest(columns)
    g = q.log() - (top + sums.total((columns - top).exp()).log())
    rows = torch.cat([(z + g).logsumexp(dim=1) for z in _blocks(logits, temperature)])
    return -math.log(n) - rows, g


def _plan(logits: Tensor, temperature: float, f: Tensor, g: Tensor, out: Tensor | None = None) -> Tensor:
    out = torch.empty(logits.shape, dtype=torch.float64, device=logits.device) if out is None else out
    row = 0
    for z in _blocks(logits, temperature):
        torch.exp(z + f[row : row + len(z), None] + g, out=out[row : row + len(z)])
        row += len(z)
    return out


def _plain_sweeps(
    kernel: Tensor, q: Tensor, done: int, limits: tuple[int, float | None], n: int, sums: Sums
) -> tuple[Tensor, Tensor, int, bool, bool]:
    """Sweeps as plain products, until they suffice (last value True) or the scalings grow too far (False).

    All processes decide alike, by the most careful of them; `limits` are the most sweeps, and the tolerance or None.
    """
    if kernel.device.type != "cpu":
        return _sweeps_elsewhere(kernel, q, done, limits, n, sums)
    iterations, tolerance = limits
    a, b = kernel.new_ones(len(kernel)), torch.ones_like(q)
    while True:
        column = sums.total(kernel.T @ a)
        off = math.inf if tolerance is None else float((b * column - q).abs().sum())
        (missed,) = sums.any(tolerance is None or not off <= tolerance)
        if not missed or done >= iterations:
            return a, b, done, not missed, True
        new_b = q / column
        new_a = 1 / (n * (kernel @ new_b))
        scalings = torch.cat([new_a, new_b])
        (far,) = sums.any(not ((scalings > 1 / FAR) & (scalings < FAR)).all())
        if far:
            return a, b, done, False, False
        a, b, done = new_a, new_b, done + 1


def _sweeps_elsewhere(
    kernel: Tensor, q: Tensor, done: int, limits: tuple[int, float | None], n: int, sums: Sums
) -> tuple[Tensor, Tensor, int, bool, bool]:
    """The same on a device that a look of the host makes wait: it looks seldom (`looks`).

    The device decides which scalings stay, so they are those that a look at each sweep would end with; only the sweeps
    up to the next look are done in vain.
    """
    iterations, tolerance = limits
    a, b = kernel.new_ones(len(kernel)), torch.ones_like(q)
    goes_on = torch.ones((), dtype=torch.bool, device=kernel.device)
    met = far = ~goes_on
    sweeps = goes_on.long() * done
    while True:
        for _ in range(min(look_after(done), iterations - done + 1)):
            column = sums.total(kernel.T @ a)
            missed = goes_on | True if tolerance is None else ~((b * column - q).abs().sum() <= tolerance)
            new_b = q / column
            new_a = 1 / (n * (kernel @ new_b))
            scalings = torch.cat([new_a, new_b])
            near = ((scalings > 1 / FAR) & (scalings < FAR)).all()
            missed, off = sums.total(torch.stack([missed, ~near]).double()) > 0
            met = met | (goes_on & ~missed)
            goes_on = goes_on & missed & (sweeps < iterations)
            far = far | (goes_on & off)
            goes_on = goes_on & ~off
            a, b = torch.where(goes_on, new_a, a), torch.where(goes_on, new_b, b)
            sweeps = sweeps + goes_on
        going, was_met, was_far, done = torch.stack([goes_on, met, far, sweeps]).tolist()
        if not going:
            return a, b, done, bool(was_met), not was_far
