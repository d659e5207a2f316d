"""What decoding costs: encoding from files against a bare loop over decoded tensors; a part of bench.py.

Seconds of a core are compared, so that a busy machine spoils nothing: with a core for the model and one for each worker
the slowest of them sets the pace. A core takes longer where another one computes: they share caches, memory, and on a
rented machine perhaps the core itself. So the bare loop is also timed beside a process that decodes the same images
once; that row is the limit of this machine for one worker. The bound stays against the bare loop alone.
"""

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from encoding_world import files, write_images

from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import Encoder, load_encoder
from kpl_lib.encoders.run import Job

BATCH = 64
MOST = 3  # workers that are tried


@torch.inference_mode()
def bare(encoder: Encoder, tensors: list[torch.Tensor]) -> torch.Tensor:
    """The model over tensors that are decoded already, and nothing else."""
    rows = [
        F.normalize(encoder.model.encode_image(x.contiguous(memory_format=torch.channels_last)), dim=1)
        for x in tensors
    ]
    return torch.cat(rows)


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on a core of this process, and of the processes that it started and waited for."""

    def now() -> tuple[float, float]:
        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time(), others.ru_utime + others.ru_stime

    before = now()
    work()
    after = now()
    return after[0] - before[0], after[1] - before[1]


def beside(encoder: Encoder, tensors: list[torch.Tensor], dataset: ImageDataset) -> float:
    """Seconds of the bare loop while another process decodes the dataset once."""
    job = Job(dataset, None, encoder.preprocess, 0, encoder.device, encoder.name, BATCH, 0, False)
    fork = multiprocessing.get_context("fork")
    go = fork.Event()
    other = fork.Process(target=lambda: go.wait() and [None for _ in job.batches()])
    other.start()
    bare(encoder, tensors)  # the pages that both held are its own again
    go.set()
    seconds, _ = cost(lambda: bare(encoder, tensors))
    other.join()
    return seconds


def encoding(small: bool, repeats: int) -> Iterator[dict]:
    """A row for each number of workers; the bound is for the best. Noise images, the slowest to decode."""
    encoder, count = load_encoder("phantom", device="cpu"), 128 if small else 1024
    with tempfile.TemporaryDirectory() as folder:
        size = encoder.model.visual.image_size
        dataset = files(write_images(Path(folder) / "images", count, size=size))
        pixels = torch.stack([encoder.preprocess(dataset[i][0]) for i in range(count)])
        tensors, tried = pixels.split(BATCH), range(min(MOST, os.cpu_count() or 1))
        works = {None: lambda: bare(encoder, tensors)}
        for workers in tried:
            works[workers] = lambda workers=workers: encoder.encode_images(
                dataset, BATCH, workers=workers, progress=False
            )
        torch.testing.assert_close(works[0]().images, works[None](), atol=1e-6, rtol=0)
        runs, limits = [], []
        for _ in range(repeats + 1):
            runs.append({key: cost(work) for key, work in works.items()})
            limits.append(beside(encoder, tensors, dataset))
        runs, limit = runs[1:], statistics.median(limits[1:])
    plain = statistics.median(run[None][0] for run in runs)
    took = {
        workers: statistics.median(max(run[workers][0], run[workers][1] / max(1, workers)) for run in runs)
        for workers in tried
    }
    shape = {"inputs": "noise", "shape": [count, size, size]}
    told = {"seconds": limit, "plain_seconds": plain, "ratio": plain / limit, "bound": None}
    yield {**shape, "what": "bare loop beside one that decodes", **told}
    for workers, seconds in took.items():
        bound = 0.9 if seconds == min(took.values()) else None
        told = {"seconds": seconds, "plain_seconds": plain, "ratio": plain / seconds, "bound": bound}
        yield {**shape, "what": f"encode, workers {workers}", **told}
