"""A few processes on this machine that form a group, as copies of the test's own process."""

import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed import TCPStore

from kpl_lib.common.errors import InputError


@dataclass(frozen=True)
class Ended:
    """How one process ended: its exit code (-9 if killed), what its work gave, and what it said."""

    code: int
    result: object
    said: str


def in_ranks(
    folder: Path, world: int, work: Callable[[], object], seconds: float = 60, agent: bool = False
) -> list[Ended]:
    """Run `work` in `world` processes that find each other through the environment, as under a launcher.

    An InputError becomes what the process said, and exit code 2. Processes that do not end in time are killed. With
    `agent` this process plays the agent of `torchrun`: it holds the store, and stops the others when one fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = {"TORCHELASTIC_USE_AGENT_STORE": "True"} if agent else {}
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False) if agent else None
    children = []
    for rank in range(world):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the copies start their own threads
            child = os.fork()
        if child == 0:
            facts = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
            os.environ.update({k: str(v) for k, v in facts.items()}, MASTER_ADDR="127.0.0.1", **more)
            _work(folder / str(rank), work)
        children.append(child)
    ended, limit = {}, time.monotonic() + seconds
    while len(ended) < world:
        for rank, child in enumerate(children):
            if rank not in ended and (status := os.waitpid(child, os.WNOHANG))[0]:
                ended[rank] = os.waitstatus_to_exitcode(status[1])
                if store is not None and ended[rank]:
                    for other in (c for r, c in enumerate(children) if r not in ended):
                        os.kill(other, signal.SIGTERM)
            elif rank not in ended and time.monotonic() > limit:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [_ended(folder / str(rank), ended[rank]) for rank in range(world)]


def _work(base: Path, work: Callable[[], object]) -> None:
    """In the copy: keep the result and what was said in files, and leave without the test's own clean-up."""
    code = 1
    said = os.open(f"{base}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    try:
        torch.set_num_threads(1)
        torch.save(work(), f"{base}.pt")
        code = 0
    except InputError as error:
        print(f"kpl: {error}", file=sys.stderr)
        code = 2
    except SystemExit as error:
        code = error.code or 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ended(base: Path, code: int) -> Ended:
    result = Path(f"{base}.pt")
    found = torch.load(result, weights_only=False) if code == 0 else None
    return Ended(code, found, Path(f"{base}.err").read_text())
