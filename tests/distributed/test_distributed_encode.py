"""Features of a dataset over several processes: the file of one process, whatever happens on the way."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distributed_world import in_ranks
from encoding_world import files, write_images
from PIL import Image
from tiny_encoder import write_tiny_encoder

from kpl_lib import distributed
from kpl_lib.common.errors import InputError
from kpl_lib.common.tensors import read_tensors
from kpl_lib.datasets import ImageDataset, load_dataset
from kpl_lib.distributed import encode
from kpl_lib.distributed.encode import encode_shared
from kpl_lib.encoders import load_encoder
from kpl_lib.features import Features
from kpl_lib.patches import Patches

COUNT, BATCH = 21, 4  # six batches, the last of one image: 2 and 4 processes share them unevenly


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the processes: another number of threads may change the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny"), "cpu")


@pytest.fixture
def dataset(tmp_path):
    paths = write_images(tmp_path / "images", COUNT)
    plain = files(paths)
    groups = [f"patient {i // 2}" for i in range(COUNT)]
    return ImageDataset("files", plain.read, paths, ("a",), [0] * COUNT, groups, "v1")


def shared(encoder, dataset, out, **options):
    """The work of one process."""
    return encode_shared(encoder, dataset, out, batch_size=BATCH, progress=False, **options)


def same_file(one: Path, many: Path, kind: str = "Features") -> None:
    a, b = read_tensors(one, kind), read_tensors(many, kind)
    assert a[1] == b[1] and set(a[0]) == set(b[0])
    for name, tensor in a[0].items():
        assert torch.equal(tensor, b[0][name]), name


@pytest.mark.parametrize(("world", "cached"), [(2, True), (4, False), (8, False)])
def test_the_file_is_that_of_one_process(tmp_path, encoder, dataset, world, cached):
    cache = {"cache": tmp_path / "cache"} if cached else {}
    encoder.encode_images(dataset, batch_size=BATCH, progress=False, **cache).save(
        tmp_path / "one.safetensors"
    )
    out = tmp_path / "many.safetensors"
    ended = in_ranks(tmp_path / "ranks", world, lambda: shared(encoder, dataset, out, **cache))
    assert [end.code for end in ended] == [0] * world, [end.said for end in ended]
    same_file(tmp_path / "one.safetensors", out)
    assert ended[0].result.shape == (COUNT, 16) and all(end.result is None for end in ended[1:])
    assert not (tmp_path / "many.safetensors.parts").exists()
    assert Features.load(out).meta["groups"][-1] == "patient 10"


def test_patches_and_images_that_cannot_be_read(tmp_path, encoder, dataset):
    for number in (2, 20):
        Path(dataset.paths[number]).write_bytes(b"Dear doctor")
    with pytest.warns(UserWarning, match="2 of 21"):
        one = encoder.encode_patches(
            dataset, batch_size=BATCH, progress=False, on_error="skip", cache=tmp_path / "cache"
        )
    one.save(tmp_path / "one.safetensors")
    out = tmp_path / "many.safetensors"

    def work():
        import warnings

        warnings.simplefilter("ignore")
        return shared(encoder, dataset, out, patches=True, on_error="skip", cache=tmp_path / "cache")

    first, _ = in_ranks(tmp_path / "ranks", 2, work)
    assert first.code == 0, first.said
    same_file(tmp_path / "one.safetensors", out, "Patches")
    assert len(Patches.load(out)) == 19 and len(first.result.skipped) == 2


def killed(encoder, dataset, out, seen, **options):
    """The work of a process; rank 1 of the first run dies at its second batch."""
    count = 0

    def read(index):
        nonlocal count
        count += 1
        (seen / f"{distributed.place().rank}-{dataset.paths[index].rsplit('/')[-1]}").touch()
        if distributed.place().rank == 1 and count > BATCH and not (seen / "again").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return dataset.read(index)

    data = ImageDataset("files", read, dataset.paths, ("a",), dataset.labels, dataset.groups, "v1")
    return shared(encoder, data, out, **options)


def test_a_killed_process_ends_the_run_and_the_restart_resumes(tmp_path, encoder, dataset):
    encoder.encode_images(dataset, batch_size=BATCH, progress=False).save(tmp_path / "one.safetensors")
    out, seen = tmp_path / "many.safetensors", tmp_path / "seen"
    seen.mkdir()
    first, second = in_ranks(
        tmp_path / "ranks", 2, lambda: killed(encoder, dataset, out, seen, seconds=1.5), seconds=30
    )
    assert (first.code, second.code) == (2, -9)  # a process that waits longer is killed after 30 s
    assert first.said.count("\n") == 1
    assert "rank 1 of 2 is not done after 1.5 s; run the same command again" in first.said
    assert not out.exists() and len(list(tmp_path.glob("many.safetensors.parts/*"))) == 1
    assert list(tmp_path.glob("**/.*safetensors*")) == []
    for mark in seen.iterdir():
        mark.unlink()
    (seen / "again").touch()
    ended = in_ranks(tmp_path / "ranks", 2, lambda: killed(encoder, dataset, out, seen))
    assert [end.code for end in ended] == [0, 0], [end.said for end in ended]
    assert not list(seen.glob("0-*")) and len(list(seen.glob("1-*"))) == COUNT - 3 * BATCH
    same_file(tmp_path / "one.safetensors", out)


def test_of_three_processes_the_last_dies_and_the_others_end_with_one_line(tmp_path, encoder, dataset):
    def work():
        data = ImageDataset("files", lambda i: (time.sleep(1), dataset.read(i))[1], dataset.paths)
        if distributed.place().rank == 2:
            data = ImageDataset("files", lambda i: os.kill(os.getpid(), signal.SIGKILL), dataset.paths)
        return shared(encoder, data, tmp_path / "f.safetensors")

    ended = in_ranks(tmp_path / "ranks", 3, work, seconds=30, agent=True)
    assert [end.code for end in ended] == [2, 2, -9]
    said = [end.said for end in ended[:2] if end.said]
    assert len(said) == 1 and said[0].count("\n") == 1
    assert "stopped by the launcher, as it does when another process ends; run the same command" in said[0]


def test_an_error_of_one_process_is_told_once_and_stops_the_others(tmp_path, encoder, dataset):
    Path(dataset.paths[20]).write_bytes(b"")
    slow = ImageDataset(
        "files", lambda i: (time.sleep(10 if i < 12 else 0), dataset.read(i))[1], dataset.paths
    )
    ended = in_ranks(
        tmp_path / "r", 2, lambda: shared(encoder, slow, tmp_path / "f.safetensors"), seconds=30, agent=True
    )
    assert [end.code for end in ended] == [2, 2]  # rank 0 would need 120 s, and be killed after 30
    assert "020.png: empty" in ended[1].said and ended[1].said.count("\n") == 1
    assert ended[0].said == ""


def test_without_a_launcher_an_error_is_told_once_too(tmp_path, encoder, dataset):
    Path(dataset.paths[20]).write_bytes(b"")
    ended = in_ranks(
        tmp_path / "r", 2, lambda: shared(encoder, dataset, tmp_path / "f.safetensors"), seconds=30
    )
    assert [end.code for end in ended] == [2, 2] and "020.png: empty" in ended[1].said
    assert ended[0].said == "" and ended[1].said.count("\n") == 1


def test_processes_that_see_other_images_are_not_joined(tmp_path, encoder, dataset):
    def work():
        own = f"v{distributed.place().rank}"
        data = ImageDataset("files", dataset.read, dataset.paths, fingerprint=own)
        return shared(encoder, data, tmp_path / "f.safetensors")

    first, _ = in_ranks(tmp_path / "ranks", 2, work)
    assert first.code == 2 and "rank 1 has another encoder, dataset, batch size or version" in first.said
    assert not (tmp_path / "f.safetensors").exists()


def test_a_part_that_is_not_in_a_shared_folder_is_told(tmp_path, encoder, dataset, monkeypatch):
    monkeypatch.setattr(encode, "SEEN_WITHIN", 0.1)

    def work():
        folder = tmp_path / str(distributed.place().rank)
        folder.mkdir()
        return shared(encoder, dataset, folder / "f.safetensors")

    first, _ = in_ranks(tmp_path / "ranks", 2, work)
    assert first.code == 2 and "not seen here; name --out in a shared folder" in first.said


def test_stale_parts_of_another_run_are_not_used(tmp_path, encoder, dataset):
    out = tmp_path / "f.safetensors"
    rows = distributed.slice_of(COUNT, 0, 2, BATCH)
    key = encode._key(encoder, dataset, BATCH, "Features")
    part = encode._part(out, rows, key)
    part.parent.mkdir()
    part.write_bytes(b"half a file")
    part.with_name(part.name.replace(key, "0" * 16)).write_bytes(b"another")
    ended = in_ranks(tmp_path / "ranks", 2, lambda: shared(encoder, dataset, out))
    assert [end.code for end in ended] == [0, 0] and len(Features.load(out)) == COUNT
    others = ImageDataset("files", dataset.read, dataset.paths, fingerprint="v2")
    assert encode._key(encoder, others, BATCH, "Features") != key


ARGUMENTS = ["--device", "cpu", "--workers", "0", "--batch-size", "4"]


def launch(folder: Path, encoder, *arguments, world=2, **environment) -> subprocess.CompletedProcess:
    """`torchrun --nproc-per-node 2 -m kpl_lib encode`, on this machine alone."""
    root = Path(__file__).resolve().parents[2]
    facts = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "KPL_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(world)]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "kpl_lib", "encode"]
    command += ["--encoder", encoder.name, *ARGUMENTS, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | facts | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_torchrun_on_the_command_line_equals_one_process(tmp_path, encoder, monkeypatch):
    write_images(tmp_path / "images", COUNT)
    data = load_dataset("folder", tmp_path / "images")
    one = encoder.encode_images(data, batch_size=BATCH, progress=False, cache=tmp_path / "cache of one")
    one.save(tmp_path / "one.safetensors")
    done = launch(tmp_path, encoder, "--images", tmp_path / "images", "--out", "many.safetensors")
    assert done.returncode == 0, done.stderr
    same_file(tmp_path / "one.safetensors", tmp_path / "many.safetensors")
    assert len(re.findall(r"^kpl: wrote many.safetensors: 21 x 16 features", done.stderr, re.MULTILINE)) == 1
    (tmp_path / "images" / "020.png").write_bytes(b"")
    done = launch(tmp_path, encoder, "--images", tmp_path / "images", "--out", "bad.safetensors")
    assert done.returncode != 0 and not (tmp_path / "bad.safetensors").exists()
    lines = [line for line in done.stderr.splitlines() if line.startswith("kpl: ")]
    assert len(lines) == 1 and "020.png: empty" in lines[0]


KILL = """
import os, signal, sys, threading, time

def look():
    while True:
        for frame in sys._current_frames().values():
            while frame:
                if frame.f_code.co_name == "encode_images":
                    os.kill(os.getpid(), signal.SIGKILL)
                frame = frame.f_back
        time.sleep(0.01)

if os.environ.get("RANK") == "1":
    threading.Thread(target=look, daemon=True).start()
"""


@pytest.mark.slow
def test_torchrun_with_a_killed_process(tmp_path, encoder):
    (tmp_path / "sitecustomize.py").write_text(KILL)
    root = Path(__file__).resolve().parents[2]
    path = f"{tmp_path}{os.pathsep}{root}"
    arguments = ("--dataset", "phantom-chest", "--out", "f.safetensors")
    done = launch(tmp_path, encoder, *arguments, PYTHONPATH=path)
    assert done.returncode != 0 and not (tmp_path / "f.safetensors").exists()
    lines = [line for line in done.stderr.splitlines() if line.startswith("kpl: ")]
    assert len(lines) == 1 and "run the same command again: finished parts are kept" in lines[0], done.stderr


def test_the_wrong_number_of_batches_is_refused(encoder, dataset, tmp_path):
    with pytest.raises(InputError, match="batch_size"):
        encode_shared(encoder, dataset, tmp_path / "f.safetensors", batch_size=0)


def test_one_grey_image_is_enough_for_many_processes(tmp_path, encoder):
    data = ImageDataset("one", lambda i: Image.new("RGB", (32, 32)), ["a.png"])
    ended = in_ranks(tmp_path / "ranks", 3, lambda: shared(encoder, data, tmp_path / "f.safetensors"))
    assert [end.code for end in ended] == [0, 0, 0] and len(Features.load(tmp_path / "f.safetensors")) == 1
