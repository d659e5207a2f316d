"""Where a process stands among the processes of a run, sums over all of them, and errors that reach all of them.

Start them with `torchrun`, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT yourself. `group=None` is
the group of all processes; without one, every function here is that of a single process.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib.common.devices import choose_device
from kpl_lib.common.errors import InputError

SECONDS = 300.0  # a step of the group that takes longer counts as a process lost


class RankLost(InputError):
    """Another process of the run ended or stopped answering. It is told like bad input: in one line.

    Chapter: ch-scaling
    """


@dataclass(frozen=True)
class Place:
    """Where this process stands: its number of `world`, its number on this machine, and the run's attempt.

    Args:
        rank: number of this process, from 0.
        world: processes in all.
        local: number of this process on its machine.
        attempt: how often the launcher has started the run again.

    Chapter: ch-scaling
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    attempt: int = 0

    @property
    def label(self) -> str:
        """How messages call it.

        Example:
            >>> Place(1, 4).label.split(" (")[0]
            'rank 1 of 4'
        """
        return f"rank {self.rank} of {self.world} ({socket.gethostname()})"


def place() -> Place:
    """The place that the launcher gave this process; rank 0 of 1 without a launcher.

    Raises:
        InputError: if RANK, WORLD_SIZE or LOCAL_RANK make no sense together.

    Chapter: ch-scaling
    """
    values = {}
    for key, default in (
        ("RANK", 0),
        ("WORLD_SIZE", 1),
        ("LOCAL_RANK", 0),
        ("TORCHELASTIC_RESTART_COUNT", 0),
    ):
        text = os.environ.get(key, str(default))
        if not text.isdecimal():
            raise InputError(f"{key}={text}: not a whole number; start the processes with torchrun")
        values[key] = int(text)
    found = Place(*values.values())
    if found.rank >= found.world:
        raise InputError(f"RANK={found.rank} is not below WORLD_SIZE={found.world}: number processes from 0")
    return found


def own_device(device: str | torch.device | None = None) -> torch.device:
    """The device of this process: GPU number LOCAL_RANK of this machine, else the CPU.

    Args:
        device: None chooses; `cuda` without a number takes the process's own GPU.

    Returns:
        The device.

    Raises:
        InputError: if there are more processes on this machine than GPUs, or the device cannot be used.

    Chapter: ch-scaling
    """
    wanted = str(device or choose_device(None))
    if wanted != "cuda":
        return choose_device(wanted)
    local, count = place().local, torch.cuda.device_count()
    if local >= count:
        raise InputError(f"LOCAL_RANK={local}, but this machine has {count} GPUs: start one process a GPU")
    return choose_device(f"cuda:{local}")


@contextmanager
def joined(device: str | torch.device | None = None, seconds: float = SECONDS) -> Iterator[torch.device]:
    """Join the processes of the launcher, over NCCL on GPUs and gloo elsewhere, and leave them at the end.

    Args:
        device: where this process computes; None takes GPU number LOCAL_RANK, else the CPU.
        seconds: how long one step of the group may take before a process counts as lost.

    Returns:
        The device. Alone (no launcher, or one process) there is nothing to join.

    Raises:
        RankLost: if the others do not come in time.

    Chapter: ch-scaling
    """
    here, where = own_device(device), place()
    if where.world == 1:
        yield here
        return
    if here.type == "cuda":
        torch.cuda.set_device(here)
    try:
        dist.init_process_group(
            "nccl" if here.type == "cuda" else "gloo",
            rank=where.rank,
            world_size=where.world,
            timeout=timedelta(seconds=seconds),
        )
    except (RuntimeError, ValueError) as error:
        raise RankLost(f"{where.label}: cannot meet the others ({short(error)}); start all of them") from None
    try:
        yield here
    finally:
        dist.destroy_process_group()


def slice_of(n: int, rank: int, world: int, step: int = 1) -> range:
    """Rows of process `rank`: contiguous, in order, whole steps of `step` rows except at the end.

    Args:
        n: rows in all.
        rank, world: number of the process, and of processes.
        step: rows that stay together, such as a batch.

    Returns:
        The rows; empty where there are more processes than steps.

    Example:
        >>> [slice_of(10, rank, 3, step=2) for rank in range(3)]
        [range(0, 4), range(4, 8), range(8, 10)]

    Chapter: ch-scaling
    """
    steps = -(-n // step)
    share, more = divmod(steps, world)
    first = rank * share + min(rank, more)
    return range(min(n, step * first), min(n, step * (first + share + (rank < more))))


def short(error: BaseException) -> str:
    """An error as part of a line."""
    return " ".join(str(error).split())[:120]


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
