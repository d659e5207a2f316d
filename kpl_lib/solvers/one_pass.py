"""A gradient step that reads the images once, compiled by numba: for float32 on the CPU.

A block of ROWS images stays in the cache while its logits, their softmax and its share of the gradient are made.
Two products in registers do the work: a tile of classes by 4 images, and one by 4 vectors of dimensions.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from kpl_lib.common.compiled import machine_code
from kpl_lib.common.sums import ALONE, Sums

ROWS = 64  # images of a block
TILE = 4  # images and vectors of a product in registers
WIDE = 64  # dimensions come in multiples of this
GAP = 16  # dimensions between rows of images, so that the rows of a block do not share the same places of a cache
THREAD = 1 << 23  # B N D C for each thread
LINE = 16  # floats of a line of the cache
FAST = {"contract", "nsz", "nnan"}
FLOAT, WHOLE, BYTES = ir.FloatType(), ir.IntType(32), ir.IntType(8).as_pointer()


def _lanes(context) -> int:
    has = context.codegen().magic_tuple()[2]
    return 16 if "+avx512f" in has else 8 if "+avx" in has else TILE


@functools.cache
def _most_classes() -> int:
    """Classes of a tile, so that its sums and what is added to them fit the registers: 16, or 32."""
    _, _, has = cpu_target.target_context.codegen().magic_tuple()
    return 3 if "+sse" in has and "+avx512f" not in has else 4


def _load(b, at, vector):
    return b.load(b.bitcast(at, vector.as_pointer()), align=4)


def _product(b, x, y, add):
    return b.fadd(b.fmul(x, y, flags=("contract",)), add, flags=("contract",))


def _pick(b, x, y, lanes):
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(WHOLE, len(lanes)), lanes))


def _loop(b, count, step, vector, size, body):
    """`size` sums over i = 0, step, ... < count; `body(i, sums)` gives the new ones."""
    before, inside, after = b.block, b.append_basic_block("inside"), b.append_basic_block("after")
    b.branch(inside)
    b.position_at_end(inside)
    i, sums = b.phi(count.type), [b.phi(vector) for _ in range(size)]
    new = body(i, sums)
    following = b.add(i, count.type(step))
    starts = (count.type(0), *[ir.Constant(vector, None)] * size)
    for phi, first, later in zip((i, *sums), starts, (following, *new), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, inside)
    b.cbranch(b.icmp_signed("<", following, count), inside, after)
    b.position_at_end(after)
    return new


def _array(context, b, kind, value):
    """Where its rows start, as a function of row and column, and its shape."""
    array = context.make_array(kind)(context, b, value)
    rows, columns = cgutils.unpack_tuple(b, array.shape)
    return (lambda i, j: b.gep(array.data, [b.add(b.mul(i, columns), j)])), rows, columns


@intrinsic
def _dots(typing, x, row, w, column, out, at, classes):
    """`out[column + c, at + r] = x[row + r] · w[column + c]` for 4 rows and as many classes as the tuple is long."""

    def generate(context, b, signature, given):
        count = signature.args[6].count
        (x_at, _, _), (w_at, _, d), (out_at, _, _) = (
            _array(context, b, signature.args[k], given[k]) for k in (0, 2, 4)
        )
        lanes = _lanes(context)
        vector, four = ir.VectorType(FLOAT, lanes), ir.VectorType(FLOAT, TILE)
        zero = ir.Constant(vector, None)
        x_rows = [x_at(b.add(given[1], d.type(r)), d.type(0)) for r in range(TILE)]
        w_rows = [w_at(b.add(given[3], d.type(c)), d.type(0)) for c in range(count)]

        def body(i, sums):
            w_here, new = [_load(b, b.gep(w, [i]), vector) for w in w_rows], {}
            for r in range(TILE):
                x_here = _load(b, b.gep(x_rows[r], [i]), vector)
                for c in range(count):
                    new[c, r] = _product(b, x_here, w_here[c], sums[c * TILE + r])
            return [new[c, r] for c in range(count) for r in range(TILE)]

        found = _loop(b, d, lanes, vector, count * TILE, body)
        for first in range(0, len(found), lanes):
            part = found[first : first + lanes]
            part += [zero] * (lanes - len(part))
            while len(part) > 1:  # lane k of what is left sums the lanes of vector k
                even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
                pairs = zip(part[::2], part[1::2], strict=True)
                part = [b.fadd(_pick(b, p, q, list(even)), _pick(b, p, q, list(odd))) for p, q in pairs]
            for c in range(first // TILE, min(count, (first + lanes) // TILE)):
                lane = c * TILE - first
                spot = out_at(b.add(given[3], d.type(c)), given[5])
                sums = _pick(b, part[0], part[0], list(range(lane, lane + TILE)))
                b.store(sums, b.bitcast(spot, four.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(x, row, w, column, out, at, classes), generate


@intrinsic
def _add_up(typing, e, column, x, row, rows, out, at, ahead, classes):
    """`out[column + c, at:] += Σ_i e[column + c, i] x[row + i, at:]` over 4 vectors, summed in float32.

    Meanwhile `x[ahead + i, at:]` is fetched into the cache.
    """

    def generate(context, b, signature, given):
        count = signature.args[8].count
        (e_at, _, _), (x_at, _, _), (out_at, _, d) = (
            _array(context, b, signature.args[k], given[k]) for k in (0, 2, 5)
        )
        lanes = _lanes(context)
        vector, wide = ir.VectorType(FLOAT, lanes), ir.VectorType(ir.DoubleType(), lanes)
        kind = ir.FunctionType(ir.VoidType(), [BYTES, WHOLE, WHOLE, WHOLE])
        fetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")

        def body(i, sums):
            start, e_here, new = x_at(b.add(given[3], i), given[6]), [], {}
            for at in range(0, TILE * lanes, LINE):
                soon = b.bitcast(x_at(b.add(given[7], i), b.add(given[6], d.type(at))), BYTES)
                b.call(fetch, [soon, WHOLE(0), WHOLE(2), WHOLE(1)])
            for c in range(count):
                one = b.load(e_at(b.add(given[1], d.type(c)), i))
                one = b.insert_element(ir.Constant(vector, ir.Undefined), one, WHOLE(0))
                e_here.append(_pick(b, one, one, [0] * lanes))
            for v in range(TILE):
                x_here = _load(b, b.gep(start, [d.type(v * lanes)]), vector)
                for c in range(count):
                    new[c, v] = _product(b, e_here[c], x_here, sums[c * TILE + v])
            return [new[c, v] for c in range(count) for v in range(TILE)]

        found = _loop(b, given[4], 1, vector, count * TILE, body)
        for k, part in enumerate(found):
            spot = out_at(b.add(given[1], d.type(k // TILE)), b.add(given[6], d.type(k % TILE * lanes)))
            spot = b.bitcast(spot, wide.as_pointer())
            b.store(b.fadd(b.load(spot, align=8), b.fpext(part, wide)), spot, align=8)
        return context.get_dummy_value()

    return types.void(e, column, x, row, rows, out, at, ahead, classes), generate


@intrinsic
def _wide(typing):
    """Dimensions of one call of `_add_up`."""
    return types.int64(), lambda context, b, signature, given: ir.IntType(64)(TILE * _lanes(context))


@register_jitable(fastmath=FAST)
def _excess(z, m, whole, y, first):
    """`softmax(z) − 1/C − y` over the first dimension, in the first m columns, as `(ε − ε̄) / Σ exp`: ε = exp(z) − 1.

    `exp(z − max z) = 2^k exp(r)`, |r| <= ln 2 / 2: where all z nearly coincide, k is 0 and ε keeps all its digits.
    """
    c, single = len(z), np.float32
    power = whole.view(np.float32)
    top, total = np.full(m, -np.inf, single), np.zeros(m, single)
    for j in range(c):
        for i in range(m):
            top[i] = max(top[i], z[j, i])
    for j in range(c):
        for i in range(m):
            z[j, i] = max(z[j, i] - top[i], single(-87))
            whole[i] = np.int32(z[j, i] * single(1.44269504) - single(0.5))
        for i in range(m):
            k = single(whole[i])
            r = (z[j, i] - k * single(0.693359375)) + k * single(2.12194440e-4)
            tail = single(1 / 120) + r * (single(1 / 720) + r * single(1 / 5040))
            tail = single(0.5) + r * (single(1 / 6) + r * (single(1 / 24) + r * tail))
            z[j, i] = r + r * r * tail
            whole[i] = (whole[i] + 127) << 23
        for i in range(m):
            z[j, i] = z[j, i] * power[i] + (power[i] - single(1))
            total[i] += z[j, i]
    for i in range(m):
        top[i], total[i] = single(1) / (total[i] + single(c)), total[i] / single(c)
    for j in range(c):
        for i in range(m):
            z[j, i] = (z[j, i] - total[i]) * top[i] - y[j, first + i]


@register_jitable(fastmath=FAST)
def _pass(x, w, y, first, stop, settings, large, small, total):
    """Add `(softmax(w xᵀ) − 1/C − y) x` of some rows to total; large, small: as long as the tiles of classes."""
    every, c = len(w), len(w) // settings
    tiles = (every - 1) // len(large) + 1
    edge = len(large) * (every - tiles * len(small)) if len(small) < len(large) else every
    z, whole = np.empty((every, ROWS + TILE), np.float32), np.empty(ROWS + TILE, np.int32)
    while first < stop:
        m = min(ROWS, stop - first)
        if stop - first < ROWS + TILE:  # no block has fewer than TILE rows
            m = stop - first
        for start in range(0, m, TILE):
            i = min(start, m - TILE)
            for j in range(0, edge, len(large)):
                _dots(x, first + i, w, j, z, i, large)
            for j in range(edge, every, len(small)):
                _dots(x, first + i, w, j, z, i, small)
        for s in range(settings):
            _excess(z[s * c : (s + 1) * c], m, whole, y[s * c : (s + 1) * c], first)
        for at in range(0, w.shape[1], _wide()):
            ahead = first + m
            for j in range(0, edge, len(large)):
                _add_up(z, j, x, first, m, total, at, ahead, large)
                ahead = first
            for j in range(edge, every, len(small)):
                _add_up(z, j, x, first, m, total, at, first, small)
        first += m


@register_jitable(fastmath=FAST)
def _differences(weights, tau, out):
    """`(w − w̄)/τ` of each setting, in the first columns of out."""
    b, c, d = weights.shape
    for s in range(b):
        mean, sharp = np.zeros(d), 1 / tau[s]
        for k in range(c):
            for j in range(d):
                mean[j] += weights[s, k, j]
        for k in range(c):
            for j in range(d):
                out[s * c + k, j] = (weights[s, k, j] - mean[j] / c) * sharp


@register_jitable(fastmath={"contract", "reassoc"})
def _move(weights, part, mean, mass, rate, last, new, gradient):
    """Weights after a step, and the gradient, into the last two; lr is halved where ‖G‖ grew, and `last` is ‖G‖."""
    b, c, d = weights.shape
    for s in range(b):
        total = 0.0
        for k in range(c):
            for j in range(d):
                g = part[s * c + k, j] + mean[s, j]
                gradient[s, k, j] = g
                total += g * g
        norm = np.sqrt(total)
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


def _steps(x, y, mean, tau, mass, tiles, rate, last, weights, previous, gradient, count):  # runs compiled
    """`count` steps on one thread; the last five arrays are where they end."""
    b, c, d = weights.shape
    w, part = np.zeros((b * c, d + -d % WIDE), np.float32), np.empty((b * c, d + -d % WIDE))
    for _ in range(count):
        previous[:] = weights
        _differences(previous, tau, w)
        part[:] = 0
        _pass(x, w, y, 0, len(x), b, tiles[0], tiles[1], part)
        _move(previous, part, mean, mass, rate, last, weights, gradient)


compiled_steps = machine_code(_steps)
compiled_differences = machine_code(_differences)
compiled_pass = machine_code(_pass, nogil=True)
compiled_move = machine_code(_move)


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
        classes = self.settings * c
        self.x, self.y = images.numpy(), labels.reshape(classes, n).contiguous().numpy()
        self.mean, self.tau, self.mass = (x.flatten(1).numpy() for x in (mean_gradient, tau, mass))
        self.tau, self.mass, self.sums = self.tau[:, 0], self.mass[:, 0], sums
        most = -(-classes // -(-classes // _most_classes()))  # tiles of `most` classes, and of one less
        self.tiles = (0,) * most, (0,) * max(1, most - 1)
        self.threads = max(1, min(torch.get_num_threads(), n * d * classes // THREAD, n // TILE))

    def run(self, weights: Tensor, rate: Tensor, last: Tensor, count: int) -> tuple[Tensor, ...]:
        """Weights `[B, C, D]` after `count` steps and before the last of them, its gradient, lr and ‖G‖."""
        rate, last = rate.clone(), last.clone()
        weights, previous, gradient = weights.clone(), torch.empty_like(weights), torch.empty_like(weights)
        w, before, g, r, norm = (
            x.numpy() for x in (weights, previous, gradient, rate.view(-1), last.view(-1))
        )
        if self.threads == 1 and self.sums is ALONE:
            given = self.x, self.y, self.mean, self.tau, self.mass, self.tiles
            compiled_steps(*given, r, norm, w, before, g, count)
            return weights, previous, gradient, rate, last
        for _ in range(count):
            before[:] = w
            part = self.sums.total(torch.from_numpy(self.gradient(before)))
            compiled_move(before, part.numpy(), self.mean, self.mass, r, norm, w, g)
        return weights, previous, gradient, rate, last

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """`(softmax(z) − 1/C − Y)ᵀ X`, `z = X (W − W̄)ᵀ/τ`, float64 `[B C, D]`, with zeros behind."""
        b, c, d = weights.shape
        w, n = np.zeros((b * c, d + -d % WIDE), np.float32), len(self.x)
        compiled_differences(weights, self.tau, w)
        ends = [n * k // self.threads for k in range(self.threads + 1)]
        total = np.zeros((self.threads, *w.shape))

        def run(k: int) -> None:
            compiled_pass(self.x, w, self.y, ends[k], ends[k + 1], b, *self.tiles, total[k])

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(run, range(self.threads)))
        return total.sum(axis=0)
