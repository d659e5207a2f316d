"""`webdataset`: images are read where they lie in tar shards, with labels and groups, like the same files outside."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed_world import in_ranks
from encoding_world import files, write_images
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import load_dataset
from kpl_lib.distributed.encode import encode_shared
from kpl_lib.encoders import load_encoder
from kpl_lib.features import Features


def shard(path: Path, entries: dict[str, bytes], mode: str = "w") -> Path:
    """Write a tar file with these names and contents."""
    with tarfile.open(path, mode) as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two shards of three images each, with `.cls`, and the image files."""
    paths = write_images(tmp_path / "images", 6)
    for number in range(2):
        entries = {}
        for i in range(3 * number, 3 * number + 3):
            entries[f"./chest/{i}.v1.PNG"] = paths[i].read_bytes()
            entries[f"./chest/{i}.cls"] = b"%d\n" % (i % 3)
            entries[f"./chest/{i}.json"] = json.dumps({"group": f"p{i // 2}", "label": "not this"}).encode()
            entries[f"./chest/{i}.txt"] = b"a chest"
        shard(tmp_path / f"chest-{number:03d}.tar", entries)
    return tmp_path, paths


def test_images_labels_and_groups(shards):
    folder, paths = shards
    data = load_dataset("webdataset", folder)
    assert len(data) == 6 and data.labels == [0, 1, 2, 0, 1, 2] and data.class_names == ("0", "1", "2")
    assert data.groups == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert data.paths[4] == f"{folder / 'chest-001.tar'}/chest/4.v1.PNG"
    plain = files(paths)
    for i in range(6):
        assert np.array_equal(np.asarray(data[i][0]), np.asarray(plain[i][0]))
    braces = load_dataset("webdataset", folder / "chest-{000..001}.tar", classes=("a", "b", "c"))
    assert braces.paths == data.paths and braces.class_names == ("a", "b", "c")
    assert braces.name == "webdataset chest"
    assert load_dataset("webdataset", folder / "chest-001.tar").labels == [0, 1, 2]


def test_the_fingerprint_follows_the_content_and_the_labels(shards):
    folder, paths = shards
    one = load_dataset("webdataset", folder).fingerprint
    assert one == load_dataset("webdataset", folder).fingerprint
    assert one != load_dataset("webdataset", folder, classes=("a", "b", "c")).fingerprint
    shard(
        folder / "chest-001.tar", {"7.png": paths[0].read_bytes(), "7.cls": b"2", "7.json": b'{"group": 1}'}
    )
    assert one != load_dataset("webdataset", folder).fingerprint


def test_names_in_json_become_sorted_classes(tmp_path):
    image = write_images(tmp_path / "images", 1)[0].read_bytes()
    entries = {}
    for i, label in enumerate(("pneumonia", "normal")):
        entries |= {f"{i}.png": image, f"{i}.json": json.dumps({"label": label}).encode()}
    data = load_dataset("webdataset", shard(tmp_path / "a.tar", entries))
    assert data.class_names == ("normal", "pneumonia") and data.labels == [1, 0] and data.groups is None


PNG = "image of the test"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"a.txt": b"x"}, "no images in 1 shards"),
        ({"a.png": PNG, "a.jpg": PNG}, "the key holds two images"),
        ({"a.png": PNG, "a.cls": b"0", "b.png": PNG}, "b.png: has no label, others have"),
        ({"a.png": PNG, "a.json": b"[1]"}, "a.json: no JSON object"),
        ({"a.png": PNG, "a.cls": b"-1", "b.png": PNG, "b.cls": b"1"}, None),
    ],
)
def test_shards_that_do_not_fit_are_told_in_one_line(tmp_path, entries, said):
    image = write_images(tmp_path / "images", 1)[0].read_bytes()
    path = shard(tmp_path / "a.tar", {k: image if v == PNG else v for k, v in entries.items()})
    if said is None:
        assert load_dataset("webdataset", path).class_names == ("-1", "1")  # names, for not all are numbers
        return
    with pytest.raises(InputError, match=said) as caught:
        load_dataset("webdataset", path)
    assert "\n" not in str(caught.value)


def test_labels_beyond_the_classes_are_told(shards):
    with pytest.raises(InputError, match=r"2\.v1\.PNG: label '2' is none of 2 classes"):
        load_dataset("webdataset", shards[0], classes=("a", "b"))


def test_what_is_no_plain_tar_is_told(tmp_path):
    image = write_images(tmp_path / "images", 1)[0].read_bytes()
    zipped = shard(tmp_path / "a.tar.gz", {"a.png": image}, "w:gz")
    with pytest.raises(InputError, match=r"not a whole plain tar file .* unpack \.gz shards"):
        load_dataset("webdataset", zipped)
    whole = shard(tmp_path / "b.tar", {"a.png": image, "b.png": image}).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: len(whole) // 10])
    with pytest.raises(InputError, match=r"b.tar: not a whole plain tar file"):
        load_dataset("webdataset", tmp_path / "b.tar")
    with pytest.raises(InputError, match=r"nowhere-0.tar: no such shard"):
        load_dataset("webdataset", tmp_path / "nowhere-{0..1}.tar")
    with pytest.raises(InputError, match=r"no shards; name a folder"):
        load_dataset("webdataset", tmp_path / "images")
    with pytest.raises(InputError, match=r"needs root=...: the folder of .tar shards"):
        load_dataset("webdataset")


def test_shards_over_two_processes_are_those_of_one(shards):
    folder, paths = shards
    encoder = load_encoder(write_tiny_encoder(folder / "tiny"), "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = encoder.encode_images(files(paths), batch_size=2, progress=False).images
    finally:
        torch.set_num_threads(threads)
    data = load_dataset("webdataset", folder)
    out = folder / "f.safetensors"
    ended = in_ranks(
        folder / "ranks", 2, lambda: encode_shared(encoder, data, out, batch_size=2, progress=False)
    )
    assert [end.code for end in ended] == [0, 0], [end.said for end in ended]
    found = Features.load(out)
    torch.testing.assert_close(found.images, one, atol=1e-6, rtol=0)
    assert found.labels.tolist() == data.labels and found.meta["groups"] == data.groups
