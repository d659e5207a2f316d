"""What decoding costs: encoding from files against a bare loop over decoded tensors, on one thread for the model.

Run with `make bench`. KPL_BENCH_IMAGES sets the number of images (2048),
KPL_BENCH_REPEATS the runs of each (5). Seconds on a core are compared, in interleaved runs: a busy machine spoils
the clock, not these. The clock is printed beside them.
"""

import os
import resource
import statistics
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
from encoding_world import files, write_images

from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.run import Job

COUNT = int(os.environ.get("KPL_BENCH_IMAGES", 2048))
BATCH = 64
REPEATS = int(os.environ.get("KPL_BENCH_REPEATS", 5))
BOUND = 0.9


def decoded(dataset, encoder):
    """Batches of pixels, decoded in this process."""
    return Job(dataset, None, encoder.preprocess, 0, torch.device("cpu"), "decode", BATCH, 0, False).batches()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The embedded encoder, noise PNGs of its size (noise is the slowest to decode), and their tensors."""
    torch.set_num_threads(1)
    encoder = load_encoder("phantom", device="cpu")
    size = encoder.model.visual.image_size
    dataset = files(write_images(tmp_path_factory.mktemp("images"), COUNT, size=size))
    tensors = [pixels for pixels, _ in decoded(dataset, encoder)]
    return encoder, dataset, tensors


@torch.inference_mode()
def bare(encoder, tensors):
    """The model over tensors that are decoded already, and nothing else."""
    rows = [
        F.normalize(encoder.model.encode_image(x.contiguous(memory_format=torch.channels_last)), dim=1)
        for x in tensors
    ]
    return torch.cat(rows)


def cost(work):
    """Seconds on the clock, of this process on a core, and of the processes that it started and waited for."""
    clock, own, others = (
        time.perf_counter(),
        time.process_time(),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - others.ru_utime - others.ru_stime
    return time.perf_counter() - clock, time.process_time() - own, children


def measured(*works):
    """Medians of interleaved runs, for each work."""
    for work in works:
        work()
    runs = [[cost(work) for work in works] for _ in range(REPEATS)]
    return [tuple(map(statistics.median, zip(*column, strict=True))) for column in zip(*runs, strict=True)]


def test_encoding_from_files_is_as_fast_as_the_model_alone(world):
    """With a core for the model and one for the worker, the slower of the two sets the pace."""
    encoder, dataset, tensors = world
    found = encoder.encode_images(dataset, BATCH, workers=1, progress=False).images
    torch.testing.assert_close(found, bare(encoder, tensors), atol=1e-6, rtol=0)
    plain, ours = measured(
        lambda: bare(encoder, tensors),
        lambda: encoder.encode_images(dataset, BATCH, workers=1, progress=False),
    )
    pace = plain[1] / max(ours[1:])
    print(
        f"\n{COUNT} images, core seconds: bare loop {plain[1]:.2f}, from files {ours[1]:.2f} beside a worker's "
        f"{ours[2]:.2f}: {pace:.0%} of its throughput; on the clock {plain[0] / ours[0]:.0%}"
    )
    assert pace >= BOUND


def test_a_worker_takes_decoding_off_the_model(world):
    encoder, dataset, _ = world
    in_turn, beside, decoding = measured(
        lambda: encoder.encode_images(dataset, BATCH, workers=0, progress=False),
        lambda: encoder.encode_images(dataset, BATCH, workers=1, progress=False),
        lambda: list(decoded(dataset, encoder)),
    )
    hidden = (in_turn[1] - beside[1]) / decoding[1]
    print(
        f"\ncore seconds of the model's process: in turn {in_turn[1]:.2f}, beside a worker {beside[1]:.2f}; "
        f"{hidden:.0%} of {decoding[1]:.2f} for decoding are gone; on the clock {in_turn[0]:.2f} and {beside[0]:.2f}"
    )
    assert hidden >= 0.6
