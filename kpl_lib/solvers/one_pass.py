"""A gradient step that reads the images once, compiled by numba: for float32 on the CPU.

A block of ROWS images stays in the cache while its logits, their softmax and its share of the gradient are made,
each in registers (`registers`). With few classes the last one costs nothing: its logits may be 0, as a softmax only
knows differences, and its gradient is what the others lack to 0. With many their rounding would add up in it.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from numba.extending import register_jitable
from torch import Tensor

from kpl_lib.common.compiled import machine_code
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers.registers import LINE, TILE, add_up, dots, excess, most_classes, wide

ROWS = 64  # images of a block
WIDTH = ROWS + LINE  # columns of its logits: the last block is longer, and takes whole vectors
WIDE = 64  # dimensions come in multiples of this
GAP = LINE  # dimensions between rows of images, so that the rows of a block do not share the same places of a cache
FEW = 8  # classes up to which the last one is implied
THREAD = 1 << 23  # B N D C for each thread
FAST = {"contract", "nsz", "nnan"}


@register_jitable(fastmath=FAST)
def _pass(x, w, y, first, stop, settings, tiles, total):
    """Add `(softmax(w xᵀ) − 1/C − y) x` of some rows to total; w and total lack the classes that are implied."""
    large, small, fetched = tiles
    every, kept, c = len(w), len(w) // settings, len(y) // settings
    count = (every - 1) // len(large) + 1
    edge = len(large) * (every - count * len(small)) if len(small) < len(large) else every
    z, rest = np.zeros((every, WIDTH), np.float32), np.zeros((len(y), WIDTH), np.float32)
    while first < stop:
        m = min(ROWS, stop - first)
        if stop - first < ROWS + TILE:  # no block has fewer than TILE rows
            m = stop - first
        for start in range(0, m, TILE):
            i = min(start, m - TILE)
            ahead = first + i + TILE
            for j in range(0, edge, len(large)):
                dots(x, first + i, w, j, z, i, large, ahead, fetched)
                ahead += len(fetched)
            for j in range(edge, every, len(small)):
                dots(x, first + i, w, j, z, i, small, ahead, fetched)
                ahead += len(fetched)
        here, at = y, first
        if first + WIDTH > y.shape[1]:  # whole vectors would end behind the array
            rest[:, :m] = y[:, first : first + m]
            here, at = rest, 0
        for s in range(settings):
            excess(z, s * kept, kept, c - kept, here, s * c, at, m)
        for at in range(0, w.shape[1], wide()):
            for j in range(0, edge, len(large)):
                add_up(z, j, x, first, m, total, at, large)
            for j in range(edge, every, len(small)):
                add_up(z, j, x, first, m, total, at, small)
        first += m


@register_jitable(fastmath=FAST)
def _differences(weights, tau, out):
    """`(w − w̄)/τ` of each setting in the first columns of out; `(w − w_C)/τ` where out has no row for the last."""
    b, c, d = weights.shape
    kept = len(out) // b
    for s in range(b):
        centre, sharp = np.zeros(d), 1 / tau[s]
        for k in range(c if kept == c else 0):
            for j in range(d):
                centre[j] += weights[s, k, j] / c
        if kept < c:
            centre[:] = weights[s, kept]
        for k in range(kept):
            for j in range(d):
                out[s * kept + k, j] = (weights[s, k, j] - centre[j]) * sharp


@register_jitable(fastmath={"contract", "reassoc"})
def _slope(part, mean, gradient):
    """The gradient `[C, D]` of a setting from its rows of a pass, and its squared length."""
    (c, d), kept, total = gradient.shape, len(part), 0.0
    if kept < c:
        gradient[kept] = 0
    for k in range(kept):
        for j in range(d):
            gradient[k, j] = part[k, j] + mean[j]
            total += gradient[k, j] * gradient[k, j]
        for j in range(d if kept < c else 0):
            gradient[kept, j] -= part[k, j]
    for j in range(d if kept < c else 0):
        gradient[kept, j] += mean[j]
        total += gradient[kept, j] * gradient[kept, j]
    return total


@register_jitable(fastmath={"contract", "reassoc"})
def _move(weights, part, mean, mass, rate, last, new, gradient):
    """Weights after a step, and the gradient, into the last two; lr is halved where ‖G‖ grew, and `last` is ‖G‖."""
    b, c, d = weights.shape
    kept = len(part) // b
    for s in range(b):
        norm = np.sqrt(_slope(part[s * kept : (s + 1) * kept], mean[s], gradient[s]))
        if norm > last[s]:
            rate[s] /= 2
        last[s] = norm
        step = rate[s] / mass[s]
        for k in range(c):
            total = 0.0
            for j in range(d):
                w = weights[s, k, j] - step * gradient[s, k, j]
                new[s, k, j] = w
                total += w * w
            length = max(np.sqrt(total), 1e-12)
            for j in range(d):
                new[s, k, j] /= length


def _steps(x, y, mean, tau, mass, tiles, w, part, passes, rate, last, weights, previous, gradient, count):
    """`count` steps on one thread, compiled; the last five arrays are where they end. `w` holds zeros.

    Without `passes` only the move of one step, by what `part` holds: the same code, so the same bits.
    """
    for _ in range(count):
        previous[:] = weights
        if passes:
            _differences(previous, tau, w)
            part[:] = 0
            _pass(x, w, y, 0, len(x), len(weights), tiles, part)
        _move(previous, part, mean, mass, rate, last, weights, gradient)


compiled_steps = machine_code(_steps)
compiled_differences = machine_code(_differences, fastmath=FAST)
compiled_pass = machine_code(_pass, nogil=True, fastmath=FAST)


def widened(rows: Tensor, gap: int = 0) -> Tensor:
    """Rows with zeros behind, up to a multiple of WIDE, and a gap; not copied if they need neither."""
    more = gap + -rows.shape[1] % WIDE
    return F.pad(rows, (0, more)) if more else rows.contiguous()


class CompiledSteps:
    """`gradient.Steps` for float32 on the CPU: a step reads 4 N D + 4 B N C bytes and does 4 B N D C flops.

    Threads take the rows in equal parts, whose sums are added in order.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, mean_gradient: Tensor, tau: Tensor, mass: Tensor, sums: Sums
    ) -> None:
        (self.settings, c, n), d = labels.shape, images.shape[1]
        self.x, self.y = images.numpy(), labels.reshape(-1, n).contiguous().numpy()
        self.mean, self.tau, self.mass = (x.flatten(1).numpy() for x in (mean_gradient, tau, mass))
        self.tau, self.mass, self.sums = self.tau[:, 0], self.mass[:, 0], sums
        self.classes = classes = self.settings * (c - 1 if 1 < c <= FEW else c)
        count = -(-classes // most_classes())
        most = -(-classes // count)  # tiles of `most` classes, and of one less
        self.tiles = (0,) * most, (0,) * max(1, most - 1), (0,) * -(-TILE // count)
        self.threads = max(1, min(torch.get_num_threads(), n * d * classes // THREAD, n // TILE))

    def run(self, weights: Tensor, rate: Tensor, last: Tensor, count: int) -> tuple[Tensor, ...]:
        """Weights `[B, C, D]` after `count` steps and before the last of them, its gradient, lr and ‖G‖."""
        rate, last = rate.clone(), last.clone()
        weights, previous, gradient = weights.clone(), torch.empty_like(weights), torch.empty_like(weights)
        now, before, g, r, norm = (
            x.numpy() for x in (weights, previous, gradient, rate.view(-1), last.view(-1))
        )
        w, ends = self._room(weights), (r, norm, now, before, g)
        given = self.x, self.y, self.mean, self.tau, self.mass, self.tiles, w
        if self.threads == 1 and self.sums is ALONE:
            compiled_steps(*given, np.empty(w.shape), True, *ends, count)
            return weights, previous, gradient, rate, last
        for _ in range(count):
            part = self.sums.total(torch.from_numpy(self.gradient(now)))
            compiled_steps(*given, part.numpy(), False, *ends, 1)
        return weights, previous, gradient, rate, last

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """`(softmax(z) − 1/C − Y)ᵀ X`, `z = X (W − W̄)ᵀ/τ`, in float64, with zeros behind; none of implied classes."""
        w = self._room(weights)
        compiled_differences(weights, self.tau, w)
        ends = [len(self.x) * k // self.threads for k in range(self.threads + 1)]
        total = np.zeros((self.threads, *w.shape))

        def run(k: int) -> None:
            compiled_pass(self.x, w, self.y, ends[k], ends[k + 1], self.settings, self.tiles, total[k])

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(run, range(self.threads)))
        return total.sum(axis=0)

    def _room(self, weights: np.ndarray | Tensor) -> np.ndarray:
        d = weights.shape[2]
        return np.zeros((self.classes, d + -d % WIDE), np.float32)
