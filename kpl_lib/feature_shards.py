"""Features of an unfinished run: shards cut on batch borders, so that a stopped run goes on to the same bits."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kpl_lib.errors import InputError
from kpl_lib.store import read_tensors, write_tensors

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


@dataclass(frozen=True, eq=False)
class Block:
    """Features of the images `start` to `stop`, whole batches of them.

    Args:
        start: number of the first image.
        stop: one more than the number of the last.
        rows: `images` `[n, D]` and, where asked for, `tokens` `[n, P, D]`; empty if no image could be read.
        failed: number of each image that could not be read, and why.
    """

    start: int
    stop: int
    rows: dict[str, Tensor]
    failed: tuple[tuple[int, str], ...] = ()

    @property
    def bytes(self) -> int:
        """Memory that the rows take."""
        return sum(rows.nbytes for rows in self.rows.values())


def join(blocks: list[Block]) -> Block:
    """One block from several that follow each other.

    Example:
        >>> parts = [Block(0, 2, {"images": torch.eye(2)}), Block(2, 3, {}, ((2, "c.png: empty"),))]
        >>> join(parts).stop, join(parts).failed
        (3, ((2, 'c.png: empty'),))
    """
    names = {name for block in blocks for name in block.rows}
    rows = {name: torch.cat([block.rows[name] for block in blocks if block.rows]) for name in names}
    failed = tuple(item for block in blocks for item in block.failed)
    return Block(blocks[0].start, blocks[-1].stop, rows, failed)


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
                done.append(join(pending))
                self.write(done[-1])
                pending, since = [], time.monotonic()
        return join(done + pending)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:09d}.safetensors"
