"""Features that were encoded before: kept on disk under a key of everything they depend on, so they cannot go stale.

An unfinished run keeps shards, cut on batch borders, so that a stopped run goes on to the same bits.
"""

import hashlib
import re
import shutil
import sys
import time
from collections.abc import Iterator
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
from kpl_lib.features import Features
from kpl_lib.patches import Patches

#: Seconds between two files: a killed run loses no more than this and one batch.
SHARD_SECONDS = 10.0
SHARD_BYTES = 1 << 28  # patches of a fast GPU fill the memory sooner
SHARD = "{:09d}.safetensors"  # by its first image
WAIT = 2.0  # seconds before this process says that it waits for another one


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Say in one line why a cache cannot be used."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"cache {folder}: {why}; name a folder that you may write to") from None


def remember(folder: str | Path, job: Job, maker: str) -> Features | Patches:
    """Read the features of a job from `folder`, or encode them and keep them there.

    The file's name is a checksum of the encoder (weights, architecture, preprocessing, precision) and of the dataset
    (what is read, and the code that reads it). Change either, and the name changes. A file that cannot be read is
    made again and replaced. Images that could not be read then are tried again.

    While the job runs, shards are kept beside the file. A stopped run goes on from them if encoder, dataset, batch
    size, device and torch are the same, else it starts anew. Of two processes with the same job the second waits.

    Raises:
        InputError: for a dataset without a fingerprint, and for a folder that cannot be written.
    """
    if not job.dataset.fingerprint:
        raise InputError(f"{job.dataset.name}: no fingerprint to keep features under; leave `cache` out")
    dataset = job.dataset
    parts = [maker, dataset.name, dataset.fingerprint, len(dataset)]
    parts += [f"reading {READING}"] * (READING > 1) + ["patches"] * job.patches
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
    readable = re.sub(r"[^\w.-]+", "-", dataset.name, flags=re.ASCII)[:80].strip("-.")
    slot = Slot(Path(folder), f"{readable}{'-patches' * job.patches}-{key[:24]}", key, job)
    found = slot.load()
    if found is None:
        with slot.locked():
            found = slot.load() or slot.make()  # another process may have made it meanwhile
    return found


@dataclass(frozen=True)
class Slot:
    """One file of a cache, with the lock and the shards that it grows from."""

    folder: Path
    name: str  # of the file, without its suffix
    key: str  # checksum of everything that the features depend on
    job: Job

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name}.safetensors"

    def load(self) -> Features | Patches | None:
        """What the file holds; None where it is missing, broken, or an image that was skipped can be read now."""
        with told(self.folder):
            block = self._block()
        return None if block is None or self.job.outdated(block) else self.job.finish(block)

    def _block(self) -> Block | None:
        """The rows of the file, and the images that it left out; labels and paths are those of the dataset at hand."""
        dataset = self.job.dataset
        kind = Patches if self.job.patches else Features
        try:
            rows, header = read_tensors(self.path, kind.__name__, ("images",))
        except InputError:
            return None
        number = {path: index for index, path in enumerate(dataset.paths)}
        failed = tuple((number.get(path, -1), why) for path, why in header["meta"]["skipped"])
        rows.pop("labels", None)
        whole = len(rows["images"]) + len(failed) == len(dataset)
        known = all(index >= 0 for index, _ in failed)
        return Block(0, len(dataset), rows, failed) if whole and known else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the same job; the lock ends with the process, however that ends."""
        locks = self.folder / ".locks"
        with told(self.folder):
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / self.name)
            try:
                lock.acquire(timeout=WAIT)
            except Timeout:
                if self.job.progress:
                    tqdm.write(f"{self.name}: another process encodes it; waiting", file=sys.stderr)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def make(self) -> Features | Patches:
        """Encode, keep, and give what later calls get, to the last bit."""
        place = self.job.place.type
        threads = torch.get_num_threads() if place == "cpu" else 0
        stamp = f"{self.key} batches of {self.job.batch_size} on {place} {threads} torch {torch.__version__}"
        parts = self.folder / f"{self.name}.parts"
        made = self.job.finish(self._collect(parts, stamp))
        with told(self.folder):
            made.save(self.path)
        shutil.rmtree(parts, ignore_errors=True)
        return self.job.finish(self._block())

    def _collect(self, parts: Path, stamp: str) -> Block:
        """Go on from the shards that are there, keeping new ones every few seconds; all images as one block."""
        total, done, pending, since = len(self.job.dataset), self._shards(parts, stamp), [], time.monotonic()
        start = done[-1].stop if done else 0
        for block in self.job.blocks(start) if start < total else ():
            pending.append(block)
            full = sum(rows.nbytes for block in pending for rows in block.rows.values()) >= SHARD_BYTES
            if block.stop < total and (full or time.monotonic() - since >= SHARD_SECONDS):
                whole = join_blocks(pending)
                header = {"stamp": stamp, "stop": whole.stop, "failed": whole.failed}
                with told(self.folder):
                    parts.mkdir(parents=True, exist_ok=True)
                    write_tensors(parts / SHARD.format(whole.start), "FeatureShard", whole.rows, header)
                done.append(whole)
                pending, since = [], time.monotonic()
        return join_blocks(done + pending)

    def _shards(self, parts: Path, stamp: str) -> list[Block]:
        """The blocks from image 0 on, up to the first that is missing, broken, of another stamp, or outdated."""
        blocks, start = [], 0
        while start < len(self.job.dataset):
            try:
                rows, header = read_tensors(parts / SHARD.format(start), "FeatureShard")
            except InputError:
                break
            failed = tuple((index, why) for index, why in header["failed"])
            block = Block(start, header["stop"], rows, failed)
            if header["stamp"] != stamp or self.job.outdated(block):
                break
            blocks.append(block)
            start = block.stop
        return blocks
