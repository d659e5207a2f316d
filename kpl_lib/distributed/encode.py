"""`torchrun ... -m kpl_lib encode`: each process encodes its slice of a dataset; rank 0 puts them into one file.

They work apart, without a collective step, so nobody hangs on one that is gone. Each tells a common store every second
that it lives. One that fails says why; one that is silent too long counts as lost. In both cases all others stop, and
one of them says it in one line.
"""

import _thread
import hashlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed import PrefixStore, Store, rendezvous

from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import READING
from kpl_lib.distributed.group import SECONDS, Place, RankLost, place, slice_of
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.features import Features

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
            raise RankLost(f"{self.where.label}: {GONE} ({one_line(error)}); {CURE}") from None

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
                problem = f"{self.where.label}: {GONE} ({one_line(error)})"
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
        raise RankLost(
            f"{where.label}: cannot meet the others ({one_line(error)}); start all of them"
        ) from None
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
    message = f"{where.label}: {one_line(error) or type(error).__name__}"
    watch.first_to_tell()
    with suppress(RuntimeError, OSError):
        watch.store.set("failed", message)
    watch.linger()
    raise error


SEEN_WITHIN = 30.0  # seconds that a network folder may take to show what another machine wrote
APART = "start all processes with the same command, on the same images and the same versions"


@dataclass(frozen=True)
class WrittenFeatures:
    """What a run wrote: rows and columns of the features, and why images were left out.

    Args:
        shape: rows and columns.
        skipped: images that could not be read, each with the reason.

    Chapter: ch-scaling
    """

    shape: tuple[int, int]
    skipped: tuple[str, ...]

    @classmethod
    def of(cls, features: Features) -> "WrittenFeatures":
        """The same of features that one process encoded."""
        return cls(tuple(features.images.shape), tuple(why for _, why in features.meta["skipped"]))


def encode_shared(
    encoder: Encoder,
    dataset: ImageDataset,
    out: str | Path,
    *,
    batch_size: int = 64,
    workers: int = 0,
    on_error: str = "raise",
    cache: str | Path | None = None,
    patches: bool = False,
    progress: bool = True,
    silent: float = SILENT,
) -> WrittenFeatures | None:
    """Encode a dataset in all processes of a launcher; called by each of them.

    Rank r takes whole batches, those of `slice_of`, and writes them as one part beside `out`. Rank 0 joins the parts.
    The file is that of one process, bit by bit, if devices, threads and versions are alike. After a failure the same
    command goes on: parts that are there are not encoded again, unless an image was left out of them.

    Args:
        encoder: on the device of this process (`kpl_lib.distributed.own_device`).
        dataset: all N images, the same in every process.
        out: the file of features (.safetensors), in a folder that all machines share.
        batch_size, workers, on_error, cache, progress: as `Encoder.encode_images`; rank 0 alone shows a bar.
        patches: patch features too, as `Encoder.encode_patches`.
        silent: seconds without a sign of life after which a process counts as lost.

    Returns:
        What was written, in rank 0; None in the others.

    Raises:
        InputError: as `encode_images`, for this process's slice.
        RankLost: if another process fails or is gone.

    Chapter: ch-scaling
    """
    where, kind = place(), "Patches" if patches else "Features"
    check_count(batch_size, "batch_size")
    with watched(where, silent) as watch:
        key = _key(encoder, dataset, batch_size, kind)
        rows = slice_of(len(dataset), where.rank, where.world, batch_size)
        part = _part(Path(out), rows, key)
        if rows and not (dataset.fingerprint and _whole(part, kind, len(rows))):
            run = encoder.encode_patches if patches else encoder.encode_images
            made = run(
                dataset.subset(rows),
                batch_size=batch_size,
                workers=workers,
                on_error=on_error,
                cache=cache,
                progress=progress and where.rank == 0,
            )
            _make_folder(part.parent)
            made.save(part)
        watch.tell(f"done/{where.rank}", key)
        if where.rank > 0:
            watch.wait("merged", range(1))
            watch.tell(f"left/{where.rank}")
            return None
        _check_keys(watch.wait("done", range(where.world)), key)
        written = _merge(Path(out), _parts(Path(out), where, len(dataset), batch_size, key), kind)
        watch.tell("merged/0")
        _see_off(watch, where)
    return written


def _key(encoder: Encoder, dataset: ImageDataset, batch_size: int, kind: str) -> str:
    """Checksum of what the bits of a part depend on."""
    facts = [
        encoder.fingerprint,
        encoder.name,
        encoder.device.type,
        torch.__version__,
        kind,
        READING,
        batch_size,
    ]
    facts += [dataset.name, dataset.fingerprint, len(dataset)]
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()[:16]


def _part(out: Path, rows: range, key: str) -> Path:
    """The file of one slice."""
    return out.parent / f"{out.name}.parts" / f"{rows.start:09d}-{rows.stop:09d}-{key}.safetensors"


def _parts(out: Path, where: Place, n: int, batch_size: int, key: str) -> list[Path]:
    """The files of all slices that hold images, in order."""
    slices = [slice_of(n, rank, where.world, batch_size) for rank in range(where.world)]
    parts = [_part(out, rows, key) for rows in slices if rows]
    limit = time.monotonic() + SEEN_WITHIN
    while missing := [part for part in parts if not part.is_file()]:
        if time.monotonic() > limit:
            raise InputError(f"{missing[0]}: written elsewhere, not seen here; name --out in a shared folder")
        time.sleep(0.2)
    return parts


def _whole(part: Path, kind: str, count: int) -> bool:
    """Whether a part is there from an earlier run, with all its images."""
    try:
        tensors, header = read_tensors(part, kind, ("images",))
    except InputError:
        return False
    return len(tensors["images"]) == count and not header["meta"]["skipped"]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}; name --out in a folder that you may write to"
        ) from None


def _check_keys(keys: list[str], key: str) -> None:
    """Refuse to join what was made of other images or by another encoder."""
    for rank, other in enumerate(keys):
        if other != key:
            raise InputError(f"rank {rank} has another encoder, dataset, batch size or version: {APART}")


def _merge(out: Path, parts: list[Path], kind: str) -> WrittenFeatures:
    """Write the parts as one file and remove them. Rows are not scaled again: they stay as they are, to the bit."""
    found = [read_tensors(part, kind, ("images",)) for part in parts]
    tensors = {name: _joined([tensors[name] for tensors, _ in found]) for name in found[0][0]}
    header, metas = found[0][1], [header["meta"] for _, header in found]
    listed = [name for name in ("paths", "groups", "skipped") if metas[0][name] is not None]
    meta = metas[0] | {name: [value for meta in metas for value in meta[name]] for name in listed}
    write_tensors(out, kind, tensors, {"class_names": header["class_names"], "meta": meta})
    shutil.rmtree(parts[0].parent, ignore_errors=True)
    n, d = tensors["images"].shape
    return WrittenFeatures((n, d), tuple(why for _, why in meta["skipped"]))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _see_off(watch: Watch, where: Place, seconds: float = 5.0) -> None:
    """Where rank 0 itself holds the store, stay until the others have read the last word."""
    limit = time.monotonic() + seconds
    keys = [f"left/{rank}" for rank in range(1, where.world)]
    while not watch.store.check(keys) and time.monotonic() < limit:
        time.sleep(0.02)
