"""Images to unit vectors, batch by batch; what cannot be read is handed back, not raised."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import MAX_PIXELS, decode_for
from kpl_lib.features import Features, Patches

Failed = list[tuple[int, str]]


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


def join_blocks(blocks: list[Block]) -> Block:
    """One block from several that follow each other.

    Example:
        >>> parts = [Block(0, 2, {"images": torch.eye(2)}), Block(2, 3, {}, ((2, "c.png: empty"),))]
        >>> join_blocks(parts).stop, join_blocks(parts).failed
        (3, ((2, 'c.png: empty'),))
    """
    names = {name for block in blocks for name in block.rows}
    rows = {name: torch.cat([block.rows[name] for block in blocks if block.rows]) for name in names}
    failed = tuple(item for block in blocks for item in block.failed)
    return Block(blocks[0].start, blocks[-1].stop, rows, failed)


def batches(
    dataset: ImageDataset,
    preprocess: Callable[[Image.Image], Tensor],
    batch_size: int,
    workers: int = 0,
    start: int = 0,
    size: int = 0,
    layout: torch.memory_format = torch.contiguous_format,
    pinned: bool = False,
) -> Iterator[tuple[Tensor | None, Failed]]:
    """Decode and preprocess a dataset in its order, ahead of whoever reads the batches.

    Args:
        dataset: N images.
        preprocess: image to tensor `[3, H, W]`.
        batch_size: images a batch.
        workers: processes that decode; 0 decodes in this one, without running ahead.
        start: the first image.
        size: pixels a side that the model takes; 0 where that is not known.
        layout: order of the pixels in memory; a worker brings them into it.
        pinned: put batches where a GPU can fetch them while it computes.

    Returns:
        Batches of (pixels `[n, 3, H, W]` or None, list of (image number, why it cannot be read)).

    Raises:
        InputError: if a process that decodes dies.
    """
    images = Tensors(dataset, preprocess, size)
    loader = DataLoader(
        images,
        batch_size,
        sampler=range(start, len(dataset)),
        num_workers=workers,
        collate_fn=partial(_stack, layout),
        pin_memory=pinned,
        worker_init_fn=partial(_end_with, os.getpid()),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            f"{dataset.name}: a process that decodes images died; pass workers=0, or free memory, and run it again"
        ) from None


class Tensors(Dataset):
    """Images as tensors; an unreadable one becomes the line that says why."""

    def __init__(self, dataset: ImageDataset, preprocess: Callable, size: int) -> None:
        self.dataset, self.preprocess, self.size = dataset, preprocess, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        path = self.dataset.paths[index]
        try:
            with decode_for(self.size):
                image = self.dataset[index][0]
            _check_shape(path, image, self.size)
            return index, self.preprocess(image)
        except InputError as error:
            return index, str(error)
        except Exception as error:  # one image must not end the run, whatever its reader raises
            why = one_line(error, kind=True)
            return index, f"{path}: cannot be read ({why}); leave it out"


def _check_shape(path: str, image: Image.Image, size: int) -> None:
    """Refuse a strip so long that its shorter side at the model's size makes the longer one fill the memory."""
    short, long = sorted(image.size)
    if size * size * long > MAX_PIXELS * short:
        raise InputError(
            f"{path}: {image.size[0]} x {image.size[1]} pixels is a strip; cut it, or leave it out"
        )


def _end_with(parent: int, worker: int) -> None:
    """End a forked worker whose parent was killed while it started: torch's own watch begins later and misses that."""
    if multiprocessing.get_start_method() == "fork" and os.getppid() != parent:
        os._exit(1)


def _stack(
    layout: torch.memory_format, items: list[tuple[int, Tensor | str]]
) -> tuple[Tensor | None, Failed]:
    good = [item for _, item in items if isinstance(item, Tensor)]
    failed = [(index, item) for index, item in items if isinstance(item, str)]
    return torch.stack(good).contiguous(memory_format=layout) if good else None, failed


PROGRESS_DELAY = 2.0  # seconds before a bar appears: short work shows none


@dataclass(frozen=True, eq=False)
class Job:
    """What is encoded, and how.

    Args:
        dataset: N images.
        encode: preprocessed images `[n, 3, H, W]` to unit rows by name, as `Encoder.encode_pixels` gives them.
        preprocess: image to tensor `[3, H, W]`.
        size: pixels a side that the image tower takes, the larger side; 0 where it does not say.
        place: where the model is.
        maker: the name of the encoder.
        batch_size: images a step; the last bits of a feature may depend on it.
        workers: processes that decode while the model computes; 0 decodes in this one, in turn with it.
        progress: show a bar with images per second when it takes more than 2 seconds.
        patches: patch features too.
    """

    dataset: ImageDataset
    encode: Callable[[Tensor], dict[str, Tensor]]
    preprocess: Callable[[Image.Image], Tensor]
    size: int
    place: torch.device
    maker: str
    batch_size: int
    workers: int
    progress: bool
    patches: bool = False

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Encode the images from number `start` on; one block a batch."""
        total = len(self.dataset)
        loader = batches(
            self.dataset,
            self.preprocess,
            self.batch_size,
            self.workers,
            start,
            self.size,
            layout(self.place),
            self.place.type == "cuda",
        )
        with tqdm(
            total=total,
            initial=start,
            desc="encode images",
            unit="img",
            disable=not self.progress,
            delay=PROGRESS_DELAY,
        ) as bar:
            for pixels, failed in loader:
                stop = min(start + self.batch_size, total)
                rows = {} if pixels is None else self.encode(pixels)
                yield Block(start, stop, rows, tuple(failed))
                bar.update(stop - start)
                start = stop

    def any_readable(self, indices: Iterable[int]) -> bool:
        """Whether any of these images, which could not be read, can be read now."""
        images = Tensors(self.dataset, self.preprocess, self.size)
        return any(isinstance(images[index][1], Tensor) for index in indices)

    def finish(self, block: Block) -> Features | Patches:
        """Put rows, labels and provenance together, without the images that could not be read."""
        dataset, skipped = self.dataset, {index for index, _ in block.failed}
        kept = [i for i in range(len(dataset)) if i not in skipped]
        if not kept:
            why = f"; the first: {block.failed[0][1]}" if block.failed else ""
            raise InputError(f"{dataset.name}: no image to encode{why}")
        groups = dataset.groups
        meta = {
            "encoder": self.maker,
            "dataset": dataset.name,
            "paths": [dataset.paths[i] for i in kept],
            "groups": None if groups is None else [groups[i] for i in kept],
            "skipped": [[dataset.paths[index], why] for index, why in block.failed],
        }
        labels = None if dataset.labels is None else [dataset.labels[i] for i in kept]
        features = Features(block.rows["images"], labels, dataset.class_names, meta)
        return Patches(features, block.rows["tokens"]) if self.patches else features


def layout(place: torch.device) -> torch.memory_format:
    """The order of pixels in memory that is fastest there."""
    return torch.channels_last if place.type == "cpu" else torch.contiguous_format
