"""Sums over the rows of all processes: of this one alone, or of a group that is handed in.

Solvers take `sums=ALONE`. Alone, each of these gives back what it got, so no bit changes. A group of processes
(`kpl_lib.distributed.group.Group`) sends, in float64, what is as large as the proxies, never the rows.
"""

from collections.abc import Callable

from torch import Tensor


class Sums:
    """This process alone; a group overrides all of it.

    `rank` is its number, `world` counts the processes, `least` the rows that each must have.

    Example:
        >>> ALONE.place("abc"), ALONE.any(True, False)
        ((0, 3), (True, False))
    """

    rank, world, least = 0, 1, 2

    def agreed(self, make: Callable[[], object], rows: Tensor | None = None) -> object:
        """What `make` gives here; if it raises an InputError on one process, all raise it.

        A group also refuses rows that do not fit those of the other processes.
        """
        return make()

    def place(self, rows: Tensor) -> tuple[int, int]:
        """Number of rows before those of this process, and of all."""
        return 0, len(rows)

    def total(self, part: Tensor) -> Tensor:
        """Sum over the processes, the same bits on each."""
        return part

    def largest(self, part: Tensor) -> Tensor:
        """Largest value of each entry over the processes."""
        return part

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set on any process."""
        return flags

    def first(self, *values: Tensor) -> tuple[Tensor, ...]:
        """These tensors as rank 0 has them, so that machines that round differently stay together."""
        return values

    def gathered(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """The rows of all processes, in the order of ranks; for few rows."""
        return columns


#: This process alone.
ALONE = Sums()
