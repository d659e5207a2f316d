"""Normalised gradient steps on class proxies: several settings at once, block by block over the images.

Speed: a block of images is read once a step, from the cache for its second product, and B settings share that pass;
float32 with few classes on the CPU is compiled (`one_pass`). A step reads 4 N D bytes and does 4 B N D C flops. Off
the CPU, the host looks seldom (`looks`). Accuracy: the proxies are float64 (they are small); the images stay float32,
but only meet what differs between classes. A softmax is blind to the mean proxy, and the mean gradient
`Ḡ = (1/C) Σ_i (1 − Σ_j Y_ij) x_i` never changes. So proxies that nearly coincide keep their differences.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers.looks import look_after

BLOCK_BYTES = 1 << 26  # logits of a block, and a block of half-precision images in float32
CACHE_BYTES = 1 << 19  # the same where the CPU reads a block twice: half of a cache of the second level
COMPILED = 256  # B C up to which the compiled pass is faster than products of blocks
CONVERT = 1 << 26  # N D up to which images are copied: to float32, or to rows a line apart
FLAT = 0.25  # logits beyond this size are steep: the CPU, where a look is free, then takes the plain softmax
CHECK_EVERY = 10  # steps between two looks at whether the steps have died out
Callback = Callable[[int, Tensor, Tensor, Tensor], None]


@dataclass(frozen=True, eq=False)
class Descent:
    """End of the steps for B settings.

    weights: `[B, C, D]`, float64, unit rows.
    steps: `[B]`, on the CPU, steps done; the ones left out would not have moved any weight.
    residual: `[B]`, tangent part of the last gradient over the label term ‖Σ_i (Y_i − Ȳ) x_iᵀ‖.
    """

    weights: Tensor
    steps: Tensor
    residual: Tensor


class Steps:
    """Steps for B settings: labels `[B, C, N]` less their mean, mean gradient `[B, 1, D]`, τ and N τ `[B, 1, 1]`."""

    def __init__(
        self, images: Tensor, labels: Tensor, mean_gradient: Tensor, tau: Tensor, mass: Tensor, sums: Sums
    ) -> None:
        self.images, self.labels, self.mean_gradient = images, labels, mean_gradient
        self.tau, self.mass, self.sums = tau, mass, sums

    def run(self, weights: Tensor, rate: Tensor, last: Tensor, count: int) -> tuple[Tensor, ...]:
        """Weights `[B, C, D]` after `count` steps and before the last of them, its gradient, lr and ‖G‖."""
        for _ in range(count):
            differences = (weights - weights.mean(dim=1, keepdim=True)) / self.tau
            differences = differences.to(self.labels.dtype).flatten(0, 1)
            part = self.sums.total(_gradient(self.images, differences, self.labels).view(weights.shape))
            gradient = part + self.mean_gradient
            norm = torch.linalg.vector_norm(gradient, dim=(1, 2), keepdim=True)
            rate = torch.where(norm > last, rate / 2, rate)
            previous, last = weights, norm
            weights = F.normalize(weights - rate / self.mass * gradient, dim=2)
        return weights, previous, gradient, rate, last


def harden(pseudo_labels: Tensor, confidence: float) -> Tensor:
    """Copy of pseudo labels `[N, C]` in which rows with a maximum above `confidence` are one-hot."""
    best, index = pseudo_labels.max(dim=1, keepdim=True)
    return torch.where(
        best > confidence, torch.zeros_like(pseudo_labels).scatter_(1, index, 1), pseudo_labels
    )


def descend(
    images: Tensor,
    initial: Tensor,
    labels: Tensor,
    temperature: Tensor,
    learning_rate: float,
    steps: int,
    callback: Callback | None = None,
    sums: Sums = ALONE,
) -> Descent:
    """Run the published steps from `initial` `[B, C, D]` towards `labels` `[B, C, N]`, temperatures `[B]`.

    G = (P − Y)ᵀ X,   P = softmax(X Wᵀ/τ);   lr ← lr/2 where ‖G‖ grew;   W ← normalize(W − lr/(N τ) G)

    The products run in the dtype of `labels`. `callback(step, weights, ‖G‖, lr)` is called after each step. In a
    group, images and labels are the rows of this process; the gradient is summed over all.
    """
    n = sums.place(images)[1]
    if images.numel() <= CONVERT:
        images = images.to(labels.dtype)
    weights, tau = initial.double().contiguous(), temperature.double().view(-1, 1, 1)
    mean_gradient, labels, scale = _constants(images, labels, n, sums)
    kind = Steps
    if _is_compiled(images, labels):
        from kpl_lib.solvers import one_pass  # numba takes a second to import

        gap = one_pass.GAP if images.numel() <= CONVERT else 0  # large sets are not copied
        images, kind = one_pass.widened(images, gap), one_pass.CompiledSteps
    way = kind(images, labels, mean_gradient, tau, n * tau, sums)
    rate, last = torch.full_like(tau, learning_rate), torch.full_like(tau, math.inf)
    alive = list(range(len(weights)))
    end = Descent(
        weights.clone(), torch.full((len(alive),), steps), torch.full((len(alive),), math.nan).double()
    )
    step, look = 0, _next_look(0, images)
    looks_are_free = sums is ALONE and images.device.type == "cpu"
    while step < steps:
        count = 1 if callback is not None else min(look, steps) - step
        weights, previous, gradient, rate, last = way.run(weights, rate, last, count)
        step += count
        if callback is not None:
            callback(step, weights, last.flatten(), rate.flatten())
        if step < min(look, steps):
            continue
        look = _next_look(step, images)
        done = _died_out(previous, weights, gradient, rate / (n * tau), n / (2 * tau) + last, steps - step)
        if looks_are_free and step < steps and not done.any():
            continue
        residual = _tangent(gradient, previous).flatten(1).norm(dim=1) / scale
        told = torch.stack([residual, done.double()])
        weights, rate, last, told = sums.first(weights, rate, last, told)
        told = told.cpu()  # the one thing that the host reads
        end.weights[alive], end.steps[alive], end.residual[alive] = weights, step, told[0]
        left = [k for k, still in enumerate(told[1].tolist()) if not still]
        if not left:
            break
        if len(left) < len(alive):
            alive, kept = [alive[k] for k in left], torch.tensor(left, device=images.device)
            state = (weights, mean_gradient, labels, scale, tau, rate, last)
            weights, mean_gradient, labels, scale, tau, rate, last = (x[kept] for x in state)
            way = kind(images, labels, mean_gradient, tau, n * tau, sums)
    return end


def descend_in_order(
    images: Tensor,
    initial: Tensor,
    labels: Tensor,
    temperature: float,
    learning_rate: float,
    steps: int,
    callback: Callback | None = None,
) -> Descent:
    """The same steps for one setting, `initial` `[C, D]` and `labels` `[N, C]`, in the published order.

    Where a large step excites a growing mode, the moment of the next halving hangs on the rounding of sums.
    Only the same order of operations then ends at the same weights. Float64 is meant for that: speed is second.
    """
    n, w = len(images), initial.T.contiguous()
    last, rate = torch.tensor([math.inf, learning_rate], dtype=torch.float64, device=images.device)
    look = _next_look(0, images)
    target = images.T @ labels
    scale = (target - torch.outer(images.sum(dim=0), labels.mean(dim=0))).norm()
    step, residual = 0, scale * math.nan
    for step in range(1, steps + 1):
        gradient = images.T @ F.softmax(images @ w / temperature, dim=1) - target
        norm = gradient.norm()
        rate = torch.where(norm > last, rate / 2, rate)
        previous, last = w, norm
        w = F.normalize(w - rate / (n * temperature) * gradient, dim=0)
        if callback is not None:
            callback(step, w.T[None], norm[None], rate[None])
        if step >= min(look, steps):
            look = _next_look(step, images)
            before, slope = previous.T[None], gradient.T[None]
            residual = _tangent(slope, before).norm() / scale
            factor = (rate / (n * temperature)).to(w.dtype)
            lipschitz = n / (2 * temperature) + norm
            if _died_out(before, w.T[None], slope, factor, lipschitz, steps - step):
                break
    return Descent(w.T.contiguous()[None], torch.tensor([step]), residual[None])


def _next_look(step: int, images: Tensor) -> int:
    return step + (CHECK_EVERY if images.device.type == "cpu" else look_after(step))


def _tangent(gradient: Tensor, weights: Tensor) -> Tensor:
    """What of a gradient `[B, C, D]` lies along the sphere on which the weights are."""
    return gradient - (gradient * weights).sum(dim=2, keepdim=True) * weights


def _died_out(
    previous: Tensor, weights: Tensor, gradient: Tensor, factor: Tensor, lipschitz: Tensor, left: int
) -> Tensor:
    """True for settings whose remaining steps together move no weight by a quarter of its last float32 digit.

    Either a step changed no bit: then all later ones repeat it. Or the factor lr/(N τ) is so small that the
    gradient cannot grow more than e-fold in the steps left: these then move a weight by at most e times `left`
    times the step at hand.
    """
    still = (previous == weights).flatten(1).all(dim=1)
    tame = (left * factor * lipschitz).flatten() <= 1
    if tame.device.type == "cpu" and not tame.any():
        return still
    digit = torch.ldexp(torch.ones_like(weights), torch.frexp(weights).exponent - 24)
    small = math.e * left * factor * _tangent(gradient, previous).abs() <= digit / 4
    return still | (tame & small.flatten(1).all(dim=1))


def _blocks(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of images, in the dtype of the labels, and their labels; no block needs above BLOCK_BYTES."""
    classes = labels.shape[0] * labels.shape[1]
    numbers = BLOCK_BYTES // labels.element_size()
    rows = max(1, numbers // max(classes, images.shape[1] if images.dtype != labels.dtype else 1))
    if images.device.type == "cpu":
        rows = min(rows, max(classes, CACHE_BYTES // (labels.element_size() * images.shape[1])))
    for x, y in zip(images.split(rows), labels.split(rows, dim=2), strict=True):
        yield x.to(labels.dtype), y


def _constants(images: Tensor, labels: Tensor, n: int, sums: Sums) -> tuple[Tensor, Tensor, Tensor]:
    """Mean gradient `[B, 1, D]`, labels less their mean over classes, and size `[B]` of the label term."""
    b, c = labels.shape[:2]
    d = images.shape[1]
    centred = torch.empty_like(labels)
    mean = torch.zeros(b, d, dtype=torch.float64, device=images.device)
    term, total, mass = mean.new_zeros(b * c, d), mean.new_zeros(d), mean.new_zeros(b * c, 1)
    row = 0
    for x, y in _blocks(images, labels):
        average = y.mean(dim=1, keepdim=True, dtype=torch.float64)
        part = centred[:, :, row : row + len(x)]
        torch.sub(y, average.to(y.dtype), out=part)
        mean += (1 / c - average[:, 0]) @ x.double()
        term += part.reshape(b * c, -1) @ x
        mass += part.reshape(b * c, -1).sum(dim=1, keepdim=True)
        total += x.sum(dim=0)
        row += len(x)
    mean, term, mass, total = map(sums.total, (mean, term, mass, total))
    size = (term - mass / n * total).view(b, -1).norm(dim=1)
    return mean[:, None], centred, size.clamp_min(torch.finfo(torch.float32).tiny)


def _is_compiled(images: Tensor, labels: Tensor) -> bool:
    single = images.dtype == labels.dtype == torch.float32 and images.device.type == "cpu"
    return single and len(images) >= 4 and labels.shape[0] * labels.shape[1] <= COMPILED


def _gradient(images: Tensor, differences: Tensor, labels: Tensor) -> Tensor:
    """`(P − 1/C − Y + Ȳ_i)ᵀ X`, float64 `[B C, D]`: the gradient less its mean over the classes."""
    b, c = labels.shape[:2]
    total = torch.zeros(differences.shape, dtype=torch.float64, device=images.device)
    steep = images.device.type == "cpu" and float(differences.norm(dim=1).max()) > FLAT
    for x, y in _blocks(images, labels):
        logits = (differences @ x.T).view(b, c, -1)
        excess = logits.softmax(dim=1).sub_(1 / c) if steep else _excess(logits)
        total += excess.sub_(y).view(b * c, -1) @ x
    return total


def _excess(logits: Tensor) -> Tensor:
    """`softmax(z) − 1/C` over dimension 1, as `(ε − ε̄) / (C (1 + ε̄))` with ε = exp(z − max z) − 1.

    Where all z nearly coincide, ε keeps all its digits.
    """
    logits.sub_(logits.amax(dim=1, keepdim=True)).expm1_()
    total = logits.sum(dim=1, keepdim=True)
    return logits.sub_(total / logits.shape[1]).div_(total + logits.shape[1])
