"""The feature cache: the same features, once; other images or weights never meet; a stop costs nothing but time."""

import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoding_world import (
    encode_files,
    encode_on_a_full_disk,
    encode_slowly,
    encode_with_workers_that_start_slowly,
    files,
    in_child,
    write_images,
)
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.sets import phantom
from kpl_lib.encoders import Encoder, load_encoder
from kpl_lib.encoders import cache as feature_cache
from kpl_lib.encoders import cache as feature_shards


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("phantom", device="cpu")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return load_encoder(tiny_folder, device="cpu")


@pytest.fixture
def each_batch(monkeypatch):
    """A shard after each batch."""
    monkeypatch.setattr(feature_shards, "SHARD_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def encode(encoder, dataset, folder, **options):
    return encoder.encode_images(dataset, progress=False, cache=folder, **options)


def kept(folder):
    return sorted(folder.glob("*.safetensors"))


def counted(monkeypatch):
    """Number of images that went through the model."""
    seen, plain = [], Encoder.encode_pixels

    def count(encoder, pixels, patches=False):
        seen.append(len(pixels))
        return plain(encoder, pixels, patches)

    monkeypatch.setattr(Encoder, "encode_pixels", count)
    return seen


def test_second_time_reads_the_same_features(encoder, tmp_path, monkeypatch):
    dataset = phantom.load("phantom-malaria", n=6)
    first = encode(encoder, dataset, tmp_path / "made")
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_, **__: pytest.fail("encoded again"))
    again = encode(encoder, phantom.load("phantom-malaria", n=6), tmp_path / "made")
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert first.meta == again.meta and first.class_names == again.class_names


def test_other_images_other_key(encoder, tmp_path):
    options = [{}, {"seed": 1}, {"split": "dev"}, {"scanner": "seen"}, {"balance": "skewed"}, {"n": 5}]
    for option in options:
        encode(encoder, phantom.load("phantom-malaria", **({"n": 4} | option)), tmp_path)
    assert len(kept(tmp_path)) == len(options)


def test_other_code_other_key(encoder, tmp_path, monkeypatch):
    encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path)
    monkeypatch.setattr(phantom, "_code", lambda: "changed")
    encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path)
    monkeypatch.setattr(feature_cache, "READING", 2)
    encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path)
    assert len(kept(tmp_path)) == 3


def test_other_weights_other_fingerprint(encoder):
    other = load_encoder("phantom", device="cpu")
    assert other.fingerprint == encoder.fingerprint
    with torch.no_grad():
        other.model.text_projection[0, 0] += 1e-3
    assert replace(other).fingerprint != encoder.fingerprint


def test_the_same_weights_with_another_activation_number_of_heads_or_precision_are_another_encoder(tmp_path):
    vision = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 16}
    model = {
        "embed_dim": 16,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 16, "vocab_size": 514, "width": 32, "heads": 2, "layers": 1},
    }
    model["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": "bpe_vocab.txt.gz"}
    quick = {**model, "quick_gelu": True}
    narrow = {**model, "vision_cfg": {**vision, "head_width": 32}}
    pooled = {**model, "vision_cfg": {**vision, "pool_type": "avg"}}
    names = [
        write_tiny_encoder(tmp_path / str(i), model=m) for i, m in enumerate((model, quick, narrow, pooled))
    ]
    made = [load_encoder(name, device="cpu") for name in names]
    made += [load_encoder(names[0], device="cpu", precision=precision) for precision in ("mixed", "bf16")]
    weights = [encoder.model.state_dict()["visual.proj"] for encoder in made[:4]]
    assert all(torch.equal(weights[0], other) for other in weights)
    assert len({encoder.fingerprint for encoder in made}) == len(made)


def test_labels_paths_and_groups_are_those_of_the_dataset_at_hand(tiny, tmp_path):
    paths = write_images(tmp_path / "images", 3)
    encode(tiny, files(paths), tmp_path / "cache")
    named = replace(files(paths), class_names=("b", "c"), labels=[1, 0, 1], groups=["p", "q", "r"])
    found = encode(tiny, named, tmp_path / "cache")
    assert (found.class_names, found.labels.tolist()) == (("b", "c"), [1, 0, 1])
    assert found.meta["groups"] == ["p", "q", "r"] and len(kept(tmp_path / "cache")) == 1


def test_broken_file_is_replaced(encoder, tmp_path):
    dataset = phantom.load("phantom-malaria", n=3)
    first = encode(encoder, dataset, tmp_path)
    (file,) = kept(tmp_path)
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(encode(encoder, dataset, tmp_path).images, first.images)
    assert file.stat().st_size > 40


def test_odd_names_become_file_names(tiny, tmp_path):
    paths = write_images(tmp_path / "images", 1)
    for name in ("folder Röntgen/胸部: a*b", "x" * 300, "../../up", "..."):
        encode(tiny, files(paths, name=name), tmp_path / "cache")
    assert len(kept(tmp_path / "cache")) == 4 and {path.name for path in tmp_path.iterdir()} == {
        "images",
        "cache",
    }


def test_no_fingerprint_and_no_folder_are_told(encoder, tmp_path):
    dataset = replace(phantom.load("phantom-malaria", n=2), fingerprint=None)
    with pytest.raises(InputError, match="leave `cache` out"):
        encode(encoder, dataset, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="may write"):
        encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path / "file" / "folder")


# Runs that are stopped.


def stopped(monkeypatch, after):
    """Encoding that stops like a machine that loses power, after some batches."""
    plain, seen = Encoder.encode_pixels, []

    def stop(*arguments, **options):
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(1)
        return plain(*arguments, **options)

    monkeypatch.setattr(Encoder, "encode_pixels", stop)


def test_a_stopped_run_goes_on_where_it_was_to_the_same_bits(tiny, tmp_path, monkeypatch, each_batch):
    dataset = files(write_images(tmp_path / "images", 11))
    whole = encode(tiny, dataset, tmp_path / "whole", batch_size=2)
    with monkeypatch.context() as patched:
        stopped(patched, after=3)
        with pytest.raises(KeyboardInterrupt):
            encode(tiny, dataset, tmp_path / "cache", batch_size=2)
    assert kept(tmp_path / "cache") == []
    seen = counted(monkeypatch)
    found = encode(tiny, dataset, tmp_path / "cache", batch_size=2)
    assert seen == [2, 2, 1]  # images 6 to 10
    assert torch.equal(found.images, whole.images) and found.meta == whole.meta
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {".locks", kept(tmp_path / "cache")[0].name}


@pytest.mark.parametrize("change", ["batch_size", "weights", "images", "cut", "threads"])
def test_shards_of_another_run_or_broken_ones_are_not_used(tiny, tmp_path, monkeypatch, each_batch, change):
    paths = write_images(tmp_path / "images", 8)
    with monkeypatch.context() as patched:
        stopped(patched, after=2)
        with pytest.raises(KeyboardInterrupt):
            encode(tiny, files(paths), tmp_path / "cache", batch_size=2)
    encoder, dataset, size = tiny, files(paths), 2
    if change == "batch_size":
        size = 4
    elif change == "weights":
        encoder = load_encoder(write_tiny_encoder(tmp_path / "other", seed=1), device="cpu")
    elif change == "images":
        dataset = files(paths, fingerprint="v2")
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    else:
        first = min((tmp_path / "cache").glob("*.parts/*"))
        first.write_bytes(first.read_bytes()[:-7])
    seen = counted(monkeypatch)
    found = encode(encoder, dataset, tmp_path / "cache", batch_size=size)
    assert sum(seen) == 8
    monkeypatch.undo()
    assert torch.equal(found.images, encode(encoder, dataset, tmp_path / "whole", batch_size=size).images)


def killed(tiny, folder, tmp_path, times, seed, workers=0):
    """Kill a run at random moments, each later run going on from the one before; return how often it was killed."""
    paths, cache = write_images(tmp_path / "images", 96), tmp_path / "cache"
    timed = in_child(encode_files, folder, paths, tmp_path / "timed", 4, workers)
    assert timed.code == 0
    whole = encode(tiny, files(paths), tmp_path / "timed", batch_size=4)
    moments, count, seconds = random.Random(seed), 0, timed.seconds
    for _ in range(10 * times):
        moment = moments.uniform(0, 0.6 * seconds)
        if (
            in_child(encode_files, folder, paths, cache, 4, workers, kill_after=moment).code
            == -signal.SIGKILL
        ):
            count += 1
        else:  # it was faster: aim earlier, and once more from the start
            seconds *= 0.9
        for path in kept(cache):
            path.unlink()
        if count == times:
            break
    assert in_child(encode_files, folder, paths, cache, 4, workers).code == 0
    found = encode(tiny, files(paths), cache, batch_size=4)
    assert torch.equal(found.images, whole.images) and found.meta == whole.meta
    assert [path.suffix for path in cache.iterdir() if path.name != ".locks"] == [".safetensors"]
    return count


def test_a_run_killed_at_three_moments_ends_at_the_same_bits(tiny, tiny_folder, tmp_path):
    assert killed(tiny, tiny_folder, tmp_path, times=3, seed=0) == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_twenty_moments_ends_at_the_same_bits(tiny, tiny_folder, tmp_path, workers):
    assert killed(tiny, tiny_folder, tmp_path, times=20, seed=workers, workers=workers) == 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_with_a_run_that_is_killed_while_they_start(tiny_folder, tmp_path):
    paths = write_images(tmp_path / "images", 96)
    ended = in_child(
        encode_with_workers_that_start_slowly, tiny_folder, paths, tmp_path / "cache", kill_after=1
    )
    assert ended.code == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while ended.left():
        assert time.monotonic() < deadline, ended.left()
        time.sleep(0.05)


def test_of_two_processes_the_second_waits_and_reads(tiny, tiny_folder, tmp_path, monkeypatch, capsys):
    paths = write_images(tmp_path / "images", 12)
    whole = encode(tiny, files(paths), tmp_path / "whole", batch_size=2)
    monkeypatch.setattr(feature_cache, "WAIT", 0.02)
    cache, codes = tmp_path / "cache", []
    first = threading.Thread(
        target=lambda: codes.append(in_child(encode_slowly, tiny_folder, paths, cache, 2).code)
    )
    first.start()
    while not list(cache.glob("*.parts/*.safetensors")):
        assert first.is_alive()
        time.sleep(0.005)
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_, **__: pytest.fail("encoded twice"))
    found = tiny.encode_images(files(paths), cache=cache, batch_size=2)
    first.join()
    assert codes == [0] and torch.equal(found.images, whole.images)
    assert "another process encodes it; waiting" in capsys.readouterr().err


# Files that cannot be read, and a cache that cannot be written.


def test_what_was_skipped_is_told_each_time_and_tried_again_once_it_can_be_read(tiny, tmp_path):
    paths = write_images(tmp_path / "images", 5)
    good = paths[2].read_bytes()
    paths[2].write_bytes(b"")
    dataset, cache = files(paths), tmp_path / "cache"
    with pytest.raises(InputError, match=r"002\.png: empty"):
        encode(tiny, dataset, cache)
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"1 of 5 images cannot be read and are left out.*002\.png: empty"
        ):
            assert len(encode(tiny, dataset, cache, on_error="skip")) == 4
    with pytest.raises(InputError, match=r"002\.png: empty"):
        encode(tiny, dataset, cache)
    paths[2].write_bytes(good)  # the fingerprint of this dataset did not see it
    assert len(encode(tiny, dataset, cache)) == 5


def test_a_full_disk_is_one_line_and_the_old_cache_stays(tiny, tiny_folder, tmp_path, each_batch):
    cache = tmp_path / "cache"
    old = files(write_images(tmp_path / "old", 4))
    before = encode(tiny, old, cache)
    (file,) = kept(cache)
    content = file.read_bytes()
    report = tmp_path / "said"
    new = write_images(tmp_path / "new", 6)
    assert in_child(encode_on_a_full_disk, tiny_folder, new, cache, report).code == 0
    said = report.read_text()
    assert said.startswith("cannot write") and "is the disk full?" in said and "\n" not in said
    assert kept(cache) == [file] and file.read_bytes() == content
    assert [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size == 300] == []
    assert torch.equal(encode(tiny, old, cache).images, before.images)
    assert len(encode(tiny, files(new, name="new"), cache, batch_size=2)) == 6


def test_a_read_only_cache_gives_what_it_has_and_refuses_the_rest_at_once(tiny, tmp_path, monkeypatch):
    cache, paths = tmp_path / "cache", write_images(tmp_path / "images", 3)
    before = encode(tiny, files(paths), cache)
    content = {path.name: path.read_bytes() for path in kept(cache)}
    plain = os.open

    def refuse(path, flags, *arguments, **options):
        if flags & os.O_CREAT and str(path).startswith(str(cache)):
            raise OSError(30, "Read-only file system", str(path))
        return plain(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert torch.equal(encode(tiny, files(paths), cache).images, before.images)
    monkeypatch.setattr(Encoder, "encode_pixels", lambda *_, **__: pytest.fail("encoded for nothing"))
    with pytest.raises(
        InputError, match="Read-only file system; name a folder that you may write to"
    ) as caught:
        encode(tiny, files(paths, fingerprint="v2"), cache)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in kept(cache)} == content
