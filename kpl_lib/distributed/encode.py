"""`torchrun ... -m kpl_lib encode`: each process encodes its slice of a dataset; rank 0 puts them into one file.

They work apart, without a collective step, so nobody hangs on one that is gone. One that fails says why, in one line;
the launcher stops the others when a process ends, and if that was killed and said nothing, one of them does.
"""

import hashlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import DistError, PrefixStore, Store, rendezvous

from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.files import make_folder
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import READING
from kpl_lib.distributed.group import SECONDS, Place, RankLost, meeting, place, slice_of
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.features import Features

CURE = "run the same command again: finished parts are kept"
DAY = 86_400.0  # seconds that rank 0 waits for slower processes; a launcher notices earlier that one is gone
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
    workers: int | None = None,
    on_error: str = "raise",
    cache: str | Path | None = None,
    patches: bool = False,
    progress: bool = True,
    seconds: float = DAY,
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
        seconds: how long rank 0, once it is done, waits for the others.

    Returns:
        What was written, in rank 0; None in the others.

    Raises:
        InputError: as `encode_images`, for this process's slice.
        RankLost: if another process is gone, in the one that tells it; the others leave with exit code 2.

    Chapter: ch-scaling
    """
    where, kind = place(), "Patches" if patches else "Features"
    check_count(batch_size, "batch_size")
    with _together(where) as store:
        key = _key(encoder, dataset, batch_size, kind)
        rows = slice_of(len(dataset), where.rank, where.world, batch_size)
        part = _part(Path(out), rows, key)
        if rows and not (dataset.fingerprint and _whole(part, kind, len(rows))):
            run = encoder.encode_patches if patches else encoder.encode_images
            how = {"batch_size": batch_size, "workers": workers, "on_error": on_error, "cache": cache}
            made = run(dataset.subset(rows), **how, progress=progress and where.rank == 0)
            make_folder(part.parent)
            made.save(part)
        store.set(f"done/{where.rank}", key)
        if where.rank > 0:
            return None
        for rank, other in enumerate(_wait(store, "done", where, seconds)):
            if other != key:
                raise InputError(f"rank {rank} has another encoder, dataset, batch size or version: {APART}")
        return _merge(Path(out), _parts(Path(out), where, len(dataset), batch_size, key), kind)


class _Stopped(KeyboardInterrupt):
    """SIGTERM came; no reader of images takes it for a bad file."""


def _stopped(*_: object) -> None:
    raise _Stopped


@contextmanager
def _together(where: Place) -> Iterator[Store]:
    """Keys and values that all processes see; of those that end because another did, one says so."""
    before, store = signal.signal(signal.SIGTERM, _stopped), None
    try:
        with meeting(where):  # at the store of the launcher, or that of rank 0
            found, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=SECONDS)))
        store = PrefixStore(f"kpl/{where.attempt}", found)
        store.set(f"here/{where.rank}", "-")
        _wait(store, "here", where, SECONDS)  # from now on, all say how they end
        yield store
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends, but has something to say before
        first = _first_to_tell(store)
        if isinstance(error, _Stopped):
            why = "stopped by the launcher, as it does when another process ends"
        elif isinstance(error, DistError):
            why = f"the process that holds the run together is gone ({one_line(error)})"
        else:
            raise
        if not first:
            sys.exit(2)
        raise RankLost(f"{where.label}: {why}; {CURE}") from None
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _first_to_tell(store: Store | None) -> bool:
    """Whether no other process has said yet why the run ends."""
    try:
        return store is None or store.add("told", 1) == 1
    except DistError:
        return True


def _wait(store: Store, name: str, where: Place, seconds: float) -> list[str]:
    """The values `name/rank` of all processes, as soon as they are there; a signal can interrupt this wait."""
    keys, limit = [f"{name}/{rank}" for rank in range(where.world)], time.monotonic() + seconds
    while not store.check(keys):
        if store.check(["told"]):
            sys.exit(2)
        if time.monotonic() > limit:
            late = next(rank for rank, key in enumerate(keys) if not store.check([key]))
            raise RankLost(f"rank {late} of {where.world} is not {name} after {seconds:g} s; {CURE}")
        time.sleep(0.1)
    return [store.get(key).decode() for key in keys]


def _key(encoder: Encoder, dataset: ImageDataset, batch_size: int, kind: str) -> str:
    """Checksum of what the bits of a part depend on."""
    facts = [encoder.fingerprint, encoder.name, encoder.device.type, torch.__version__, kind, READING]
    facts += [batch_size, dataset.name, dataset.fingerprint, len(dataset)]
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


def _merge(out: Path, parts: list[Path], kind: str) -> WrittenFeatures:
    """Write the parts as one file and remove them. Rows are not scaled again: they stay as they are, to the bit."""
    found = [read_tensors(part, kind, ("images",)) for part in parts]
    tensors = {name: torch.cat([tensors[name] for tensors, _ in found]) for name in found[0][0]}
    header, metas = found[0][1], [header["meta"] for _, header in found]
    listed = [name for name in ("paths", "groups", "skipped") if metas[0][name] is not None]
    meta = metas[0] | {name: [value for meta in metas for value in meta[name]] for name in listed}
    write_tensors(out, kind, tensors, {"class_names": header["class_names"], "meta": meta})
    shutil.rmtree(parts[0].parent, ignore_errors=True)
    n, d = tensors["images"].shape
    return WrittenFeatures((n, d), tuple(why for _, why in meta["skipped"]))
