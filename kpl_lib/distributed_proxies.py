"""Vision proxies of images that many processes hold, by steps or in closed form; see `kpl_lib.distributed`."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib.calibration import softmax_temperature
from kpl_lib.distributed_group import counted, from_first, gathered, rank_of, total
from kpl_lib.distributed_labels import mean_of
from kpl_lib.distributed_steps import WholeSystem, descend, ridge_system
from kpl_lib.errors import InputError
from kpl_lib.gradient import harden
from kpl_lib.ridge import warn_where_steps_end_elsewhere
from kpl_lib.validation import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    working_dtype,
)
from kpl_lib.vision_proxies import CALIBRATE, STATIONARY, VisionProxies, _scores


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
