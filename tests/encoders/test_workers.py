"""Processes that decode: chosen where they pay, with the same bits; and what a long run says that it waited for."""

import multiprocessing
import re
import time

import pytest
import torch
from encoding_world import chosen_in_a_job, files, workers_chosen, write_images
from joblib import Parallel, delayed
from tiny_encoder import write_tiny_encoder

from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders import run as encoding
from kpl_lib.encoders.run import MOST, Pace, choose_workers


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_encoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny"), device="cpu")


@pytest.fixture
def eager(monkeypatch):
    """Two cores, one of them for the model, and processes that need no time to start."""
    monkeypatch.setattr(encoding, "own_cores", lambda: 2)
    monkeypatch.setattr(encoding, "FORK", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def slowly(dataset: ImageDataset, seconds: float) -> ImageDataset:
    """The same images, each read after a rest."""

    def read(index):
        time.sleep(seconds)
        return dataset.read(index)

    return ImageDataset("slow", read, dataset.paths)


@pytest.mark.parametrize(
    ("images", "decoding", "model", "cores", "threads", "expected"),
    [
        (500, 0.001, 0.001, 8, 1, 0),  # half a second cannot pay
        (100_000, 0.001, 0.001, 8, 1, 1),  # one keeps up with the model
        (100_000, 0.004, 0.001, 8, 1, 4),  # four do
        (100_000, 0.004, 0.001, 2, 1, 2),  # no more than cores
        (100_000, 1.0, 0.001, 64, 1, MOST),
        (100_000, 0.001, 0.010, 2, 2, 1),  # the model has both cores; reading in turn would leave one idle
        (100_000, 0.001, 0.010, 1, 1, 0),  # nothing runs beside the model
        (0, 1.0, 1.0, 8, 1, 0),
    ],
)
def test_the_number_follows_the_pace_and_the_cores(images, decoding, model, cores, threads, expected):
    assert choose_workers(images, Pace(decoding, model), cores, threads, start=1.0) == expected


def test_a_small_set_is_decoded_here(tiny, tmp_path):
    dataset = files(write_images(tmp_path / "images", 12))
    with workers_chosen() as counts:
        tiny.encode_images(dataset, batch_size=2, progress=False)
    assert counts == [0, 0, 0]


def test_slow_images_get_processes_and_the_same_bits(tiny, tmp_path, eager):
    dataset = slowly(files(write_images(tmp_path / "images", 13)), 0.02)
    with workers_chosen() as counts:
        found = tiny.encode_images(dataset, batch_size=2, progress=False)
    assert counts[:2] == [0, 0] and counts[2] in (1, 2)
    assert torch.equal(found.images, tiny.encode_images(dataset, 2, workers=0, progress=False).images)
    assert not multiprocessing.active_children()


def test_a_job_of_a_benchmark_can_start_them_too(tmp_path):
    folder = write_tiny_encoder(tmp_path / "tiny")
    paths = write_images(tmp_path / "images", 13)
    for counts, same in Parallel(2)([delayed(chosen_in_a_job)(folder, paths)]):
        assert counts[2] in (1, 2) and same


def test_a_process_that_may_start_none_decodes_itself(tiny, tmp_path, eager, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    dataset = slowly(files(write_images(tmp_path / "images", 8)), 0.02)
    with workers_chosen() as counts:
        tiny.encode_images(dataset, batch_size=2, progress=False)
    assert counts == [0, 0, 0]


@pytest.mark.parametrize(("rest", "limit"), [(0.05, "decoding"), (0.0, "the model")])
def test_a_long_run_says_what_it_waited_for(tiny, tmp_path, monkeypatch, capsys, rest, limit):
    monkeypatch.setattr(encoding, "LONG", 0.0)
    plain = encoding.Job.blocks

    def blocks(job, start=0):  # a model that takes its time
        slow = lambda pixels: time.sleep(0.03) or job_encode(pixels)  # noqa: E731
        job_encode = job.encode
        object.__setattr__(job, "encode", slow)
        return plain(job, start)

    monkeypatch.setattr(encoding.Job, "blocks", blocks)
    dataset = slowly(files(write_images(tmp_path / "images", 6)), rest)
    tiny.encode_images(dataset, batch_size=2, workers=0, progress=False)
    assert capsys.readouterr().err == ""
    tiny.encode_images(dataset, batch_size=2, workers=0)
    assert re.search(
        rf"slow: 6 images in \d s, .* a second; {limit} is the limit \(", capsys.readouterr().err
    )
