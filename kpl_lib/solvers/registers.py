"""Products and a softmax in the registers of a processor, written for numba in the terms of LLVM.

`dots` makes the logits of a tile of classes and 4 images, `excess` their softmax, `add_up` the gradient of a tile of
classes and 4 vectors of dimensions. The sums of a tile stay in registers until it is done.
"""

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

TILE = 4  # images, or vectors of dimensions, of a product
LINE = 16  # floats of a line of the cache
FLOAT, WHOLE, BYTES = ir.FloatType(), ir.IntType(32), ir.IntType(8).as_pointer()
LOG2, LN2, LN2_REST = 1.44269504, 0.693359375, -2.12194440e-4  # 1/ln 2, and ln 2 in two parts


def _lanes(context) -> int:
    has = context.codegen().magic_tuple()[2]
    return 16 if "+avx512f" in has else 8 if "+avx" in has else TILE


@functools.cache
def most_classes() -> int:
    """Classes of a tile, so that its sums and what is added to them fit the registers: 16, or 32."""
    _, _, has = cpu_target.target_context.codegen().magic_tuple()
    return 3 if "+sse" in has and "+avx512f" not in has else 4


def _load(b, at, vector):
    return b.load(b.bitcast(at, vector.as_pointer()), align=4)


def _store(b, value, at):
    b.store(value, b.bitcast(at, value.type.as_pointer()), align=4)


def _product(b, x, y, add):
    return b.fadd(b.fmul(x, y, flags=("contract",)), add, flags=("contract",))


def _pick(b, x, y, lanes):
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(WHOLE, len(lanes)), lanes))


def _everywhere(b, one, lanes):
    """A vector of one number."""
    vector = ir.VectorType(one.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), one, WHOLE(0))
    return _pick(b, one, one, [0] * lanes)


def _loop(b, count, step, starts, body):
    """Sums over i = 0, step, ... < count that begin with `starts`; `body(i, sums)` gives the new ones."""
    before, inside, after = b.block, b.append_basic_block("inside"), b.append_basic_block("after")
    b.branch(inside)
    b.position_at_end(inside)
    i, sums = b.phi(count.type), [b.phi(start.type) for start in starts]
    new = body(i, sums)
    following = b.add(i, count.type(step))
    for phi, first, later in zip((i, *sums), (count.type(0), *starts), (following, *new), strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(later, b.block)
    b.cbranch(b.icmp_signed("<", following, count), inside, after)
    b.position_at_end(after)
    return new


def _array(context, b, kind, value):
    """Where its rows start, as a function of row and column, and its shape."""
    array = context.make_array(kind)(context, b, value)
    rows, columns = cgutils.unpack_tuple(b, array.shape)
    return (lambda i, j: b.gep(array.data, [b.add(b.mul(i, columns), j)])), rows, columns


@intrinsic
def dots(typing, x, row, w, column, out, at, classes, ahead, fetched):
    """`out[column + c, at + r] = x[row + r] · w[column + c]` for 4 rows and as many classes as the tuple is long.

    Meanwhile the rows of x from `ahead` on, as many as the last tuple is long, are fetched into the cache.
    """

    def generate(context, b, signature, given):
        count, later = signature.args[6].count, signature.args[8].count
        (x_at, _, _), (w_at, _, d), (out_at, _, _) = (
            _array(context, b, signature.args[k], given[k]) for k in (0, 2, 4)
        )
        lanes = _lanes(context)
        zero = ir.Constant(ir.VectorType(FLOAT, lanes), None)
        x_rows = [x_at(b.add(given[1], d.type(r)), d.type(0)) for r in range(TILE)]
        w_rows = [w_at(b.add(given[3], d.type(c)), d.type(0)) for c in range(count)]
        soon = [x_at(b.add(given[7], d.type(r)), d.type(0)) for r in range(later)]
        kind = ir.FunctionType(ir.VoidType(), [BYTES, WHOLE, WHOLE, WHOLE])
        fetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")

        def line(i, sums):
            for start in soon:
                b.call(fetch, [b.bitcast(b.gep(start, [i]), BYTES), WHOLE(0), WHOLE(2), WHOLE(1)])
            for part in range(0, LINE, lanes):
                here = b.add(i, d.type(part))
                w_here, new = [_load(b, b.gep(w, [here]), zero.type) for w in w_rows], {}
                for r in range(TILE):
                    x_here = _load(b, b.gep(x_rows[r], [here]), zero.type)
                    for c in range(count):
                        new[c, r] = _product(b, x_here, w_here[c], sums[c * TILE + r])
                sums = [new[c, r] for c in range(count) for r in range(TILE)]
            return sums

        found = _loop(b, d, LINE, [zero] * (count * TILE), line)
        for first in range(0, len(found), lanes):
            part = found[first : first + lanes]
            part += [zero] * (lanes - len(part))
            while len(part) > 1:  # lane k of what is left sums the lanes of vector k
                even, odd = range(0, 2 * lanes, 2), range(1, 2 * lanes, 2)
                pairs = zip(part[::2], part[1::2], strict=True)
                part = [b.fadd(_pick(b, p, q, list(even)), _pick(b, p, q, list(odd))) for p, q in pairs]
            for c in range(first // TILE, min(count, (first + lanes) // TILE)):
                lane = c * TILE - first
                sums = _pick(b, part[0], part[0], list(range(lane, lane + TILE)))
                _store(b, sums, out_at(b.add(given[3], d.type(c)), given[5]))
        return context.get_dummy_value()

    return types.void(x, row, w, column, out, at, classes, ahead, fetched), generate


@intrinsic
def add_up(typing, e, column, x, row, rows, out, at, classes):
    """`out[column + c, at:] += Σ_i e[column + c, i] x[row + i, at:]` over 4 vectors, summed in float32."""

    def generate(context, b, signature, given):
        count = signature.args[7].count
        (e_at, _, _), (x_at, _, _), (out_at, _, d) = (
            _array(context, b, signature.args[k], given[k]) for k in (0, 2, 5)
        )
        lanes = _lanes(context)
        zero, wide = ir.Constant(ir.VectorType(FLOAT, lanes), None), ir.VectorType(ir.DoubleType(), lanes)

        def image(i, sums):
            start, new = x_at(b.add(given[3], i), given[6]), {}
            e_here = [
                _everywhere(b, b.load(e_at(b.add(given[1], d.type(c)), i)), lanes) for c in range(count)
            ]
            for v in range(TILE):
                x_here = _load(b, b.gep(start, [d.type(v * lanes)]), zero.type)
                for c in range(count):
                    new[c, v] = _product(b, e_here[c], x_here, sums[c * TILE + v])
            return [new[c, v] for c in range(count) for v in range(TILE)]

        for k, part in enumerate(_loop(b, given[4], 1, [zero] * (count * TILE), image)):
            spot = out_at(b.add(given[1], d.type(k // TILE)), b.add(given[6], d.type(k % TILE * lanes)))
            _store(b, b.fadd(_load(b, spot, wide), b.fpext(part, wide)), spot)
        return context.get_dummy_value()

    return types.void(e, column, x, row, rows, out, at, classes), generate


@intrinsic
def wide(typing):
    """Dimensions of one call of `add_up`."""
    return types.int64(), lambda context, b, signature, given: ir.IntType(64)(TILE * _lanes(context))


def _epsilon(b, z):
    """`exp(z) − 1` of `z <= 0`: `exp(z) = 2^k exp(r)`, |r| <= ln 2 / 2; z near 0 has k = 0 and loses no digit."""
    kind, lanes = z.type, z.type.count

    def number(x):
        return ir.Constant(kind, [x] * lanes)

    def whole(k):
        return ir.Constant(ir.VectorType(WHOLE, lanes), [k] * lanes)

    z = b.select(b.fcmp_ordered(">", z, number(-87.0)), z, number(-87.0))
    k = b.fptosi(_product(b, z, number(LOG2), number(-0.5)), whole(0).type)
    power = b.bitcast(b.shl(b.add(k, whole(127)), whole(23)), kind)
    k = b.sitofp(k, kind)
    r = _product(b, k, number(-LN2_REST), _product(b, k, number(-LN2), z))
    tail = number(1 / 5040)
    for factorial in (720, 120, 24, 6, 2):
        tail = _product(b, r, tail, number(1 / factorial))
    return _product(b, _product(b, b.fmul(r, r), tail, r), power, b.fsub(power, number(1.0)))


@intrinsic
def excess(typing, z, row, classes, implied, y, label, first, m):
    """`softmax(z) − 1/C − y` of some rows of z, in the first m columns, as `(ε − ε̄) / Σ exp`: ε = exp(z) − 1.

    Rows `row, ...` of z and `label, ...` of y. With `implied` one more class has logits of 0, and no row. Whole
    vectors of columns are read and written, of y from column `first` on.
    """

    def generate(context, b, signature, given):
        (z_at, _, _), (y_at, _, _) = (_array(context, b, signature.args[k], given[k]) for k in (0, 4))
        _, row, count, implied, _, label, first, m = given
        lanes = _lanes(context)
        zero = ir.Constant(ir.VectorType(FLOAT, lanes), None)
        lowest = ir.Constant(zero.type, [float("-inf")] * lanes)
        known = b.icmp_signed("!=", implied, implied.type(0))
        c = _everywhere(b, b.sitofp(b.add(count, implied), FLOAT), lanes)

        def columns(at, nothing):
            def place(j):
                return z_at(b.add(row, j), at)

            def largest(j, found):
                here = _load(b, place(j), zero.type)
                return [b.select(b.fcmp_ordered(">", here, found[0]), here, found[0])]

            (top,) = _loop(b, count, 1, [b.select(known, zero, lowest)], largest)

            def raised(j, total):
                epsilon = _epsilon(b, b.fsub(_load(b, place(j), zero.type), top))
                _store(b, epsilon, place(j))
                return [b.fadd(total[0], epsilon)]

            start = b.select(known, _epsilon(b, b.fsub(zero, top)), zero)
            (total,) = _loop(b, count, 1, [start], raised)
            mean = b.fdiv(total, c)
            share = b.fdiv(ir.Constant(zero.type, [1.0] * lanes), b.fadd(total, c))

            def less(j, nothing):
                y_here = _load(b, y_at(b.add(label, j), b.add(first, at)), zero.type)
                here = b.fmul(b.fsub(_load(b, place(j), zero.type), mean), share)
                _store(b, b.fsub(here, y_here), place(j))
                return nothing

            _loop(b, count, 1, [], less)
            return nothing

        _loop(b, m, lanes, [], columns)
        return context.get_dummy_value()

    return types.void(z, row, classes, implied, y, label, first, m), generate
