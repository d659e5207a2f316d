"""Mean image, text proxies, pseudo labels and vision proxies of images that many processes hold, each its rows.

What is shared is as large as the proxies: a gradient `[C, D]`, a scatter `[D, D]`, column sums `[C]`. They are summed
in float64 over the processes; the rest is the arithmetic of one process.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib import text_proxies as texts
from kpl_lib.common.checks import (
    check_classes,
    check_count,
    check_float_matrix,
    check_images,
    check_plan,
    check_positive,
    check_prior,
    check_proxies,
    check_same_space,
    check_unit_rows,
    working_dtype,
)
from kpl_lib.common.errors import InputError
from kpl_lib.distributed.group import agreed, counted, from_first, gathered, largest, rank_of, total
from kpl_lib.features import TextBank
from kpl_lib.solvers import gradient as steps_of_one
from kpl_lib.solvers import ridge, scaling
from kpl_lib.solvers.gradient import Descent, harden
from kpl_lib.solvers.ridge import warn_where_steps_end_elsewhere
from kpl_lib.solvers.temperature import softmax_temperature
from kpl_lib.text_proxies import TextProxies
from kpl_lib.transport import TransportPlan, _warn_if_missed
from kpl_lib.vision_proxies import CALIBRATE, STATIONARY, VisionProxies, _scores


def descend(
    images: Tensor,
    initial: Tensor,
    labels: Tensor,
    temperature: float,
    rule: tuple[float, int, Callable | None],
    n: int,
    group: ProcessGroup | None,
) -> Descent:
    """`kpl_lib.solvers.gradient.descend` of one setting, with the gradient summed over the processes.

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
    """What `kpl_lib.solvers.ridge.RidgeSystem` says of all rows, from the part of each process.

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
    """`kpl_lib.solvers.scaling.balance_by_sweeps`, with column sums over all processes.

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


@torch.no_grad()
def mean_image(images: Tensor, *, group: ProcessGroup | None = None) -> Tensor:
    """Mean image `u = (1/N) Σ_i x_i` over the rows of all processes, float64 `[D]`.

    Args:
        images: unit rows of this process, `[n_r, D]`.
        group: the processes.

    Returns:
        u, the same on all processes.

    Raises:
        InputError: if the rows do not fit on one of them.

    >>> mean_image(torch.eye(2))
    tensor([0.5000, 0.5000], dtype=torch.float64)

    Chapter: ch-scaling
    """
    _, n = counted(images, lambda: check_images(images, minimum=1), group)
    return mean_of(images, n, group)


def mean_of(images: Tensor, n: int, group: ProcessGroup | None) -> Tensor:
    """The mean image of checked rows, N in all."""
    return from_first((total(texts.mean_image(images) * len(images), group) / n,), group)[0]


@torch.no_grad()
def text_proxies(
    bank: TextBank, images: Tensor, k: int = 8, *, group: ProcessGroup | None = None
) -> TextProxies:
    """`kpl_lib.text_proxies.text_proxies`: the mean image is all that it needs of the other processes.

        s_m = u · t_m,   u = (1/N) Σ_r Σ_i x_i,   T_c = normalize( Σ_{m in top k} t_m )

    Args:
        bank: descriptions of C classes, the same everywhere.
        images: unit rows of this process, `[n_r, D]`.
        k: descriptions kept for each class.
        group: the processes.

    Returns:
        TextProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> text_proxies(bank, torch.eye(3)[:2], k=1).chosen
    (tensor([0]), tensor([0]))

    Source: KPL (arXiv 2501.11231).
    Chapter: ch-scaling
    """

    def check() -> None:
        check_images(images, minimum=1)
        check_count(k, "k")
        check_classes(len(bank.class_names), "bank")
        for name, rows in zip(bank.class_names, bank.descriptions, strict=True):
            check_unit_rows(rows, f"bank.descriptions of {name!r}", "[M, D]")
            check_same_space(rows, images, f"bank.descriptions of {name!r}")

    _, n = counted(images, check, group)
    if rank_of(group) == 0:
        texts._report_clipping(bank, k)
    u = mean_of(images, n, group)
    ranked = [texts._rank(rows, u, [k], working_dtype(images, rows)) for rows in bank.descriptions]
    return texts._keep(ranked, 0, k, bank.class_names)


@torch.no_grad()
def sinkhorn(
    logits: Tensor,
    *,
    temperature: float = 0.01,
    prior: Tensor | Sequence[float] | None = None,
    iterations: int = 20,
    tolerance: float | None = None,
    group: ProcessGroup | None = None,
) -> TransportPlan:
    """`kpl_lib.transport.sinkhorn` with column sums over all processes; a sweep sends C numbers.

        P_ij ← P_ij q_j / Σ_r Σ_i P_ij,   P_ij ← P_ij / (N Σ_j P_ij)

    Args:
        logits: rows of this process, `[n_r, C]`.
        temperature, prior, iterations, tolerance: as for one process, the same everywhere.
        group: the processes.

    Returns:
        TransportPlan with the rows of this process; errors and potentials are those of the whole plan.

    Raises:
        InputError: as for one process, on all of them.

    >>> plan = sinkhorn(torch.tensor([[0.30, 0.10], [0.28, 0.20], [0.27, 0.22]]), iterations=200)
    >>> [round(x, 2) for x in plan.pseudo_labels.sum(dim=0).tolist()]
    [1.5, 1.5]

    Source: Cuturi 2013 (arXiv 1306.0895).
    Chapter: ch-scaling
    """

    def check() -> None:
        check_float_matrix(logits, "logits", "[N, C]")
        check_classes(logits.shape[1], "logits")
        check_positive(temperature, "temperature")
        check_count(iterations, "iterations")
        if tolerance is not None:
            check_positive(tolerance, "tolerance")
        check_prior(prior, logits.shape[1])

    _, n = counted(logits, check, group)
    q = check_prior(prior, logits.shape[1]).to(logits.device)
    plan, g, done, met = balance(logits, temperature, q, (iterations, tolerance), n, group)
    row_error = float(total((plan.sum(dim=1) - 1 / n).abs().sum(), group))
    column_error = float((total(plan.sum(dim=0), group) - q).abs().sum())
    labels = plan.mul_(n).to(working_dtype(logits))
    result = TransportPlan(labels, done, met, row_error, column_error)
    result = replace(result, class_potentials=g - g.mean())
    return _warn_if_missed(result, tolerance, "sinkhorn") if rank_of(group) == 0 else result


@torch.no_grad()
def fit_proxies(
    images: Tensor,
    initial: Tensor,
    pseudo_labels: Tensor,
    *,
    temperature: float = 0.04,
    learning_rate: float = 10.0,
    steps: int = 2000,
    confidence: float = 0.6,
    callback: Callable[[int, Tensor, float, float], None] | None = None,
    group: ProcessGroup | None = None,
) -> VisionProxies:
    """`kpl_lib.vision_proxies.fit_proxies` with the gradient summed over all processes; a step sends C D numbers.

        G = Σ_r (P_r − Y_r)ᵀ X_r     lr ← lr/2 where ‖G‖ grew     W ← normalize(W − lr/(N τ) G)

    Args:
        images: unit rows of this process, `[n_r, D]`.
        initial: unit rows `[C, D]`, the same everywhere.
        pseudo_labels: their rows, `[n_r, C]`.
        temperature, learning_rate, steps, confidence, callback: as for one process.
        group: the processes.

    Returns:
        VisionProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> x, y = torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> fit_proxies(x, x, y, confidence=1.0).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: InMaP (arXiv 2310.19752), KPL (arXiv 2501.11231). Proxies and sums over processes are float64 also for
    float32 images.
    Chapter: ch-scaling
    """

    def check() -> None:
        check_images(images, minimum=1)
        check_proxies(initial, images)
        check_plan(pseudo_labels, images, classes=len(initial))
        check_count(steps, "steps", minimum=0)
        for value, name in ((temperature, "temperature"), (learning_rate, "learning_rate")):
            check_positive(value, name)
        check_positive(confidence, "confidence")

    first, n = counted(images, check, group)
    dtype = working_dtype(images, initial, pseudo_labels)
    labels = harden(pseudo_labels.to(dtype), confidence)
    report = callback and (lambda step, w, norm, rate: callback(step, w[0], float(norm), float(rate)))
    end = descend(images, initial, labels, temperature, (learning_rate, steps, report), n, group)
    weights, residual = end.weights[0], float(end.residual)
    directions = (weights - weights.mean(dim=0)).to(dtype)
    t = _temperature(images, pseudo_labels, directions, None, (first, n), group)
    return VisionProxies(weights.to(dtype), int(end.steps), residual <= STATIONARY, residual, t, directions)


@torch.no_grad()
def ridge_proxies(
    images: Tensor,
    pseudo_labels: Tensor,
    *,
    temperature: float = 0.04,
    intercept: bool = False,
    group: ProcessGroup | None = None,
) -> VisionProxies:
    """`kpl_lib.vision_proxies.ridge_proxies` with moments and scatter summed over all processes, D² + C D numbers.

        S̃ = (1/N) Σ_r X̃_rᵀ X̃_r,   b_j = C Σ_r Σ_i Y_ij x̃_i,   w_j − w̄ = (S̃ + τ ‖u‖ I)⁻¹ (b_j − b̄)

    Args:
        images: unit rows of this process, `[n_r, D]`.
        pseudo_labels: their rows of a plan whose mass over all processes is about 1, `[n_r, C]`.
        temperature, intercept: as for one process.
        group: the processes.

    Returns:
        VisionProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> x, y = torch.tensor([[0.6, 0.8], [0.8, 0.6]]), torch.tensor([[0.4, 0.1], [0.1, 0.4]])
    >>> ridge_proxies(x, y, intercept=True).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: derived for this project. Always solves D x D, also where one process would solve N x N.
    Chapter: ch-scaling
    """

    def check() -> None:
        check_images(images, minimum=1)
        check_plan(pseudo_labels, images)
        check_positive(temperature, "temperature")

    first, n = counted(images, check, group)
    system = ridge_system(images, mean_of(images, n, group), temperature, n, group)
    mass = total(pseudo_labels.sum(dim=0, dtype=torch.float64), group)
    if intercept and mass.min() <= 0:
        raise InputError(f"pseudo_labels: class {int(mass.argmin())} has no mass, so no mean: drop the class")
    if not intercept:
        with warnings.catch_warnings():
            if rank_of(group) > 0:
                warnings.simplefilter("ignore")
            warn_where_steps_end_elsewhere(WholeSystem(system, range(n), system.length, group), mass)
    sums = total(system._sums(pseudo_labels), group)
    scale = 1 / mass[:, None] if intercept else len(mass)
    weights, offset = scale * torch.cholesky_solve(sums.T, system.factor).T, None
    dtype = working_dtype(images, pseudo_labels)
    if intercept:
        offset = -(scale * sums * weights).sum(dim=1) / 2
        (offset,) = from_first((offset - offset.mean(),), group)
        offset = offset.to(dtype)
    weights = from_first((weights - weights.mean(dim=0),), group)[0].to(dtype)
    t = _temperature(images, pseudo_labels, weights, offset, (first, n), group)
    return VisionProxies(weights, 0, True, 0.0, t, None, system.axis.to(dtype), offset)


def _temperature(
    images: Tensor,
    pseudo_labels: Tensor,
    directions: Tensor,
    offset: Tensor | None,
    where: tuple[int, int],
    group: ProcessGroup | None,
) -> float:
    """The temperature of one process: fitted to the same evenly spaced images, wherever they are."""
    first, n = where
    every = -(-n // CALIBRATE)
    mine = slice(-first % every, None, every)
    scores = _scores(images[mine], directions, offset) if len(images[mine]) else directions.new_zeros(0, 1)
    parts = gathered((scores.cpu(), pseudo_labels[mine].cpu()), group)
    kept = [part for part in parts if len(part[0])]
    scores, labels = (torch.cat(column) for column in zip(*kept, strict=True))
    return float(
        from_first(
            (torch.tensor(softmax_temperature(scores, labels), dtype=torch.float64).to(images.device),), group
        )[0]
    )
