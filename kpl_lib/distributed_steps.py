"""The arithmetic under distributed proxies: gradient steps, ridge system and sweeps on rows held by many processes.

Each process holds its rows. What is shared is as large as the proxies: a gradient `[C, D]`, a scatter `[D, D]`,
column sums `[C]`. They are summed in float64 over the processes; the rest is the arithmetic of one process.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib import gradient as steps_of_one
from kpl_lib import ridge, scaling
from kpl_lib.distributed_group import agreed, from_first, largest, total
from kpl_lib.errors import InputError
from kpl_lib.gradient import Descent


def descend(
    images: Tensor,
    initial: Tensor,
    labels: Tensor,
    temperature: float,
    rule: tuple[float, int, Callable | None],
    n: int,
    group: ProcessGroup | None,
) -> Descent:
    """`kpl_lib.gradient.descend` of one setting, with the gradient summed over the processes.

    Args:
        images: rows of this process, `[n_r, D]`.
        initial: `[C, D]`, the same everywhere.
        labels: `[n_r, C]`.
        temperature: τ.
        rule: learning rate, steps, callback (step, weights `[1, C, D]`, ‖G‖, lr).
        n: N, the rows of all processes.
    """
    rate, steps, callback = rule
    if images.numel() <= steps_of_one.CONVERT:
        images = images.to(labels.dtype)
    weights = initial.double()[None]
    tau = weights.new_full((1, 1, 1), temperature)
    constant, centred, scale = _constants(images, labels.T.contiguous()[None], n, group)
    rate, last = torch.full_like(tau, rate), torch.full_like(tau, math.inf)
    step, residual = 0, scale * math.nan
    for step in range(1, steps + 1):
        gradient = total(steps_of_one._gradient(images, weights, centred, tau), group) + constant
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2), keepdim=True)
        rate = torch.where(norm > last, rate / 2, rate)
        previous, last = weights, norm
        weights = F.normalize(weights - rate / (n * tau) * gradient, dim=2)
        if callback is not None:
            callback(step, weights, norm.flatten(), rate.flatten())
        if step % steps_of_one.CHECK_EVERY and step < steps:
            continue
        tangent = gradient - (gradient * previous).sum(dim=2, keepdim=True) * previous
        factor, bend = rate / (n * tau), n / (2 * tau) + norm
        done = steps_of_one._died_out(previous, weights, tangent, factor, bend, steps - step)
        residual = tangent.flatten().norm() / scale
        weights, rate, last, residual, done = from_first((weights, rate, last, residual, done), group)
        if done.all():
            break
    return Descent(weights, torch.tensor([step]), residual.view(1))


def _constants(images: Tensor, labels: Tensor, n: int, group: ProcessGroup | None) -> tuple[Tensor, ...]:
    """Mean gradient `[1, 1, D]`, labels less their mean over classes, and size of the label term; see `gradient`."""
    mean, centred, _ = steps_of_one._constants(images, labels)
    c, d = labels.shape[1], images.shape[1]
    term, mass, rows = mean.new_zeros(c, d), mean.new_zeros(c, 1), mean.new_zeros(d)
    for x, y in steps_of_one._blocks(images, centred):
        term += y[0] @ x
        mass += y[0].sum(dim=1, keepdim=True)
        rows += x.sum(dim=0)
    mean, term, mass, rows = (total(part, group) for part in (mean, term, mass, rows))
    size = (term - mass / n * rows).norm().clamp_min(torch.finfo(torch.float32).tiny)
    return mean, centred, size


@dataclass(frozen=True, eq=False)
class WholeSystem:
    """What `kpl_lib.ridge.RidgeSystem` says of all rows, from the part of each process.

    part: the system with the images of this process.
    images: only their number, N.
    length: ‖u‖.
    """

    part: ridge.RidgeSystem
    images: range
    length: float
    group: ProcessGroup | None

    def leverage(self, enough: float = 0.0) -> float:
        """The largest leverage of all processes, or a bound on it that is small enough; all must call it."""
        n, images, axis = len(self.images), self.part.images, self.part.axis
        lengths = [x.norm(dim=1) ** 2 - (x @ axis.to(x)) ** 2 for x in ridge._blocks(images)]
        bound = float(largest(torch.cat(lengths).max(), self.group)) / (n * self.part.ridge)
        if bound <= enough:
            return bound
        share = len(images) / n  # a process takes its own rows for all
        return float(largest(axis.new_tensor(self.part.leverage() * share), self.group))


def ridge_system(
    images: Tensor, u: Tensor, temperature: float, n: int, group: ProcessGroup | None
) -> ridge.RidgeSystem:
    """The system `S̃ + τ ‖u‖ I` of all rows, `[D, D]`, with the images of this process."""
    length = float(u.norm())
    if length < 1e-6:
        raise InputError("images have mean zero, the closed form needs ‖u‖ > 0: do not centre them")
    axis = u / length
    gram = torch.zeros(len(u), len(u), dtype=torch.float64, device=images.device)
    side = torch.zeros_like(axis)
    for x in ridge._blocks(images):
        gram += ridge._lower_product(x.T)
        side += (x.T @ (x @ axis.to(x))).double()
    gram, side = total(gram, group) / n, total(side, group) / n
    gram += (axis @ side) * torch.outer(axis, axis) - torch.outer(axis, side) - torch.outer(side, axis)
    gram.diagonal().add_(temperature * length)
    (gram,) = from_first((gram,), group)
    return ridge.RidgeSystem(images, axis, length, temperature * length, torch.linalg.cholesky(gram))


def balance(
    logits: Tensor,
    temperature: float,
    q: Tensor,
    limits: tuple[int, float | None],
    n: int,
    group: ProcessGroup | None,
) -> tuple[Tensor, Tensor, int, bool]:
    """`kpl_lib.scaling.balance_by_sweeps`, with column sums over all processes.

    Args:
        logits: rows of this process, `[n_r, C]`.
        q: class frequencies, float64 `[C]`.
        limits: most sweeps, and the tolerance or None.
        n: N, the rows of all processes.
    """
    kept: list[Tensor] = []
    agreed(lambda: kept.append(scaling.row_softmax(logits, temperature)), group)
    f, plan, done, stop = kept.pop(), None, 0, False
    while not stop:
        f, g = _log_sweep(logits, temperature, q, f, n, group)
        plan = scaling._plan(logits, temperature, f, g, plan)
        a, b, done, met, stop = _plain_sweeps(plan, q, done + 1, limits, n, group)
        f = f + a.log()
    return plan.mul_(a[:, None]).mul_(b), g + b.log(), done, met


def _log_sweep(
    logits: Tensor, temperature: float, q: Tensor, f: Tensor, n: int, group: ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """Columns, then rows, in logarithms."""
    rows = f.split(max(1, scaling.BLOCK // logits.shape[1]))
    pairs = zip(scaling._blocks(logits, temperature), rows, strict=True)
    columns = torch.stack([(z + r[:, None]).logsumexp(dim=0) for z, r in pairs]).logsumexp(dim=0)
    top = largest(columns, group)
    g = q.log() - (top + total((columns - top).exp(), group).log())
    sums = torch.cat([(z + g).logsumexp(dim=1) for z in scaling._blocks(logits, temperature)])
    return -math.log(n) - sums, g


def _plain_sweeps(
    kernel: Tensor, q: Tensor, done: int, limits: tuple[int, float | None], n: int, group: ProcessGroup | None
) -> tuple[Tensor, Tensor, int, bool, bool]:
    """Sweeps as plain products; all processes decide alike, by the most careful of them."""
    iterations, tolerance = limits
    a, b = kernel.new_ones(len(kernel)), torch.ones_like(q)
    while True:
        column = total(kernel.T @ a, group)
        new_b = q / column
        new_a = 1 / (n * (kernel @ new_b))
        scalings = torch.cat([new_a, new_b])
        near = bool(((scalings > 1 / scaling.FAR) & (scalings < scaling.FAR)).all())
        missed = tolerance is None or float((b * column - q).abs().sum()) > tolerance
        missed, far = largest(torch.tensor([missed, not near], device=q.device), group).tolist()
        if not missed or done >= iterations:
            return a, b, done, not missed, True
        if far:
            return a, b, done, False, False
        a, b, done = new_a, new_b, done + 1
