"""The feature cache: the same features, once; other images or weights never meet."""

from dataclasses import replace

import pytest
import torch

from kpl_lib.datasets import phantom
from kpl_lib.encoders import Encoder, load_encoder
from kpl_lib.errors import InputError


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("phantom", device="cpu")


def encode(encoder, dataset, folder):
    return encoder.encode_images(dataset, progress=False, cache=folder)


def test_second_time_reads_the_same_features(encoder, tmp_path, monkeypatch):
    dataset = phantom.load("phantom-malaria", n=6)
    first = encode(encoder, dataset, tmp_path / "made")
    monkeypatch.setattr(Encoder, "_encode_pixels", lambda *_: pytest.fail("encoded again"))
    again = encode(encoder, phantom.load("phantom-malaria", n=6), tmp_path / "made")
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert first.meta == again.meta and first.class_names == again.class_names


def test_other_images_other_key(encoder, tmp_path):
    options = [{}, {"seed": 1}, {"split": "dev"}, {"scanner": "seen"}, {"balance": "skewed"}, {"n": 5}]
    for option in options:
        encode(encoder, phantom.load("phantom-malaria", **({"n": 4} | option)), tmp_path)
    assert len(list(tmp_path.iterdir())) == len(options)


def test_other_code_other_key(encoder, tmp_path, monkeypatch):
    encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path)
    monkeypatch.setattr(phantom, "_code", lambda: "changed")
    encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_other_weights_other_fingerprint(encoder):
    other = load_encoder("phantom", device="cpu")
    assert other.fingerprint == encoder.fingerprint
    with torch.no_grad():
        other.model.text_projection[0, 0] += 1e-3
    assert replace(other).fingerprint != encoder.fingerprint


def test_broken_file_is_replaced(encoder, tmp_path):
    dataset = phantom.load("phantom-malaria", n=3)
    first = encode(encoder, dataset, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(encode(encoder, dataset, tmp_path).images, first.images)
    assert file.stat().st_size > 40


def test_no_fingerprint_and_no_folder_are_told(encoder, tmp_path):
    dataset = replace(phantom.load("phantom-malaria", n=2), fingerprint=None)
    with pytest.raises(InputError, match="leave `cache` out"):
        encode(encoder, dataset, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="may write"):
        encode(encoder, phantom.load("phantom-malaria", n=2), tmp_path / "file" / "folder")
