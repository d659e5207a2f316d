"""Vision proxies: class vectors learned from pseudo labels, by gradient steps or in closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.calibration import softmax_temperature
from kpl_lib.errors import InputError
from kpl_lib.gradient import Descent, descend, descend_in_order, harden
from kpl_lib.ridge import RidgeSystem, ridge_system, warn_where_steps_end_elsewhere
from kpl_lib.validation import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    check_same_space,
    shape_of,
    working_dtype,
)

STATIONARY = 1e-4  # residual up to which the steps count as converged
CONVERT = 1 << 28  # N D up to which half-precision images are converted once, not in every step
SMALL = 1 << 17  # N D C up to which the published order of operations costs nothing


@dataclass(frozen=True, eq=False)
class VisionProxies:
    """One vector per class that scores images.

    weights: `[C, D]`. Steps: unit rows. Closed form: directions across the mean image, not of unit length.
    steps: steps done; fewer than asked for if the rest would not have moved a weight. Closed form: 0.
    converged: whether the residual is at most 1e-4. Closed form: True.
    residual: tangent part of the last gradient, relative to the label term. Closed form: 0.
    temperature: t of `probabilities`, fitted to the pseudo labels (see `kpl_lib.calibration`).
    axis: û `[D]`, which images are cleared of before they are scored, or None.
    offset: `[C]`, added to the scores, or None.
    """

    weights: Tensor
    steps: int
    converged: bool
    residual: float
    temperature: float
    axis: Tensor | None = None
    offset: Tensor | None = None

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores `[N, C]` of any images `[N, D]` (unit rows), fitted or not; larger is likelier.

        x · (w_j − w̄)   (steps: cosines less their mean over classes)      x̃ · w_j + offset_j   (closed
        form)
        """
        check_images(images, minimum=1)
        check_same_space(self.weights, images, "weights")
        return _scores(images, self.weights, self.axis, self.offset)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `[N, C]` = softmax(scores / t); as confident as the pseudo labels, and as wrong."""
        return (self.scores(images) / self.temperature).softmax(dim=1)


def _scores(images: Tensor, weights: Tensor, axis: Tensor | None, offset: Tensor | None) -> Tensor:
    dtype = working_dtype(images, weights)
    w = weights.to(dtype)
    w = w - w.mean(dim=0)  # proxies that nearly coincide would lose their difference in the product
    if axis is not None:  # (x − (x·û) û) · w = x · (w − (w·û) û)
        w = w - torch.outer(w @ axis.to(dtype), axis.to(dtype))
    scores = images.to(dtype) @ w.T
    return scores if offset is None else scores + offset.to(dtype)


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
) -> VisionProxies:
    """Fit proxies to pseudo labels by normalised gradient steps on the cross-entropy: the published rule.

    P = softmax(X Wᵀ/τ)     G = (P − Y)ᵀ X     lr ← lr/2 where ‖G‖ grew     W ← normalize(W − lr/(N τ) G)

    Args:
        images: unit rows X `[N, D]`, N >= 2.
        initial: unit rows `[C, D]` to start from, the text proxies; C >= 2.
        pseudo_labels: Y `[N, C]`, not negative; left as it is.
        temperature: τ.
        learning_rate: lr, in units of N τ / ‖G‖.
        steps: most steps; it stops early once all steps left would move no weight by a quarter float32
            digit.
        confidence: α; rows of Y whose maximum is above it are taken as one-hot.
        callback: called after each step with (step, weights `[C, D]`, ‖G‖, lr).

    Returns:
        VisionProxies with unit rows, in the dtype of the inputs (at least float32).

    Raises:
        InputError: if an argument does not fit.

    >>> x, y = torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> fit_proxies(x, x, y, confidence=1.0).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: InMaP (arXiv 2310.19752), KPL (arXiv 2501.11231). The released code edits Y in place; here it
    is kept. Float64 and small inputs follow the published order of operations digit by digit; larger
    float32 inputs take a faster and more exact one. Derived in chapter "Vision proxies".
    """
    check_images(images)
    check_proxies(initial, images)
    check_plan(pseudo_labels, images, classes=len(initial))
    check_count(steps, "steps", minimum=0)
    for value, name in (
        (temperature, "temperature"),
        (learning_rate, "learning_rate"),
        (confidence, "confidence"),
    ):
        check_positive(value, name)
    dtype = working_dtype(images, initial, pseudo_labels)
    if images.numel() <= CONVERT:
        images = images.to(dtype)
    labels = harden(pseudo_labels.to(dtype), confidence)
    report = callback and (lambda step, w, norm, rate: callback(step, w[0], float(norm), float(rate)))
    rule = (learning_rate, steps, report)
    if dtype == torch.float64 or images.numel() * len(initial) <= SMALL:
        end = descend_in_order(images.to(dtype), initial.to(dtype), labels, temperature, *rule)
    else:
        tau = torch.tensor([temperature], dtype=torch.float64, device=images.device)
        end = descend(images, initial[None], labels.T.contiguous()[None], tau, *rule)
    return fitted(end, 0, images, pseudo_labels, dtype)


def fitted(end: Descent, i: int, images: Tensor, pseudo_labels: Tensor, dtype: torch.dtype) -> VisionProxies:
    """VisionProxies of setting `i` of a descent."""
    weights, residual = end.weights[i].to(dtype), float(end.residual[i])
    t = softmax_temperature(_scores(images, weights, None, None), pseudo_labels)
    return VisionProxies(weights, int(end.steps[i]), residual <= STATIONARY, residual, t)


@torch.no_grad()
def ridge_proxies(
    images: Tensor, pseudo_labels: Tensor, *, temperature: float = 0.04, intercept: bool = False
) -> VisionProxies:
    """Where the steps end, in closed form: ridge regression of the pseudo labels on centred images.

    x̃ = x − (x·û) û,  û = u/‖u‖,  S̃ = X̃ᵀX̃/N,  b_j = C Σ_i Y_ij x̃_i;      w_j − w̄ = (S̃ + τ ‖u‖ I)⁻¹ (b_j − b̄)

    With an intercept it is a linear discriminant of soft labels: m_j = Σ_i Y_ij x̃_i / Σ_i Y_ij in place
    of b_j, and −½ m_j·w_j added to the scores.

    Args:
        images: unit rows X `[N, D]`, N >= 2.
        pseudo_labels: Y `[N, C]`, a plan of mass about 1 (such as `greenkhorn(..., start="released")`).
        temperature: τ of the steps.
        intercept: add the intercept; Y may then have any scale.

    Returns:
        VisionProxies whose weights are the directions w_j − w̄. The steps end at normalize(−û + (τ/N)(w_j
        − w̄)).

    Raises:
        InputError: if an argument does not fit, or the mean image is zero.

    Without the intercept, a UserWarning with the figures tells where the steps would end elsewhere: column
    masses that are not small (C Σ_i Y_ij / N; 1 for rows of sum 1), N ‖u‖ too small, or an image of large
    leverage.

    >>> x, y = torch.tensor([[0.6, 0.8], [0.8, 0.6]]), torch.tensor([[0.4, 0.1], [0.1, 0.4]])
    >>> ridge_proxies(x, y, intercept=True).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: derived for this project; stands for the fixed point of the released KPL code (arXiv
    2501.11231). Derived in chapter "What KPL really computes".
    """
    check_images(images)
    check_plan(pseudo_labels, images)
    check_positive(temperature, "temperature")
    return ridge_from_system(ridge_system(images, temperature), pseudo_labels, intercept)


def ridge_from_system(system: RidgeSystem, pseudo_labels: Tensor, intercept: bool = False) -> VisionProxies:
    """`ridge_proxies` for images that are factorised already."""
    mass = pseudo_labels.sum(dim=0, dtype=torch.float64)
    if intercept and mass.min() <= 0:
        j = int(mass.argmin())
        raise InputError(
            f"pseudo_labels {shape_of(pseudo_labels)}: class {j} has no mass, so no mean: drop the class"
        )
    if not intercept:
        warn_where_steps_end_elsewhere(system, mass)
    sums, directions = system.solve(pseudo_labels)
    scale = 1 / mass[:, None] if intercept else len(mass)
    weights, offset = scale * directions, None
    dtype = working_dtype(system.images, pseudo_labels)
    if intercept:
        offset = -(scale * sums * weights).sum(dim=1) / 2
        offset = (offset - offset.mean()).to(dtype)
    weights = (weights - weights.mean(dim=0)).to(dtype)
    axis = system.axis.to(dtype)
    t = softmax_temperature(_scores(system.images, weights, axis, offset), pseudo_labels)
    return VisionProxies(weights, 0, True, 0.0, t, axis, offset)
