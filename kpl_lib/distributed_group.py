"""Sums over all processes of a run, and errors that reach all of them.

`group=None` is the group of all processes; without one, every function here is that of a single process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib.distributed_place import RankLost, short
from kpl_lib.errors import InputError


def rank_of(group: ProcessGroup | None = None) -> int:
    """Number of this process in the group; 0 where there is none."""
    return dist.get_rank(group) if dist.is_initialized() else 0


def world_of(group: ProcessGroup | None = None) -> int:
    """Number of processes in the group; 1 where there is none."""
    return dist.get_world_size(group) if dist.is_initialized() else 1


def total(part: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """Sum of a tensor over all processes, in float64, the same bits on each.

    Example:
        >>> total(torch.tensor([1.0, 2.0]))
        tensor([1., 2.], dtype=torch.float64)
    """
    return _reduced(part, dist.ReduceOp.SUM, group)


def largest(part: Tensor, group: ProcessGroup | None = None) -> Tensor:
    """Largest value of each entry over all processes, in float64."""
    return _reduced(part, dist.ReduceOp.MAX, group)


def _reduced(part: Tensor, how: dist.ReduceOp, group: ProcessGroup | None) -> Tensor:
    result = part.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    if world_of(group) > 1:
        with lost(group):
            dist.all_reduce(result, how, group)
    return result


def from_first(values: tuple[Tensor, ...], group: ProcessGroup | None = None) -> tuple[Tensor, ...]:
    """These float64 tensors as rank 0 has them, so that machines that round differently stay together."""
    if world_of(group) == 1:
        return values
    flat = torch.cat([value.to(torch.float64).flatten() for value in values])
    with lost(group):
        dist.broadcast(flat, group=group, group_src=0)
    parts = flat.split([value.numel() for value in values])
    return tuple(part.view_as(value) for part, value in zip(parts, values, strict=True))


def gathered(value: object, group: ProcessGroup | None = None) -> list:
    """A small value of every process, in the order of ranks."""
    if world_of(group) == 1:
        return [value]
    values: list = [None] * world_of(group)
    with lost(group):
        dist.all_gather_object(values, value, group)
    return values


def agreed(check: Callable[[], object], group: ProcessGroup | None = None) -> list:
    """Run a check on every process; if one finds an error, all raise it, so that none waits for the others.

    Args:
        check: raises InputError, or gives a small value.

    Returns:
        The values, in the order of ranks.

    Raises:
        InputError: the first error, with its rank.
    """
    try:
        mine, said = check(), None
    except InputError as error:
        mine, said = None, str(error)
    found = gathered((mine, said), group)
    for rank, (_, message) in enumerate(found):
        if message is not None:
            raise InputError(message if len(found) == 1 else f"rank {rank} of {len(found)}: {message}")
    return [value for value, _ in found]


@contextmanager
def lost(group: ProcessGroup | None = None) -> Iterator[None]:
    """Say in one line that a process of the group is gone."""
    try:
        yield
    except RuntimeError as error:
        me = f"rank {rank_of(group)} of {world_of(group)}"
        raise RankLost(f"{me}: another process ended or is stuck ({short(error)}); start all again") from None


def counted(rows: Tensor, check: Callable[[], object], group: ProcessGroup | None) -> tuple[int, int]:
    """Number of rows before those of this process, and in all; refuses what does not fit on any process."""

    def checked() -> tuple[int, tuple]:
        if isinstance(rows, Tensor) and rows.dim() == 2 and len(rows) == 0:
            raise InputError("it has no image: start at most as many processes as there are images")
        check()
        return len(rows), (rows.shape[1], str(rows.dtype), rows.device.type)

    found = agreed(checked, group)
    for other, (_, facts) in enumerate(found):
        if facts != found[0][1]:
            raise InputError(
                f"rank 0 has columns, dtype, device {found[0][1]}, rank {other} {facts}: use one"
            )
    counts = [count for count, _ in found]
    if sum(counts) < 2:
        raise InputError("1 image is too few for a method that reads the whole set, give at least 2")
    return sum(counts[: rank_of(group)]), sum(counts)
