"""Where a process stands among the processes of a run: its rank, its device, its slice of the rows.

Start them with `torchrun`, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT yourself.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from kpl_lib.devices import choose_device
from kpl_lib.errors import InputError

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
