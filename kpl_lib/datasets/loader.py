"""Images of a dataset as batches of tensors; what cannot be read is handed back, not raised."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.errors import InputError
from kpl_lib.images import MAX_PIXELS, decode_for

Failed = list[tuple[int, str]]


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
            why = " ".join(f"{type(error).__name__}: {error}".split())[:120]
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
