"""Greedy single updates of a transport plan, compiled by numba at the first call."""

import functools
import pickle
from collections.abc import Callable

import numpy as np

TINY = 1e-200  # a marginal below this is recomputed from the potentials: its entries may have died out


def _greedy(z, f, g, plan, rows, columns, r, q, tolerance, limit):  # runs compiled; z and plan are [C, N]
    """Update potentials, plan and marginals in place until the L1 error is met; return the updates done."""
    c, n = plan.shape
    done = 0
    while True:
        worst_row, worst_column, error = 0.0, 0.0, 0.0
        for k in range(n):
            error += abs(rows[k] - r)
            worst_row = max(worst_row, abs(rows[k] - r))
        for k in range(c):
            error += abs(columns[k] - q[k])
            worst_column = max(worst_column, abs(columns[k] - q[k]))
        if error <= tolerance or done >= limit:
            return done
        done += 1
        if worst_row > worst_column:
            i = 0
            while abs(rows[i] - r) != worst_row:  # the first of equals
                i += 1
            if rows[i] > TINY:
                change = r / rows[i] - 1
                f[i] += np.log(r / rows[i])
                for k in range(c):
                    columns[k] += plan[k, i] * change
                    plan[k, i] += plan[k, i] * change
            else:
                top = (z[:, i] + g).max()
                f[i] = np.log(r) - top - np.log(np.exp(z[:, i] + g - top).sum())
                for k in range(c):
                    new = np.exp(z[k, i] + f[i] + g[k])
                    columns[k] += new - plan[k, i]
                    plan[k, i] = new
            rows[i] = r
        else:
            j = 0
            while abs(columns[j] - q[j]) != worst_column:
                j += 1
            if columns[j] > TINY:
                change = q[j] / columns[j] - 1
                g[j] += np.log(q[j] / columns[j])
                for k in range(n):
                    rows[k] += plan[j, k] * change
                    plan[j, k] += plan[j, k] * change
            else:
                top = (z[j] + f).max()
                g[j] = np.log(q[j]) - top - np.log(np.exp(z[j] + f - top).sum())
                new = np.exp(z[j] + f + g[j])
                rows += new - plan[j]
                plan[j] = new
            columns[j] = q[j]


@functools.cache
def _compiled(on_disk: bool) -> Callable:
    import numba  # takes a second to import

    return numba.njit(cache=on_disk, fastmath={"reassoc", "nsz", "nnan"})(_greedy)


def greedy_updates(*arguments) -> int:
    """Run the compiled updates; where compiled code cannot be kept on disk, compile for this process."""
    try:
        return _compiled(True)(*arguments)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        return _compiled(False)(*arguments)
