"""Images to unit vectors: batch by batch through the image tower, kept and resumed where a cache is named."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.loader import Tensors, batches
from kpl_lib.errors import InputError
from kpl_lib.feature_cache import remember
from kpl_lib.feature_shards import Block, join
from kpl_lib.features import Features
from kpl_lib.image_tower import image_and_patches
from kpl_lib.patches import Patches
from kpl_lib.validation import check_count

if TYPE_CHECKING:
    from kpl_lib.encoders import Encoder

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
