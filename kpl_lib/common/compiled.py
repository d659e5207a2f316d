"""Functions compiled by numba, kept on disk where that can be."""

import functools
import pickle
from collections.abc import Callable


def machine_code(function: Callable, **options: object) -> Callable:
    """Compile at the first call, with options of `numba.njit`; where that cannot be kept on disk, for this process.

    Example:
        >>> machine_code(lambda x: x + 1)(2)
        3
    """

    @functools.cache
    def made(on_disk: bool) -> Callable:
        import numba  # takes a second to import

        return numba.njit(cache=on_disk, **options)(function)

    @functools.wraps(function)
    def run(*arguments: object) -> object:
        try:
            return made(True)(*arguments)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return made(False)(*arguments)

    return run
