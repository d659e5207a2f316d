"""Vision proxies: class vectors learned from pseudo labels, by gradient steps or in closed form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    check_same_space,
    shape_of,
    working_dtype,
)
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers.gradient import Descent, descend, descend_in_order, harden
from kpl_lib.solvers.ridge import RidgeSystem, ridge_system, warn_where_steps_end_elsewhere
from kpl_lib.solvers.temperature import softmax_temperature

STATIONARY = 1e-4  # residual up to which the steps count as converged
BLOCK = 1 << 14  # images scored together
CALIBRATE = 10_000  # images, evenly spaced, that the one temperature is fitted to
SMALL = 1 << 17  # N D C up to which the published order of operations costs nothing


@dataclass(frozen=True, eq=False)
class VisionProxies:
    """One vector per class that scores images.

    Args:
        weights: `[C, D]`. Steps: unit rows. Closed form: directions across the mean image, not of unit length.
        steps: steps done; fewer than asked for if the rest would not have moved a weight. Closed form: 0.
        converged: whether the residual is at most 1e-4. Closed form: True.
        residual: tangent part of the last gradient, relative to the label term. Closed form: 0.
        temperature: t of `probabilities`, fitted to the pseudo labels (see `kpl_lib.solvers.temperature`).
        directions: `[C, D]`, what images are scored with: the weights less their mean, taken before rounding, for
            proxies that nearly coincide lose their difference in float32. Closed form: None, weights are directions.
        axis: û `[D]`, the direction of the mean image, orthogonal to the weights. Steps: None.
        offset: `[C]`, added to the scores. None without an intercept.

    Chapter: ch-vision-proxies
    """

    weights: Tensor
    steps: int
    converged: bool
    residual: float
    temperature: float
    directions: Tensor | None = None
    axis: Tensor | None = None
    offset: Tensor | None = None

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores `[N, C]` of any images `[N, D]` (unit rows), fitted or not; larger is likelier.

        Steps: `x · (w_j − w̄)`, cosines less their mean over classes. Closed form: `x · w_j + offset_j`, with w_j
        orthogonal to û, so that new images need no centring of their own.
        """
        check_images(images, minimum=1)
        check_same_space(self.weights, images, "weights")
        return _scores(images, self.weights if self.directions is None else self.directions, self.offset)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `softmax(scores / t)`, `[N, C]`; as confident as the pseudo labels, and as wrong."""
        return (self.scores(images) / self.temperature).softmax(dim=1)


def _scores(images: Tensor, directions: Tensor, offset: Tensor | None = None) -> Tensor:
    dtype = working_dtype(images, directions)
    w = directions.to(dtype).T
    scores = torch.cat([x.to(dtype) @ w for x in images.split(BLOCK)])
    return scores if offset is None else scores + offset.to(dtype)


def _temperature(
    images: Tensor,
    pseudo_labels: Tensor,
    directions: Tensor,
    offset: Tensor | None = None,
    sums: Sums = ALONE,
) -> float:
    """The temperature that is fitted to some evenly spaced images, wherever they are."""
    first, n = sums.place(images)
    every = -(-n // CALIBRATE)
    mine = slice(-first % every, None, every)
    scores, labels = sums.gathered(_scores(images[mine], directions, offset), pseudo_labels[mine])
    t = softmax_temperature(scores, labels)
    return (
        t
        if sums.world == 1
        else float(sums.first(torch.tensor(t, dtype=torch.float64, device=images.device))[0])
    )


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
    sums: Sums = ALONE,
) -> VisionProxies:
    """Fit proxies to pseudo labels by normalised gradient steps on the cross-entropy: the published rule.

        P = softmax(X Wᵀ/τ)     G = (P − Y)ᵀ X     lr ← lr/2 where ‖G‖ grew     W ← normalize(W − lr/(N τ) G)

    Args:
        images: unit rows X `[N, D]`, N >= 2.
        initial: unit rows `[C, D]` to start from, the text proxies; C >= 2.
        pseudo_labels: Y `[N, C]`, not negative; left as it is.
        temperature: τ.
        learning_rate: lr, in units of N τ / ‖G‖.
        steps: most steps; it stops once all that are left would move no weight by a quarter float32 digit.
        confidence: α; rows of Y whose maximum is above it are taken as one-hot, none if α >= 1.
        callback: called after each step with (step, weights `[C, D]`, ‖G‖, lr).
        sums: the processes that hold the images; this one alone, or a group (see `kpl_lib.distributed`).

    Returns:
        VisionProxies with unit rows, in the dtype of the inputs (at least float32).

    Raises:
        InputError: if an argument does not fit.

    >>> x, y = torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> fit_proxies(x, x, y, confidence=1.0).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: InMaP (arXiv 2310.19752), KPL (arXiv 2501.11231), whose code edits Y in place. Float64 and small inputs keep
    the published order of operations digit by digit; larger float32 inputs take a faster and more exact one.
    Chapter: ch-vision-proxies
    """

    def check() -> None:
        check_images(images, minimum=sums.least)
        check_proxies(initial, images)
        check_plan(pseudo_labels, images, classes=len(initial))
        check_count(steps, "steps", minimum=0)
        check_positive(temperature, "temperature")
        check_positive(learning_rate, "learning_rate")
        check_positive(confidence, "confidence")

    sums.agreed(check, images)
    dtype = working_dtype(images, initial, pseudo_labels)
    labels = harden(pseudo_labels.to(dtype), confidence)
    report = callback and (lambda step, w, norm, rate: callback(step, w[0], float(norm), float(rate)))
    rule = (learning_rate, steps, report)
    if sums.world == 1 and (dtype == torch.float64 or images.numel() * len(initial) <= SMALL):
        end = descend_in_order(images.to(dtype), initial.to(dtype), labels, temperature, *rule)
    else:
        tau = torch.tensor([temperature], dtype=torch.float64, device=images.device)
        labels = labels.T.contiguous()[None]
        end = descend(images, initial[None], labels, tau, *rule, sums)
    return fitted(end, 0, images, pseudo_labels, dtype, sums)


def fitted(
    end: Descent,
    i: int,
    images: Tensor,
    pseudo_labels: Tensor,
    dtype: torch.dtype,
    sums: Sums = ALONE,
) -> VisionProxies:
    """VisionProxies of setting `i` of a descent."""
    weights, residual = end.weights[i], float(end.residual[i])
    directions = (weights - weights.mean(dim=0)).to(dtype)
    t = _temperature(images, pseudo_labels, directions, sums=sums)
    steps, converged = int(end.steps[i]), residual <= STATIONARY
    return VisionProxies(weights.to(dtype), steps, converged, residual, t, directions)


@torch.no_grad()
def ridge_proxies(
    images: Tensor,
    pseudo_labels: Tensor,
    *,
    temperature: float = 0.04,
    intercept: bool = False,
    sums: Sums = ALONE,
) -> VisionProxies:
    """Where the steps end, in closed form: ridge regression of the pseudo labels on centred images.

        x̃ = x − (x·û) û,  û = u/‖u‖,   S̃ = X̃ᵀX̃/N,  b_j = C Σ_i Y_ij x̃_i,   w_j − w̄ = (S̃ + τ ‖u‖ I)⁻¹ (b_j − b̄)

    With an intercept, a linear discriminant of soft labels: `m_j = Σ_i Y_ij x̃_i / Σ_i Y_ij` in place of `b_j`,
    and `−½ m_j·w_j` added to the scores.

    Args:
        images: unit rows X `[N, D]`, N >= 2.
        pseudo_labels: Y `[N, C]`, a plan of mass about 1 (such as `greenkhorn(..., start="released")`).
        temperature: τ of the steps.
        intercept: add the intercept; Y may then have any scale.
        sums: the processes that hold the images; this one alone, or a group (see `kpl_lib.distributed`).

    Returns:
        VisionProxies whose weights are the directions w_j − w̄, `[C, D]`. The unit vectors of the steps end near
        `normalize(−û + (τ/N)(w_j − w̄))`: they coincide as N grows, the directions do not. Without the intercept, a
        UserWarning tells where the steps would end elsewhere: column masses that are not small (`C Σ_i Y_ij / N`; 1
        for rows of sum 1), `N ‖u‖` too small, or an image of large leverage.

    Raises:
        InputError: if an argument does not fit, or the mean image is zero.

    >>> x, y = torch.tensor([[0.6, 0.8], [0.8, 0.6]]), torch.tensor([[0.4, 0.1], [0.1, 0.4]])
    >>> ridge_proxies(x, y, intercept=True).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: derived for this project; stands for the fixed point of the released KPL code (arXiv 2501.11231).
    Chapter: ch-closed-form
    """

    def check() -> None:
        check_images(images, minimum=sums.least)
        check_plan(pseudo_labels, images)
        check_positive(temperature, "temperature")

    sums.agreed(check, images)
    return solved(ridge_system(images, temperature, sums), [pseudo_labels], intercept)[0]


def solved(
    system: RidgeSystem, plans: Sequence[Tensor], intercept: bool = False
) -> tuple[VisionProxies, ...]:
    """`ridge_proxies` of several plans `[N, C]` on images that are factorised already: one solve for all."""
    masses = [sum(part.double().sum(dim=0) for part in plan.split(BLOCK)) for plan in plans]
    masses = [system.sums.total(mass) for mass in masses]
    for plan, mass in zip(plans, masses, strict=True):
        if not intercept:
            warn_where_steps_end_elsewhere(system, mass)
        elif mass.min() <= 0:
            what = f"pseudo_labels {shape_of(plan)}: class {int(mass.argmin())} has no mass"
            raise InputError(f"{what}, so it has no mean: drop the class")
    sizes = [len(mass) for mass in masses]
    answers = zip(*(part.split(sizes) for part in system.solve(torch.cat(list(plans), dim=1))), strict=True)
    found = zip(plans, masses, answers, strict=True)
    return tuple(_discriminant(system, plan, mass, *answer, intercept) for plan, mass, answer in found)


def _discriminant(
    system: RidgeSystem, plan: Tensor, mass: Tensor, sums: Tensor, directions: Tensor, intercept: bool
) -> VisionProxies:
    scale = 1 / mass[:, None] if intercept else len(mass)
    weights, offset = scale * directions, None
    dtype = working_dtype(system.images, plan)
    if intercept:
        offset = -(scale * sums * weights).sum(dim=1) / 2
        offset = system.sums.first(offset - offset.mean())[0].to(dtype)
    weights = system.sums.first(weights - weights.mean(dim=0))[0].to(dtype)
    t = _temperature(system.images, plan, weights, offset, system.sums)
    return VisionProxies(weights, 0, True, 0.0, t, None, system.axis.to(dtype), offset)
