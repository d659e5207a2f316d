"""Processes that work apart and look after each other: no collective step, so nobody hangs on one that is gone.

Each process tells a common store every second that it lives. One that fails says why. One that is silent too long
counts as lost. In both cases all others stop, and one of them says it in one line.
"""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from torch.distributed import PrefixStore, Store, rendezvous

from kpl_lib.distributed_place import SECONDS, Place, RankLost, short

BEAT = 0.5  # seconds between two signs of life
SILENT = 60.0  # seconds without one after which a process counts as lost
GONE = "the process that holds the run together is gone"
CURE = "run the same command again: finished parts are kept"


class Watch:
    """The common store as one process sees it.

    Args:
        store: keys and values that all processes see.
        where: the place of this process.
        silent: seconds without a sign of life after which another counts as lost.
    """

    def __init__(self, store: Store, where: Place, silent: float) -> None:
        self.store, self.where, self.silent = store, where, silent
        self.problem: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def tell(self, key: str, value: str = "-") -> None:
        """Put a value where all processes see it.

        Raises:
            RankLost: if the store is gone.
        """
        try:
            self.store.set(key, value)
        except (RuntimeError, OSError) as error:
            raise RankLost(f"{self.where.label}: {GONE} ({short(error)}); {CURE}") from None

    def wait(self, name: str, ranks: range) -> list[str]:
        """Wait until all these processes told a value `name/rank`, and give the values.

        If one of them is gone, the thread interrupts this wait as it does any other work.
        """
        keys = [f"{name}/{rank}" for rank in ranks]
        while True:
            with suppress(RuntimeError, OSError):  # the thread notices it too, and says it
                if self.store.check(keys):
                    return [self.store.get(key).decode() for key in keys]
            time.sleep(BEAT / 5)

    def _look(self) -> None:
        """In a thread: give signs of life, and look for what went wrong elsewhere."""
        beat, last, since = 0, "", time.monotonic()
        while not self._stop.wait(BEAT):
            beat += 1
            try:
                self.store.set(f"beat/{self.where.rank}", str(beat))
                now = self._read(f"beat/{self._next}")
                if now != last:
                    last, since = now, time.monotonic()
                problem = self._read("failed") or self._lost(time.monotonic() - since, bool(last))
            except (RuntimeError, OSError) as error:
                problem = f"{self.where.label}: {GONE} ({short(error)})"
            if problem and not self._stop.is_set():
                self.problem = f"{problem}; {CURE}"
                _thread.interrupt_main(signal.SIGTERM)  # SIGINT is ignored by what a script starts with `&`
                return

    @property
    def _next(self) -> int:
        """The process that this one looks after: all stand in a ring, so the store has little to do."""
        return (self.where.rank + 1) % self.where.world

    def _read(self, key: str) -> str:
        """The value of a key, empty where there is none; does not wait for it."""
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _lost(self, quiet: float, began: bool) -> str:
        """Tell all if the next process was silent too long; one that has not come yet gets more time."""
        limit = self.silent if began else max(self.silent, SECONDS)
        if quiet <= limit:
            return ""
        problem = f"rank {self._next} of {self.where.world} gave no sign of life for {limit:g} s"
        self.store.set("failed", problem)
        return problem

    def first_to_tell(self) -> bool:
        """Whether no other process has said yet what went wrong."""
        try:
            return self.store.add("told", 1) == 1
        except (RuntimeError, OSError):
            return True

    def linger(self) -> None:
        """On rank 0, which may hold the store: stay until all others have asked who tells, four beats at most."""
        until = time.monotonic() + 4 * BEAT
        with suppress(RuntimeError, OSError):
            while self.where.rank == 0 and self.store.add("told", 0) < self.where.world:
                if time.monotonic() > until:
                    return
                time.sleep(BEAT / 5)


@contextmanager
def watched(where: Place, silent: float = SILENT, store: Store | None = None) -> Iterator[Watch]:
    """Watch over the processes of the launcher while the block runs.

    Args:
        where: the place of this process.
        silent: seconds without a sign of life after which another process counts as lost.
        store: None meets the others where the launcher says.

    Raises:
        RankLost: if another process fails or is gone; only in the process that is the first to tell. The others
            leave with exit code 2.
    """
    watch = Watch(store or _meet(where), where, silent)
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        watch.tell(f"beat/{where.rank}", "0")
        watch._thread.start()
        watch.tell(f"here/{where.rank}")
        watch.wait("here", range(where.world))
        yield watch
    except BaseException as error:
        _leave(watch, error)
    finally:
        watch._stop.set()
        watch._thread.join(timeout=5)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _meet(where: Place) -> Store:
    """The store of the launcher, or that of rank 0."""
    try:
        wait = timedelta(seconds=SECONDS)
        store, _, _ = next(rendezvous("env://", where.rank, where.world, timeout=wait))
    except (RuntimeError, ValueError) as error:
        raise RankLost(f"{where.label}: cannot meet the others ({short(error)}); start all of them") from None
    store.set_timeout(timedelta(seconds=10))
    return PrefixStore(f"kpl/{where.attempt}", store)


class _Stopped(KeyboardInterrupt):
    """SIGTERM came, from the launcher or from the thread that watches; no reader of images takes it for a bad file."""


def _stopped(*_: object) -> None:
    raise _Stopped


def _leave(watch: Watch, error: BaseException) -> None:
    """Pass an error on: to the others if it arose here, to the user if nobody has told it yet."""
    where = watch.where
    watch._stop.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if isinstance(error, _Stopped):
        stopped = f"stopped by the launcher, as it does when another process ends; {CURE}"
        error = RankLost(watch.problem or stopped)
    if isinstance(error, RankLost):
        first = watch.first_to_tell()
        watch.linger()
        if not first:
            sys.exit(2)
        raise error from None
    message = f"{where.label}: {short(error) or type(error).__name__}"
    watch.first_to_tell()
    with suppress(RuntimeError, OSError):
        watch.store.set("failed", message)
    watch.linger()
    raise error
