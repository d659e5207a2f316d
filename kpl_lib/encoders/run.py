"""Images to unit vectors, batch by batch; what cannot be read is handed back, not raised."""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.images import MAX_PIXELS, decode_for
from kpl_lib.encoders.cache import Block, join, remember
from kpl_lib.encoders.towers import image_and_patches
from kpl_lib.features import Features, Patches

if TYPE_CHECKING:
    from kpl_lib.encoders.encoder import Encoder


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


PROGRESS_DELAY = 2.0  # seconds before a bar appears: short work shows none

ON_ERROR = ("raise", "skip")

LISTED = 20  # images that a warning names


@dataclass(frozen=True, eq=False)
class Job:
    """What is encoded, and how.

    Args:
        encoder: the model with its preprocessing.
        dataset: N images.
        batch_size: images a step; the last bits of a feature may depend on it.
        workers: processes that decode while the model computes; 0 decodes in this one, in turn with it.
        progress: show a bar with images per second when it takes more than 2 seconds.
        patches: patch features too.
    """

    encoder: "Encoder"
    dataset: ImageDataset
    batch_size: int
    workers: int
    progress: bool
    patches: bool = False

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Encode the images from number `start` on; one block a batch."""
        place, total = self.encoder.device, len(self.dataset)
        loader = batches(
            self.dataset,
            self.encoder.preprocess,
            self.batch_size,
            self.workers,
            start,
            image_size(self.encoder.model),
            _layout(place),
            place.type == "cuda",
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
                rows = {} if pixels is None else encode_pixels(self.encoder, pixels, self.patches)
                yield Block(start, stop, rows, tuple(failed))
                bar.update(stop - start)
                start = stop

    def any_readable(self, indices: Iterable[int]) -> bool:
        """Whether any of these images, which could not be read, can be read now."""
        images = Tensors(self.dataset, self.encoder.preprocess, image_size(self.encoder.model))
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
            "encoder": self.encoder.name,
            "dataset": dataset.name,
            "paths": [dataset.paths[i] for i in kept],
            "groups": None if groups is None else [groups[i] for i in kept],
            "skipped": [[dataset.paths[index], why] for index, why in block.failed],
        }
        labels = None if dataset.labels is None else [dataset.labels[i] for i in kept]
        features = Features(block.rows["images"], labels, dataset.class_names, meta)
        return Patches(features, block.rows["tokens"]) if self.patches else features


def encode_images(
    encoder: "Encoder",
    dataset: ImageDataset,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
    on_error: str = "raise",
    cache: str | Path | None = None,
) -> Features:
    """Encode every image of a dataset, once.

    `x_i = f(image_i) / ‖f(image_i)‖`

    With a cache, what is done is kept every few seconds; a run that was stopped goes on from there, to the same
    bits, if it is run again with the same `batch_size`.

    Args:
        encoder: the encoder.
        dataset: N images.
        batch_size: images a step; it changes speed, and results in their last bits only.
        workers: processes that decode while the model computes; 0 decodes in this one, in turn with it.
        progress: show a bar with images per second when it takes more than 2 seconds.
        on_error: what to do about images that cannot be read, after all others are encoded: `raise` an error,
            or `skip` them with a warning and list them in `meta["skipped"]`.
        cache: folder where the features are kept, under a key of encoder and dataset; None keeps nothing.

    Returns:
        Unit features `[N, D]`, float32, on the CPU, with encoder, dataset, paths, groups, skipped in `meta`.

    Raises:
        InputError: for images that cannot be read, unless they are skipped; if none is left; if the cache cannot be
            written.

    Chapter: ch-zero-shot
    """
    job = _checked(Job(encoder, dataset, batch_size, workers, progress), on_error)
    return _tell_skipped(_made(job, cache), dataset, on_error)


def encode_patches(
    encoder: "Encoder",
    dataset: ImageDataset,
    batch_size: int = 64,
    workers: int = 0,
    progress: bool = True,
    on_error: str = "raise",
    cache: str | Path | None = None,
) -> Patches:
    """Encode every image of a dataset and its patches, in one pass.

    Args as for `encode_images`. The patches take 2 N P D bytes: 100 MB for 1,000 images of ViT-B/16.

    Returns:
        The images `[N, D]`, and their patches `[N, P, D]`, float16, on the CPU.

    Raises:
        InputError: as `encode_images`, and for an encoder whose patches are not in the space of the texts.

    Source: Guo et al. 2022, arXiv 2209.14169.
    Chapter: ch-benchmark
    """
    job = _checked(Job(encoder, dataset, batch_size, workers, progress, patches=True), on_error)
    made = _made(job, cache)
    _tell_skipped(made.features, dataset, on_error)
    return made


@torch.inference_mode()
def encode_pixels(encoder: "Encoder", pixels: Tensor, patches: bool = False) -> dict[str, Tensor]:
    """Unit features `[n, D]` of preprocessed images `[n, 3, H, W]`, and of their patches; on the CPU.

    Args:
        encoder: the model.
        pixels: what its `preprocess` gives, `[n, 3, H, W]`.
        patches: also give `tokens`, `[n, P, D]`, where the model has them.

    Returns:
        `images` `[n, D]`, float32, and where asked for `tokens`, float16.

    Chapter: ch-scaling
    """
    place, mixed = encoder.device, encoder.mixed
    pixels = pixels.to(place, encoder.dtype, memory_format=_layout(place), non_blocking=True)
    with torch.autocast(place.type, mixed, enabled=mixed is not None):
        if not patches:
            return {"images": F.normalize(encoder.model.encode_image(pixels).float(), dim=1).cpu()}
        images, tokens = image_and_patches(encoder.model.visual, pixels)
    tokens = F.normalize(tokens.float(), dim=2).half()
    return {"images": F.normalize(images.float(), dim=1).cpu(), "tokens": tokens.cpu()}


def image_size(model: nn.Module) -> int:
    """Pixels a side that the image tower takes, the larger side; 0 where it does not say."""
    size = getattr(model.visual, "image_size", 0)
    return max(size) if isinstance(size, tuple | list) else int(size or 0)


def _layout(place: torch.device) -> torch.memory_format:
    """The order of pixels in memory that is fastest there."""
    return torch.channels_last if place.type == "cpu" else torch.contiguous_format


def _checked(job: Job, on_error: str) -> Job:
    check_count(job.batch_size, "batch_size")
    check_count(job.workers, "workers", 0)
    if on_error not in ON_ERROR:
        raise InputError(f"on_error {on_error!r} is unknown: choose one of {', '.join(ON_ERROR)}")
    return job


def _made(job: Job, cache: str | Path | None) -> Features | Patches:
    """The result of a job, from the cache where it is there."""
    if cache is not None:
        return remember(cache, job)
    return job.finish(join(list(job.blocks())))


def _tell_skipped(features: Features, dataset: ImageDataset, on_error: str) -> Features:
    """Raise or warn about the images that could not be read."""
    skipped = [why for _, why in features.meta["skipped"]]
    if not skipped:
        return features
    count = f"{dataset.name}: {len(skipped)} of {len(dataset)} images cannot be read"
    if on_error == "raise":
        raise InputError(skipped[0] if len(skipped) == 1 else f"{count}, the first: {skipped[0]}")
    listed = "; ".join(skipped[:LISTED]) + ("; ..." if len(skipped) > LISTED else "")
    warnings.warn(
        f"{count} and are left out (all are in meta['skipped']): {listed}", UserWarning, stacklevel=3
    )
    return features
