"""Encoders on a small random model in the layout of the embedded one."""

import json
import shutil
import socket
import warnings

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from PIL import Image
from tiny_encoder import MODEL, write_tiny_encoder

from kpl_lib import encoders
from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import Encoder, load_encoder
from kpl_lib.encoders.towers import causal_tower
from kpl_lib.knowledge import Description, KnowledgeBase


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "tiny"
    write_tiny_encoder(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder) -> Encoder:
    return load_encoder(f"path:{folder}", device="cpu")


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the encoder's folder that a test may break."""
    return shutil.copytree(folder, tmp_path / "copy")


def noise(count: int, size: int = 32) -> ImageDataset:
    pixels = np.random.default_rng(0).integers(0, 255, (count, size, size, 3), dtype=np.uint8)
    return ImageDataset(
        "noise",
        lambda i: Image.fromarray(pixels[i]),
        [f"{i}.png" for i in range(count)],
        ("a", "b"),
        [i % 2 for i in range(count)],
    )


def test_weights_are_those_of_the_file_in_float32(folder, encoder):
    from safetensors.torch import load_file

    stored = load_file(folder / "model.safetensors")
    assert stored["visual.conv1.weight"].dtype == torch.float16
    for name, tensor in encoder.model.state_dict().items():
        assert torch.equal(tensor, stored[name].to(tensor.dtype)), name
    assert encoder.model.visual.conv1.weight.dtype == torch.float32
    assert not encoder.model.training
    assert (encoder.context_length, encoder.tokenizer.vocab_size) == (32, 614)
    assert encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)


def test_preprocessing_follows_the_configuration(encoder):
    image = Image.new("RGB", (64, 16), (255, 0, 0))  # squashed to 32 x 32: nothing is cropped
    pixels = encoder.preprocess(image)
    assert pixels.shape == (3, 32, 32)
    torch.testing.assert_close(pixels[:, 0, 0], torch.tensor([2.0, -2.0, -2.0]))


def test_images_are_the_models_own_units_whatever_the_batch_and_the_workers(encoder):
    dataset = noise(7)
    features = encoder.encode_images(dataset, batch_size=3)
    with torch.inference_mode():
        plain = encoder.model.encode_image(torch.stack([encoder.preprocess(image) for image, _ in dataset]))
    torch.testing.assert_close(features.images, F.normalize(plain, dim=1), atol=1e-5, rtol=0)
    assert features.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert features.class_names == ("a", "b") and features.meta["paths"] == list(dataset.paths)
    assert features.images.dtype == torch.float32 and not features.images.is_inference()
    several = encoder.encode_images(dataset, batch_size=2, workers=1)
    torch.testing.assert_close(several.images, features.images, atol=1e-5, rtol=0)


def test_cutting_the_padding_gives_what_open_clip_gives(encoder):
    texts = ["a", "a b c " * 3, "", "lungs with cavities!", *(f"{i} " * (i % 9) for i in range(40))]
    assert causal_tower(encoder.model, encoder.tokenizer) is encoder.model
    with torch.inference_mode():
        plain = F.normalize(encoder.model.encode_text(encoder.tokenizer(texts)), dim=1)
    fast = encoder.encode_texts(texts, batch_size=8)
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "fast"),
    [
        ({"custom_text": True}, True),
        ({"text_cfg": {"no_causal_mask": True}}, False),
        ({"text_cfg": {"pool_type": "last"}}, False),
    ],
)
def test_other_text_towers_get_the_path_that_is_exact_for_them(copy, change, fast):
    config = json.loads((copy / "open_clip_config.json").read_text())
    text = change.pop("text_cfg", {})
    config["model_cfg"].update(change)
    config["model_cfg"]["text_cfg"].update(text)
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    made = load_encoder(f"path:{copy}", device="cpu")
    assert (causal_tower(made.model, made.tokenizer) is not None) is fast
    texts = ["a b", "a longer text", "c"]
    with torch.inference_mode():
        plain = F.normalize(made.model.encode_text(made.tokenizer(texts)), dim=1)
    torch.testing.assert_close(made.encode_texts(texts), plain, atol=1e-6, rtol=0)


def test_long_texts_are_cut_with_one_warning_and_full_ones_without(encoder):
    full = " ".join(["a"] * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_texts([full, "a"])
    with pytest.warns(UserWarning, match="2 texts have more than 32 tokens") as caught:
        encoder.encode_texts([full, f"{full} a", f"{full} a a"])
    assert len(caught) == 1


def test_knowledge_becomes_a_bank_of_names_and_sentences(encoder):
    kb = KnowledgeBase(
        "x", {"cat": [Description("whiskers"), Description("a tail")], "dog": [Description("a nose")]}
    )
    bank = encoder.encode_knowledge(kb)
    assert (bank.class_names, bank.counts, bank.texts) == (
        ("cat", "dog"),
        (2, 1),
        (("whiskers", "a tail"), ("a nose",)),
    )
    expected = encoder.encode_texts(["a photo of a dog.", "a photo of a cat, which has a tail"])
    torch.testing.assert_close(bank.names[1], expected[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(bank.descriptions[0][1], expected[1], atol=1e-6, rtol=0)
    other = encoder.encode_knowledge(kb, template="{description}")
    torch.testing.assert_close(other.descriptions[1], encoder.encode_texts(["a nose"]), atol=1e-6, rtol=0)


def broken(count: int, bad: set[int]) -> ImageDataset:
    def read(index):
        if index in bad:
            raise InputError(f"{index}.png: broken image")
        return Image.new("RGB", (8, 8))

    return ImageDataset(
        "x", read, [f"{i}.png" for i in range(count)], ("a",), [0] * count, [f"p{i}" for i in range(count)]
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_stop_the_run_unless_they_are_skipped(encoder, workers):
    with pytest.raises(InputError) as caught:
        encoder.encode_images(broken(5, {3}), batch_size=2, workers=workers)
    assert str(caught.value) == "3.png: broken image"
    with pytest.warns(UserWarning, match=r"left out.*0\.png: broken image; 3\.png: broken image"):
        features = encoder.encode_images(broken(5, {0, 3}), batch_size=2, workers=workers, on_error="skip")
    assert features.meta["paths"] == ["1.png", "2.png", "4.png"] and features.meta["groups"] == [
        "p1",
        "p2",
        "p4",
    ]
    assert features.meta["skipped"] == [["0.png", "0.png: broken image"], ["3.png", "3.png: broken image"]]
    with pytest.raises(InputError, match=r"no image to encode; the first: 0\.png"):
        encoder.encode_images(broken(2, {0, 1}), on_error="skip")


def test_loading_leaves_the_callers_random_numbers_alone(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_encoder(f"path:{folder}", device="cpu")
    assert torch.equal(torch.rand(2), expected)


def test_two_encoders_of_one_layout_do_not_mix(folder, encoder, tmp_path):
    other = load_encoder(write_tiny_encoder(tmp_path / "other", seed=1), device="cpu")
    again = load_encoder(f"path:{folder}", device="cpu")
    text = ["a text"]
    torch.testing.assert_close(again.encode_texts(text), encoder.encode_texts(text))
    assert not torch.allclose(other.encode_texts(text), encoder.encode_texts(text), atol=1e-2)


def drop(name):
    return lambda folder: (folder / name).unlink()


def edit(change):
    def apply(folder):
        config = json.loads((folder / "open_clip_config.json").read_text())
        change(config)
        (folder / "open_clip_config.json").write_text(json.dumps(config))

    return apply


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop("open_clip_config.json"), "does not say its architecture.*put open_clip_config.json beside it"),
        (drop("model.safetensors"), "no weights there"),
        (drop("bpe_vocab.txt.gz"), "bpe_vocab.txt.gz: the vocabulary is missing"),
        (lambda f: shutil.copy(f / "model.safetensors", f / "b.safetensors"), "2 safetensors files"),
        (lambda f: (f / "model.safetensors").write_bytes(b"not tensors"), "broken, or no checkpoint"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "broken JSON at line 1"),
        (edit(lambda c: c.pop("model_cfg")), "no model_cfg"),
        (edit(lambda c: c["model_cfg"].update(embed_dim=8)), "open_clip cannot load it"),
        (edit(lambda c: c["model_cfg"]["vision_cfg"].update(colour=1)), "open_clip cannot load it"),
        (
            edit(lambda c: c["model_cfg"]["text_cfg"]["tokenizer_kwargs"].update(bpe_path="../x.gz")),
            "must be a file name",
        ),
    ],
)
def test_damaged_folders_are_refused_in_one_line(copy, damage, said):
    damage(copy)
    with pytest.raises(InputError, match=said) as caught:
        load_encoder(f"path:{copy}", device="cpu")
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_a_vocabulary_of_another_model_is_refused(copy, tmp_path):
    model = json.loads(json.dumps(MODEL))
    model["text_cfg"]["vocab_size"] += 7
    write_tiny_encoder(tmp_path / "other", model=model)
    shutil.copy(tmp_path / "other" / "bpe_vocab.txt.gz", copy)
    with pytest.raises(InputError, match="621 vocabulary entries, 614 in"):
        load_encoder(f"path:{copy}", device="cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fantom", "unknown encoder 'fantom': .*'path:DIR'.*'hf-hub:ORG/NAME'"),
        ("ViT-L-14-quickgleu/openai", "no architecture 'ViT-L-14-quickgleu'; nearest: ViT-L-14-quickgelu"),
        ("ViT-L-14-quickgelu/opnai", "no weights 'opnai' for ViT-L-14-quickgelu; nearest: openai"),
        ("path:/nowhere/at/all", "no open_clip_config.json there"),
        (7, "named by text"),
    ],
)
def test_unknown_names_say_what_is_near(name, said):
    with pytest.raises(InputError, match=said):
        load_encoder(name, device="cpu")


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu/openai", "hf-hub:nobody/nothing"])
def test_weights_that_cannot_be_fetched_are_one_line(name, monkeypatch):
    def cut(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    monkeypatch.setattr(open_clip.pretrained, "download_pretrained", cut)
    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_hf", cut)
    with pytest.raises(InputError, match=r"could not be fetched .ConnectionError: no route.*'phantom'"):
        load_encoder(name, device="cpu")


def test_devices_and_precisions_that_cannot_be_had():
    with pytest.raises(InputError, match="device 'quantum'"):
        load_encoder("phantom", device="quantum")
    with pytest.raises(InputError, match="precision 'fp8'"):
        load_encoder("phantom", precision="fp8")


def test_texts_that_are_none_or_no_text(encoder):
    with pytest.raises(InputError, match="none given"):
        encoder.encode_texts([])
    with pytest.raises(InputError, match="not 3"):
        encoder.encode_texts(["a", 3])
    with pytest.raises(InputError, match="batch_size"):
        encoder.encode_images(noise(2), batch_size=0)


@pytest.mark.skipif("phantom" not in encoders.available(), reason="the embedded encoder is not there yet")
def test_the_embedded_encoder_loads_and_encodes():
    encoder = load_encoder("phantom", device="cpu")
    dataset = noise(500, encoder.model.visual.image_size)
    features = encoder.encode_images(dataset)
    assert features.images.shape[0] == 500
    assert encoder.encode_texts(["a photo of a chest"]).shape == (1, features.images.shape[1])
