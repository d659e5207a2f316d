"""Features that were encoded before: kept on disk under a key of everything they depend on, so they cannot go stale.

An unfinished run keeps shards, cut on batch borders, so that a stopped run goes on to the same bits.
"""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from kpl_lib.common.errors import InputError
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.datasets.images import READING
from kpl_lib.encoders.run import Block, Job, join_blocks
from kpl_lib.features import Features, Patches

#: Seconds between two files: a killed run loses no more than this and one batch.
SHARD_SECONDS = 10.0
SHARD_BYTES = 1 << 28  # patches of a fast GPU fill the memory sooner


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Say in one line why a cache cannot be used."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cache {folder}: {error.strerror or error}; name a folder that you may write to"
        ) from None


@dataclass(frozen=True)
class Shards:
    """A folder of blocks, each one file that is whole or absent.

    Args:
        folder: where they are; made when the first is written.
        stamp: what the bits depend on; shards with another stamp are not used.
        total: N, the number of images.
    """

    folder: Path
    stamp: str
    total: int

    def read(self, usable: Callable[[Block], bool]) -> list[Block]:
        """The blocks from image 0 on, up to the first that is missing, broken, of another stamp, or not usable."""
        blocks, start = [], 0
        while start < self.total:
            try:
                rows, header = read_tensors(self._path(start), "FeatureShard")
            except InputError:
                break
            failed = tuple((index, why) for index, why in header["failed"])
            block = Block(start, header["stop"], rows, failed)
            if header["stamp"] != self.stamp or not usable(block):
                break
            blocks.append(block)
            start = block.stop
        return blocks

    def write(self, block: Block) -> None:
        """Write one block, whole or not at all."""
        header = {"stamp": self.stamp, "stop": block.stop, "failed": block.failed}
        with told(self.folder.parent):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(self._path(block.start), "FeatureShard", block.rows, header)

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def collect(self, encode: Callable[[int], Iterator[Block]], usable: Callable[[Block], bool]) -> Block:
        """Go on from the blocks that are there, keeping new ones every few seconds.

        Args:
            encode: gives blocks from an image on, one a batch.
            usable: whether a block that was kept may be used.

        Returns:
            All N images as one block.
        """
        done, pending, since = self.read(usable), [], time.monotonic()
        start = done[-1].stop if done else 0
        for block in encode(start) if start < self.total else ():
            pending.append(block)
            full = sum(block.bytes for block in pending) >= SHARD_BYTES
            if block.stop < self.total and (full or time.monotonic() - since >= SHARD_SECONDS):
                done.append(join_blocks(pending))
                self.write(done[-1])
                pending, since = [], time.monotonic()
        return join_blocks(done + pending)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:09d}.safetensors"


WAIT = 2.0  # seconds before this process says that it waits for another one


def remember(folder: str | Path, job: Job, maker: str) -> Features | Patches:
    """Read the features of a job from `folder`, or encode them and keep them there.

    The file's name is a checksum of the encoder (weights, architecture, preprocessing, precision) and of the dataset
    (what is read, and the code that reads it). Change either, and the name changes. A file that cannot be read is
    made again and replaced. Images that could not be read then are tried again.

    While the job runs, shards are kept beside the file. A stopped run goes on from them if encoder, dataset, batch
    size, device and torch are the same, else it starts anew. Of two processes with the same job the second waits.

    Args:
        folder: made when it is missing.
        job: what is encoded; its dataset needs a `fingerprint`.
        maker: the fingerprint of the encoder.

    Returns:
        What the job gives.

    Raises:
        InputError: for a dataset without a fingerprint, and for a folder that cannot be written.
    """
    if not job.dataset.fingerprint:
        raise InputError(
            f"{job.dataset.name}: it has no fingerprint to keep features under; leave `cache` out"
        )
    slot = _slot(Path(folder), job, maker)
    found = slot.load(job)
    if found is None:
        with slot.locked(job.progress):
            found = slot.load(job)  # another process may have made it meanwhile
            if found is None:
                found = slot.make(job)
    return found


@dataclass(frozen=True)
class Slot:
    """One file of a cache, with the lock and the shards that it grows from.

    Args:
        folder: the cache.
        name: what the file is called, without its suffix.
        key: checksum of everything that the features depend on.
        kind: what the file holds.
    """

    folder: Path
    name: str
    key: str
    kind: type[Features] | type[Patches]

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name}.safetensors"

    def load(self, job: Job) -> Features | Patches | None:
        """What the file holds; None where it is missing, broken, or an image that was skipped can be read now."""
        with told(self.folder):
            block = self._block(job)
        if block is None or job.any_readable(index for index, _ in block.failed):
            return None
        return job.finish(block)

    def _block(self, job: Job) -> Block | None:
        """The rows of the file, and the images that it left out; labels and paths are those of the dataset at hand."""
        try:
            rows, header = read_tensors(self.path, self.kind.__name__, ("images",))
        except InputError:
            return None
        number = {path: index for index, path in enumerate(job.dataset.paths)}
        failed = tuple((number.get(path, -1), why) for path, why in header["meta"]["skipped"])
        rows.pop("labels", None)
        whole = len(rows["images"]) + len(failed) == len(job.dataset)
        known = all(index >= 0 for index, _ in failed)
        return Block(0, len(job.dataset), rows, failed) if whole and known else None

    @contextmanager
    def locked(self, progress: bool) -> Iterator[None]:
        """Keep other processes from the same job; the lock ends with the process, however that ends.

        Args:
            progress: say so where this process has to wait.
        """
        locks = self.folder / ".locks"
        with told(self.folder):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / self.name)
            try:
                lock.acquire(timeout=WAIT)
            except Timeout:
                if progress:
                    tqdm.write(f"{self.name}: another process encodes it; waiting", file=sys.stderr)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make(self, job: Job) -> Features | Patches:
        """Encode, keep, and give what later calls get, to the last bit."""
        threads = torch.get_num_threads() if job.place.type == "cpu" else 0
        place = f"{job.place.type} {threads} torch {torch.__version__}"
        stamp = f"{self.key} batches of {job.batch_size} on {place}"
        shards = Shards(self.folder / f"{self.name}.parts", stamp, len(job.dataset))

        def usable(block: Block) -> bool:
            return not job.any_readable(index for index, _ in block.failed)

        made = job.finish(shards.collect(job.blocks, usable))
        with told(self.folder):
            made.save(self.path)
        shards.clear()
        return job.finish(self._block(job))


def _slot(folder: Path, job: Job, maker: str) -> Slot:
    """Where the features of a job are."""
    dataset, kind = job.dataset, Patches if job.patches else Features
    parts = [maker, dataset.name, dataset.fingerprint, len(dataset)]
    parts += [f"reading {READING}"] * (READING > 1) + ["patches"] * job.patches
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    readable = re.sub(r"[^\w.-]+", "-", dataset.name, flags=re.ASCII)[:80].strip("-.")
    name = f"{readable}-patches-{key[:24]}" if job.patches else f"{readable}-{key[:24]}"
    return Slot(folder, name, key, kind)
