"""Vision proxies: class vectors learned from pseudo labels, by gradient steps or in closed form."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.errors import InputError
from kpl_lib.gradient import descend
from kpl_lib.ridge import RidgeSystem, ridge_system
from kpl_lib.validation import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    check_same_width,
    shape_of,
    working_dtype,
)

STATIONARY = 1e-3  # relative tangent gradient below which the steps count as converged
CALIBRATION_IMAGES = 20_000  # one number is fitted: this many images are enough


@dataclass(frozen=True)
class VisionProxies:
    """One vector per class that scores images.

    weights: `[C, D]`. Gradient steps: unit rows. Closed form: directions orthogonal to the mean image.
    steps: gradient steps done (fewer than asked for if the rest would not have moved a weight); 1 for the closed form.
    converged: whether the steps reached a stationary point; True for the closed form.
    residual: tangent part of the gradient at the end, relative to the label term; 0 for the closed form.
    softmax_temperature: t of `probabilities`.
    axis: û `[D]`, which images are cleared of before scoring, or None.
    offset: `[C]`, added to the scores, or None.
    """

    weights: Tensor
    steps: int
    converged: bool
    residual: float
    softmax_temperature: float
    axis: Tensor | None = None
    offset: Tensor | None = None

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores `[N, C]`, larger is likelier, of any images `[N, D]` (unit rows), fitted or not.

        x · w_j   (gradient steps)        (x − (x·û) û) · w_j + offset_j   (closed form)
        """
        check_images(images, minimum=1)
        check_same_width(self.weights, images, "weights")
        return _scores(images, self.weights, self.axis, self.offset)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `[N, C]` = softmax(scores / t), with the temperature t that was fitted to the pseudo labels.

        t minimises the cross-entropy −Σ_ij Ỹ_ij log softmax(S_i/t)_j over the fitted images, Ỹ the pseudo labels with rows
        of sum 1: temperature scaling (Guo et al. 2017) with pseudo labels in place of labels. No label is needed, so
        the confidences are those of the text: where the text is wrong, they are wrong too. Where scores and pseudo
        labels disagree, t grows.
        """
        return (self.scores(images) / self.softmax_temperature).softmax(dim=1)


def _scores(images: Tensor, weights: Tensor, axis: Tensor | None, offset: Tensor | None) -> Tensor:
    x, w = (t.to(working_dtype(images, weights)) for t in (images, weights))
    if axis is not None:
        x = x - (x @ axis.to(x.dtype))[:, None] * axis.to(x.dtype)
    scores = x @ (w - w.mean(dim=0)).T
    return scores if offset is None else scores + offset.to(x.dtype)


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
    check_images(images)
    check_proxies(initial, images)
    check_plan(pseudo_labels, images, classes=len(initial))
    check_positive(temperature, "temperature")
    check_positive(learning_rate, "learning_rate")
    check_positive(confidence, "confidence")
    check_count(steps, "steps", minimum=0)
    dtype = working_dtype(images, initial, pseudo_labels)
    images = images.to(dtype) if images.dtype.itemsize >= 4 else images
    labels = harden(pseudo_labels.to(dtype), confidence).T.contiguous()
    end = descend(
        images,
        initial.to(dtype)[None],
        labels[None],
        torch.tensor([temperature], dtype=dtype, device=images.device),
        learning_rate,
        steps,
        callback and (lambda step, w, norm, rate: callback(step, w[0], float(norm), float(rate))),
    )
    residual = float(end.residual)
    weights = end.weights[0].to(dtype)
    return VisionProxies(
        weights,
        int(end.steps),
        residual <= STATIONARY,
        residual,
        softmax_temperature(images, pseudo_labels, weights),
    )


def harden(pseudo_labels: Tensor, confidence: float) -> Tensor:
    """Copy of pseudo labels `[N, C]` in which rows with a maximum above `confidence` are one-hot."""
    best, index = pseudo_labels.max(dim=1)
    sure = best > confidence
    labels = pseudo_labels.clone()
    labels[sure] = 0
    labels[sure, index[sure]] = 1
    return labels


@torch.no_grad()
def ridge_proxies(
    images: Tensor, pseudo_labels: Tensor, *, temperature: float = 0.04, intercept: bool = False
) -> VisionProxies:
    check_images(images)
    check_plan(pseudo_labels, images)
    check_positive(temperature, "temperature")
    system = ridge_system(images, temperature)
    return ridge_from_system(system, pseudo_labels, intercept)


def ridge_from_system(system: RidgeSystem, pseudo_labels: Tensor, intercept: bool) -> VisionProxies:
    images = system.images
    mass = pseudo_labels.sum(dim=0, dtype=torch.float64)
    if intercept and (mass <= 0).any():
        raise InputError(f"pseudo_labels {shape_of(pseudo_labels)}: class {int(mass.argmin())} has no mass; drop it or set intercept=False")
    sums, directions = system.solve(pseudo_labels)
    scale = 1 / mass[:, None] if intercept else float(len(mass))
    dtype = working_dtype(images, pseudo_labels)
    offset = None
    if intercept:
        offset = -((sums * scale) * (directions * scale)).sum(dim=1) / 2
        offset = (offset - offset.mean()).to(dtype)
    else:
        _warn_if_unlike_the_steps(system, mass)
    directions = directions * scale
    weights = (directions - directions.mean(dim=0)).to(dtype)
    axis = system.axis.to(dtype)
    return VisionProxies(weights, 1, True, 0.0, softmax_temperature(images, pseudo_labels, weights, axis, offset), axis, offset)


def _warn_if_unlike_the_steps(system, mass):
    pass


def softmax_temperature(images, pseudo_labels, weights, axis=None, offset=None) -> float:
    stride = -(-len(images) // CALIBRATION_IMAGES)
    y = pseudo_labels[::stride].double()
    s = _scores(images[::stride], weights, axis, offset).double()
    mass = y.sum(dim=1, keepdim=True)
    y = torch.where(mass > 0, y / mass, 1 / y.shape[1])
    s = s - s.mean(dim=1, keepdim=True)
    spread = float(s.square().mean().sqrt())
    if spread == 0:
        return 1.0
    s /= spread
    target = (y * s).sum()
    low, high, beta = 1e-3, 1e3, 1.0
    for _ in range(60):
        p = (beta * s).softmax(dim=1)
        mean = (p * s).sum(dim=1, keepdim=True)
        slope, gap = float((p * (s - mean) ** 2).sum()), float(target - mean.sum())
        low, high = (beta, high) if gap > 0 else (low, beta)
        step = beta + gap / slope if slope > 0 else high
        new = step if low < step < high else (low * high) ** 0.5
        if abs(new - beta) <= 1e-9 * beta:
            break
        beta = new
    return spread / beta
