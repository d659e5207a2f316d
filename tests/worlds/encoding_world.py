"""Small image files, and children that encode them until they end or are killed."""

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.datasets.images import read_image
from kpl_lib.encoders import Encoder, load_encoder, run
from kpl_lib.encoders import cache as feature_shards
from kpl_lib.encoders.run import Job


def write_images(folder: Path, count: int, size: int = 32, suffix: str = "png") -> list[Path]:
    """Noise images `000.png`, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    paths = [folder / f"{i:03d}.{suffix}" for i in range(count)]
    for path, values in zip(paths, pixels, strict=True):
        Image.fromarray(values).save(path)
    return paths


def files(paths: list[Path], fingerprint: str | None = "v1", name: str = "files") -> ImageDataset:
    """The files as a dataset with one class."""
    return ImageDataset(name, partial(_read, paths), paths, ("a",), [0] * len(paths), fingerprint=fingerprint)


def _read(paths: list[Path], index: int) -> Image.Image:
    return read_image(paths[index])


CONTEXT = multiprocessing.get_context("forkserver")  # children start from a process that has no threads
CONTEXT.set_forkserver_preload(["encoding_world", "kpl_lib.encoders", "kpl_lib.encoders.cache"])
LONGEST = 120.0  # seconds until a child that should have ended counts as one that hangs


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, -9 if killed; the seconds of its work; its number, and that of its session."""

    code: int
    seconds: float
    session: int

    def left(self) -> list[str]:
        """Processes that it started and that are still there."""
        fields = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                fields.append(stat.read_text().rsplit(")", 1)[1].split())
        return [" ".join(entry[:2]) for entry in fields if int(entry[3]) == self.session and entry[0] != "Z"]


def in_child(work: Callable, *arguments, kill_after: float | None = None) -> Ended:
    """Run `work(*arguments)` in another process; kill it some seconds after its work began.

    Args:
        work: a function of a module.
        arguments: what it is called with.
        kill_after: seconds; None lets it end.
    """
    began = CONTEXT.Event()
    process = CONTEXT.Process(target=_alone, args=(began, work, arguments))
    process.start()
    assert began.wait(LONGEST), "the child did not start"
    start = time.perf_counter()
    if kill_after is not None:
        time.sleep(kill_after)
        process.kill()
    process.join(LONGEST)
    seconds = time.perf_counter() - start
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the child hangs: {work.__name__}")
    return Ended(process.exitcode, seconds, process.pid)


def _alone(began, work: Callable, arguments: tuple) -> None:
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # what a user's script has
    torch.set_num_threads(1)
    began.set()
    work(*arguments)


def encode_files(encoder: Path, paths: list[Path], cache: Path, batch_size: int, workers: int = 0) -> None:
    """Encode files with a shard after each batch."""
    feature_shards.SHARD_SECONDS = 0.0
    dataset = files(paths)
    load_encoder(encoder, device="cpu").encode_images(
        dataset, progress=False, cache=cache, batch_size=batch_size, workers=workers
    )


def encode_with_workers_that_start_slowly(encoder: Path, paths: list[Path], cache: Path) -> None:
    """The same with two workers, which need seconds before they look at their parent."""
    torch.set_num_threads = lambda _: time.sleep(3)
    encode_files(encoder, paths, cache, batch_size=4, workers=2)


def encode_slowly(encoder: Path, paths: list[Path], cache: Path, batch_size: int) -> None:
    """The same, with a rest before each batch."""
    plain = Encoder.encode_pixels

    def slowly(*arguments, **options):
        time.sleep(0.05)
        return plain(*arguments, **options)

    Encoder.encode_pixels = slowly
    encode_files(encoder, paths, cache, batch_size)


def encode_on_a_full_disk(encoder: Path, paths: list[Path], cache: Path, report: Path) -> None:
    """Encode where no file may be larger than 300 bytes; write down what is said."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    dataset = files(paths, name="new")
    try:
        load_encoder(encoder, device="cpu").encode_images(dataset, progress=False, cache=cache, batch_size=2)
    except InputError as error:
        report.write_text(str(error)[:290])


@contextlib.contextmanager
def workers_chosen() -> Iterator[list[int]]:
    """The numbers of workers, as jobs decode one part of their images after the other."""
    counts, plain = [], Job._decoded
    Job._decoded = lambda job, rows, workers: counts.append(workers) or plain(job, rows, workers)
    try:
        yield counts
    finally:
        Job._decoded = plain


def chosen_in_a_job(encoder: Path, paths: list[Path]) -> tuple[list[int], bool]:
    """Encode slow files in a process of joblib, with processes that start at once; whether they give the same bits."""
    run.FORK, run.own_cores = 0.0, lambda: 2
    torch.set_num_threads(1)

    def read(index: int) -> Image.Image:
        time.sleep(0.02)
        return read_image(paths[index])

    dataset, model = ImageDataset("slow", read, paths), load_encoder(encoder, device="cpu")
    with workers_chosen() as counts:
        found = model.encode_images(dataset, batch_size=2, progress=False).images
    plain = model.encode_images(dataset, batch_size=2, workers=0, progress=False).images
    return counts, torch.equal(found, plain)
