"""The gradient of a step in one read of the images, compiled by numba: for float32 on the CPU.

A block of ROWS images stays in the cache while its logits, their softmax and its share of the gradient are made.
Two products in registers do the work: TILE classes by 4 images, and TILE classes by 4 vectors of dimensions.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from kpl_lib.common.compiled import machine_code

ROWS = 64  # images of a block
TILE = 4  # classes, images and vectors of a product in registers
WIDE = 64  # dimensions come in multiples of this
THREAD = 1 << 23  # B N D C for each thread
FLOAT, WHOLE = ir.FloatType(), ir.IntType(32)


def _lanes(context) -> int:
    return 16 if "+avx512f" in context.codegen().magic_tuple()[2] else 8


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
        (x_at, _, d), (w_at, _, _), (out_at, _, _) = (
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
def _add_up(typing, e, column, x, row, rows, out, at, classes):
    """`out[column + c, at:] += Σ_i e[column + c, i] x[row + i, at:]` over 4 vectors, summed in float32."""

    def generate(context, b, signature, given):
        count = signature.args[7].count
        (e_at, _, _), (x_at, _, d), (out_at, _, _) = (
            _array(context, b, signature.args[k], given[k]) for k in (0, 2, 5)
        )
        lanes = _lanes(context)
        vector, wide = ir.VectorType(FLOAT, lanes), ir.VectorType(ir.DoubleType(), lanes)

        def body(i, sums):
            start, new = x_at(b.add(given[3], i), given[6]), []
            x_here = [_load(b, b.gep(start, [d.type(v * lanes)]), vector) for v in range(TILE)]
            for c in range(count):
                one = b.load(e_at(b.add(given[1], d.type(c)), i))
                all_ = b.insert_element(ir.Constant(vector, ir.Undefined), one, WHOLE(0))
                all_ = _pick(b, all_, all_, [0] * lanes)
                new += [_product(b, all_, x_here[v], sums[c * TILE + v]) for v in range(TILE)]
            return new

        found = _loop(b, given[4], 1, vector, count * TILE, body)
        for k, part in enumerate(found):
            spot = out_at(b.add(given[1], d.type(k // TILE)), b.add(given[6], d.type(k % TILE * lanes)))
            spot = b.bitcast(spot, wide.as_pointer())
            b.store(b.fadd(b.load(spot, align=8), b.fpext(part, wide)), spot, align=8)
        return context.get_dummy_value()

    return types.void(e, column, x, row, rows, out, at, classes), generate


@intrinsic
def _wide(typing):
    """Dimensions of one call of `_add_up`."""
    return types.int64(), lambda context, b, signature, given: ir.IntType(64)(TILE * _lanes(context))


@register_jitable
def _excess(z, m, whole):
    """`softmax(z) − 1/C` over the first dimension, in the first m columns, as `(ε − ε̄) / Σ exp`: ε = exp(z) − 1.

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
    for j in range(c):
        for i in range(m):
            z[j, i] = (z[j, i] - total[i] / single(c)) / (total[i] + single(c))


def _pass(x, w, y, first, stop, settings, tile, last, total):  # runs compiled
    """Add `(softmax(w xᵀ) − 1/C − y) x` of some rows to total; tile, last: as long as the tiles of classes."""
    every, c = len(w), len(w) // settings
    end = every - len(last)
    z, whole = np.empty((every, ROWS + TILE), np.float32), np.empty(ROWS + TILE, np.int32)
    while first < stop:
        m = min(ROWS, stop - first)
        if stop - first < ROWS + TILE:  # no block has fewer than TILE rows
            m = stop - first
        for start in range(0, m, TILE):
            i = min(start, m - TILE)
            for j in range(0, end, len(tile)):
                _dots(x, first + i, w, j, z, i, tile)
            _dots(x, first + i, w, end, z, i, last)
        for s in range(settings):
            _excess(z[s * c : (s + 1) * c], m, whole)
        for j in range(every):
            for i in range(m):
                z[j, i] -= y[j, first + i]
        for at in range(0, x.shape[1], _wide()):
            for j in range(0, end, len(tile)):
                _add_up(z, j, x, first, m, total, at, tile)
            _add_up(z, end, x, first, m, total, at, last)
        first += m


_compiled = machine_code(_pass, nogil=True, fastmath={"contract", "nsz", "nnan"})


def widened(rows: Tensor) -> Tensor:
    """Rows with zeros behind, up to a multiple of WIDE."""
    return F.pad(rows, (0, -rows.shape[1] % WIDE)) if rows.shape[1] % WIDE else rows.contiguous()


def in_one_pass(images: Tensor, differences: Tensor, labels: Tensor) -> Tensor:
    """`(softmax(z) − 1/C − Y)ᵀ X`, `z = X Δᵀ`, float64 `[B C, D]`; float32 X widened, Δ `[B C, D]`, Y `[B, C, N]`.

    Bytes: 4 N D + 4 B N C. Flops: 4 B N D C. Threads take the rows in equal parts, whose sums are added in order.
    """
    b, c, n = labels.shape
    x, w = images.numpy(), widened(differences).numpy()
    y = labels.reshape(b * c, n).contiguous().numpy()
    threads = max(1, min(torch.get_num_threads(), n * x.shape[1] * b * c // THREAD))
    ends = [n * k // threads for k in range(threads + 1)]
    total = np.zeros((threads, *w.shape))
    tile, last = (0,) * TILE, (0,) * ((b * c - 1) % TILE + 1)

    def run(k: int) -> None:
        _compiled(x, w, y, ends[k], ends[k + 1], b, tile, last, total[k])

    if threads == 1:
        run(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, range(threads)))
    return torch.from_numpy(total.sum(axis=0)[:, : differences.shape[1]])
