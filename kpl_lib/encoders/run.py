"""Images to unit vectors, batch by batch; what cannot be read is handed back, not raised."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.encoders.pixels import Failed, Pixels
from kpl_lib.features import Features
from kpl_lib.patches import Patches

PROGRESS_DELAY = 2.0  # seconds before a bar appears: short work shows none
LONG = 60.0  # seconds after which a run ends with a line on what it waited for
MOST = 8  # processes that decode, unless somebody asks for more
FORK, SPAWN = 1.0, 5.0  # seconds that a process must save; a spawned one imports torch first


@dataclass(frozen=True, eq=False)
class Block:
    """Features of the images number `start` to `stop` - 1, whole batches of them."""

    start: int
    stop: int
    rows: dict[
        str, Tensor
    ]  # `images` [n, D], and `tokens` [n, P, D] where asked for; empty if none could be read
    failed: tuple[tuple[int, str], ...] = ()  # number of each image that could not be read, and why


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


@dataclass
class Pace:
    """Seconds that a run waits for pixels, and those that it spends on them, in the model."""

    decoding: float = 0.0
    model: float = 0.0

    def of(self, batches: Iterable) -> Iterator:
        """The same batches, with both timed."""
        before = time.perf_counter()
        for batch in batches:
            now = time.perf_counter()
            self.decoding += now - before
            yield batch
            before = time.perf_counter()
            self.model += before - now

    def line(self, images: int) -> str:
        """Images a second, and what limits them.

        Example:
            >>> Pace(30.0, 70.0).line(2000)
            '2000 images in 100 s, 20.0 a second; the model is the limit (30 % of the time waits for decoding)'
        """
        seconds = self.decoding + self.model
        slower = "decoding" if self.decoding > self.model else "the model"
        waits = f"{self.decoding / seconds:.0%}".replace("%", " %")
        rate = f"{images} images in {seconds:.0f} s, {images / seconds:.1f} a second"
        return f"{rate}; {slower} is the limit ({waits} of the time waits for decoding)"


def choose_workers(images: int, pace: Pace, cores: int, threads: int, start: float) -> int:
    """Processes that encode soonest, by the pace of one batch in turn; 0 where starting one does not pay.

        seconds(0) = n (d + e),   seconds(w) = w start + n max(e, d / w, (d + threads e) / cores)

    with d and e of one image: a core decodes beside the model only where the model leaves it idle.

    Args:
        images: n, in the unit that `pace` was timed on.
        pace: d and e.
        cores: of this process.
        threads: that the model uses; 1 where it runs on a GPU.
        start: seconds that a process must save.

    Example:
        >>> [choose_workers(n, Pace(0.02, 0.01), cores=4, threads=1, start=1.0) for n in (100, 500)]
        [0, 2]
    """

    def seconds(workers: int) -> float:
        d, e = pace.decoding, pace.model
        if workers == 0:
            return images * (d + e)
        return workers * start + images * max(e, d / workers, (d + threads * e) / cores)

    return min(range(min(MOST, cores) + 1), key=seconds)


def own_cores() -> int:
    """Cores that this process may use; its share, where a launcher started several."""
    known = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def start_method() -> str:
    """How processes that decode start here; the runs of a benchmark lie in processes whose own way takes no others."""
    usual = multiprocessing.get_all_start_methods()
    found = multiprocessing.get_start_method()
    return found if found in usual else usual[0]


def _end_with(parent: int, worker: int) -> None:
    """End a forked worker whose parent was killed while it started: torch's own watch begins later and misses that."""
    if os.getppid() != parent:
        os._exit(1)


@dataclass(frozen=True, eq=False)
class Job:
    """What is encoded, and how; the last four as `Encoder.encode_images` takes them."""

    dataset: ImageDataset
    encode: Callable[[Tensor], dict[str, Tensor]]  # pixels to unit rows by name: `Encoder.encode_pixels`
    preprocess: Callable[[Image.Image], Tensor]  # to [3, H, W]
    size: int  # pixels a side that the image tower takes, the larger side; 0 where it does not say
    place: torch.device  # where the model is
    maker: str  # the name of the encoder
    batch_size: int
    workers: int | None
    progress: bool
    patches: bool = False

    def __post_init__(self) -> None:
        check_count(self.batch_size, "batch_size")
        if self.workers is not None:
            check_count(self.workers, "workers", 0)

    @property
    def images(self) -> Pixels:
        """The images as tensors, in the order in memory that the model likes."""
        return Pixels(self.dataset, self.preprocess, self.size, layout(self.place))

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor | None, Failed]]:
        """Pixels `[n, 3, H, W]` or None, with number and reason of what cannot be read; decoded ahead by workers.

        Without a number of workers two batches are decoded here, and the second is timed, to choose one.

        Raises:
            InputError: if a process that decodes dies.
        """
        rows, workers = range(start, len(self.dataset)), self.workers
        if workers is None:
            for _ in range(2):  # the first warms up
                pace = Pace()
                yield from pace.of(self._decoded(rows[: self.batch_size], 0))
                rows = rows[self.batch_size :]
            workers = self._chosen(len(rows), pace)
        yield from self._decoded(rows, workers)

    def _chosen(self, images: int, batch: Pace) -> int:
        """Workers for so many more images, by the pace of a whole batch."""
        if multiprocessing.current_process().daemon:
            return 0  # it may start none
        threads = torch.get_num_threads() if self.place.type == "cpu" else 1
        start = FORK if start_method() == "fork" else SPAWN
        return choose_workers(images // self.batch_size, batch, own_cores(), threads, start)

    def _decoded(self, rows: range, workers: int) -> Iterator[tuple[Tensor | None, Failed]]:
        """Pixels of these images; a worker puts them where a GPU fetches them."""
        images = self.images
        loader = DataLoader(
            images,
            self.batch_size,
            sampler=rows,
            num_workers=workers,
            collate_fn=images.batch,
            pin_memory=self.place.type == "cuda",
            multiprocessing_context=start_method() if workers else None,
            worker_init_fn=partial(_end_with, os.getpid()) if start_method() == "fork" else None,
        )
        try:
            yield from loader
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            why = "a process that decodes images died; pass workers=0, or free memory, and run it again"
            raise InputError(f"{self.dataset.name}: {why}") from None

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Encode the images from number `start` on; one block a batch."""
        total, first, pace = len(self.dataset), start, Pace()
        shown = {"unit": "img", "disable": not self.progress, "delay": PROGRESS_DELAY}
        with tqdm(total=total, initial=start, desc="encode images", **shown) as bar:
            for pixels, failed in pace.of(self.batches(start)):
                stop = min(start + self.batch_size, total)
                rows = {} if pixels is None else self.encode(pixels)
                yield Block(start, stop, rows, tuple(failed))
                bar.update(stop - start)
                start = stop
        if self.progress and pace.decoding + pace.model >= LONG:
            tqdm.write(f"{self.dataset.name}: {pace.line(total - first)}", file=sys.stderr)

    def run(self) -> Features | Patches:
        """Encode all images, keeping nothing."""
        return self.finish(join_blocks(list(self.blocks())))

    def outdated(self, block: Block) -> bool:
        """Whether an image that could not be read then can be read now."""
        return any(isinstance(self.images[index][1], Tensor) for index, _ in block.failed)

    def finish(self, block: Block) -> Features | Patches:
        """Put rows, labels and provenance together, without the images that could not be read."""
        dataset, skipped = self.dataset, {index for index, _ in block.failed}
        kept = [i for i in range(len(dataset)) if i not in skipped]
        if not kept:
            why = f"; the first: {block.failed[0][1]}" if block.failed else ""
            raise InputError(f"{dataset.name}: no image to encode{why}")
        paths, groups, labels = (
            None if values is None else [values[i] for i in kept]
            for values in (dataset.paths, dataset.groups, dataset.labels)
        )
        left_out = [[dataset.paths[index], why] for index, why in block.failed]
        meta = {"encoder": self.maker, "dataset": dataset.name, "paths": paths, "groups": groups}
        features = Features(block.rows["images"], labels, dataset.class_names, {**meta, "skipped": left_out})
        return Patches(features, block.rows["tokens"]) if self.patches else features


def layout(place: torch.device) -> torch.memory_format:
    """The order of pixels in memory that is fastest there."""
    return torch.channels_last if place.type in ("cpu", "cuda") else torch.contiguous_format
