"""Where a process stands among the processes of a run, sums over all of them, and errors that reach all of them.

Start them with `torchrun`, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT yourself. `group=None` is
the group of all processes; without one, every function here is that of a single process.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib.common.devices import choose_device
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.sums import Sums

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


@contextmanager
def one_lost(label: str, what: str, cure: str) -> Iterator[None]:
    """Say in one line that another process is gone, where the block finds that out."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise RankLost(f"{label}: {what} ({one_line(error)}); {cure}") from None


def meeting(where: Place) -> AbstractContextManager[None]:
    """The block in which processes come together."""
    return one_lost(where.label, "cannot meet the others", "start all of them")


def place() -> Place:
    """The place that the launcher gave this process; rank 0 of 1 without a launcher.

    Raises:
        InputError: if RANK, WORLD_SIZE or LOCAL_RANK make no sense together.

    Chapter: ch-scaling
    """
    values = []
    for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"):
        text = os.environ.get(key, "1" if key == "WORLD_SIZE" else "0")
        if not text.isdecimal():
            raise InputError(f"{key}={text}: not a whole number; start the processes with torchrun")
        values.append(int(text))
    found = Place(*values)
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
    backend = "nccl" if here.type == "cuda" else "gloo"
    with meeting(where):
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
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


class Group(Sums):
    """The processes of a group: each has its rows, and all get the same sums, in float64.

    Args:
        group: a group of `torch.distributed`; None is all processes, or this one alone where there are no others.

    Example:
        >>> Group().total(torch.tensor([1.0, 2.0]))
        tensor([1., 2.], dtype=torch.float64)
    """

    least = 1  # all together need 2

    def __init__(self, group: ProcessGroup | None = None) -> None:
        self.group = group
        if dist.is_initialized():
            self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)

    def agreed(self, make: Callable[[], object], rows: Tensor | None = None) -> object:
        """What `make` gives here; an error of one process is raised by all, so that none waits for the others.

        Raises:
            InputError: the first error, with its rank; and for rows that do not fit together.
        """
        mine, said, facts = None, None, None
        try:
            if isinstance(rows, Tensor) and rows.dim() == 2 and len(rows) == 0:
                raise InputError("it has no image: start at most as many processes as there are images")
            if isinstance(rows, Tensor) and self._nccl() and rows.device.type != "cuda":
                here = rows.device
                raise InputError(f"rows on {here}, and NCCL sends from GPU to GPU: use joined's device")
            mine = make()
            facts = None if rows is None else (rows.shape[1], str(rows.dtype), rows.device.type)
        except InputError as error:
            said = str(error)
        found = self._objects((said, facts, 0 if facts is None else len(rows)))
        for rank, (message, _, _) in enumerate(found):
            if message is not None:
                raise InputError(message if self.world == 1 else f"rank {rank} of {self.world}: {message}")
        for rank, (_, other, _) in enumerate(found):
            if other != found[0][1]:
                raise InputError(f"rank 0 has D, dtype, device {found[0][1]}, rank {rank} {other}: use one")
        if facts is not None and sum(count for _, _, count in found) < 2:
            raise InputError("1 image is too few for a method that reads the whole set, give at least 2")
        return mine

    def place(self, rows: Tensor) -> tuple[int, int]:
        """Number of rows before those of this process, and of all."""
        counts = self._objects(len(rows))
        return sum(counts[: self.rank]), sum(counts)

    def total(self, part: Tensor) -> Tensor:
        """Sum over the processes in float64, the same bits on each."""
        return self._reduced(part, dist.ReduceOp.SUM)

    def largest(self, part: Tensor) -> Tensor:
        """Largest value of each entry over the processes, in float64."""
        return self._reduced(part, dist.ReduceOp.MAX)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Whether each flag is set on any process."""
        here = "cuda" if self._nccl() else "cpu"
        return tuple(self.largest(torch.tensor(flags, device=here)).bool().tolist())

    def first(self, *values: Tensor) -> tuple[Tensor, ...]:
        """These tensors as rank 0 has them, sent in float64; shapes and dtypes stay."""
        if self.world == 1:
            return values
        flat = torch.cat([value.to(torch.float64).flatten() for value in values])
        with self._lost():
            dist.broadcast(flat, group=self.group, group_src=0)
        parts = flat.split([value.numel() for value in values])
        return tuple(part.view_as(value).to(value.dtype) for part, value in zip(parts, values, strict=True))

    def gathered(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """The rows of all processes, in the order of ranks, on the CPU; for few rows."""
        parts = self._objects(tuple(column.cpu() for column in columns))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _nccl(self) -> bool:
        """Whether the processes talk from GPU to GPU alone."""
        return self.world > 1 and dist.get_backend(self.group) == "nccl"

    def _objects(self, value: object) -> list:
        """A small value of every process, in the order of ranks."""
        if self.world == 1:
            return [value]
        values: list = [None] * self.world
        with self._lost():
            dist.all_gather_object(values, value, self.group)
        return values

    def _reduced(self, part: Tensor, how: dist.ReduceOp) -> Tensor:
        result = part.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
        if self.world > 1:
            with self._lost():
                dist.all_reduce(result, how, self.group)
        return result

    def _lost(self) -> AbstractContextManager[None]:
        what = "another process ended or is stuck"
        return one_lost(f"rank {self.rank} of {self.world}", what, "start all again")
