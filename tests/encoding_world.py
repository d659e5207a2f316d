"""Small image files, and a child that encodes them until it is killed."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kpl_lib.datasets import ImageDataset
from kpl_lib.images import read_image


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


def in_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Run `work` in a copy of this process; kill it after some seconds. Returns its exit code, -9 if killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the copy starts no threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
