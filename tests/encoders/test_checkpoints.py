"""Checkpoint files: each published layout gives the features of open_clip; nothing in them is ever run."""

import json
import logging
import os
import shutil
import zipfile

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from openai_files import TEXT, VISION, config, network, register, write_archive, write_state, write_training
from PIL import Image
from torch import nn

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.config import openai_config, preprocessing
from kpl_lib.encoders.load import from_file
from kpl_lib.encoders.weights import read_weights

TEXTS = ["a photo of a lung", "a", "cells under a microscope, stained " * 4]
KINDS = ("vit", "rn")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every layout of both kinds, and their architectures known to open_clip."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        write_archive(folder / f"{kind}-archive.pt", kind)
        write_state(folder / f"{kind}.pt", kind)
        write_state(folder / f"{kind}.bin", kind, half=False)
        write_state(folder / f"{kind}.safetensors", kind)
        write_training(folder / f"{kind}-epoch.pt", kind)
        register(folder, f"tiny-{kind}-quickgelu", config(kind))
        register(folder, f"tiny-{kind}", config(kind, quick=False))
    return folder


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))


@torch.inference_mode()
def features(model: nn.Module, preprocess, tokenizer) -> list[torch.Tensor]:
    """Image and text features as open_clip itself gives them."""
    pixels = preprocess(image())[None]
    return [F.normalize(x, dim=1) for x in (model.encode_image(pixels), model.encode_text(tokenizer(TEXTS)))]


def ours(name: str) -> list[torch.Tensor]:
    made = load_encoder(name, device="cpu")
    with pytest.warns(UserWarning, match="more than 16 tokens"):
        texts = made.encode_texts(TEXTS)
    dataset = ImageDataset("one", lambda i: image(), ["a.png"], ("a",), [0])
    return [made.encode_images(dataset).images, texts]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["-archive.pt", ".pt", ".bin", ".safetensors", "-epoch.pt"])
def test_each_layout_gives_the_features_of_open_clip(files, kind, layout):
    tokenizer = open_clip.get_tokenizer(f"tiny-{kind}-quickgelu")
    name = f"tiny-{kind}-quickgelu"
    model, _, preprocess = open_clip.create_model_and_transforms(name, str(files / f"{kind}.safetensors"))
    expected = features(model.eval(), preprocess, tokenizer)
    for found, wanted in zip(ours(f"{name}/{files / kind}{layout}"), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    if layout == ".bin":  # another activation with the same weights: what the checks below guard against
        wrong = ours(f"tiny-{kind}/{files / kind}{layout}")
        assert (wrong[1] - expected[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_of_openai_says_itself_what_it_is(files, tmp_path, kind):
    shutil.copy(files / f"{kind}-archive.pt", tmp_path / "ViT-B-32.pt")
    made = load_encoder(f"path:{tmp_path / 'ViT-B-32.pt'}", device="cpu")
    assert openai_config(network(kind).state_dict()) == config(kind)
    assert made.context_length == 16 and "QuickGELU" in str(made.model) + "QuickGELU" * (kind == "rn")
    for found, wanted in zip(ours(f"path:{tmp_path}"), ours(f"path:{tmp_path / 'ViT-B-32.pt'}"), strict=True):
        assert torch.equal(found, wanted)
    stored = network(kind).state_dict()
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, stored[name]), name


def test_the_layout_is_read_as_open_clip_reads_it():
    tensors = network("vit").state_dict()
    theirs = open_clip.model.build_model_from_openai_state_dict(dict(tensors), cast_dtype=torch.float32)
    assert theirs.visual.image_size == (32, 32) and VISION["vit"]["image_size"] == 32
    assert theirs.context_length == TEXT["context_length"]
    with pytest.raises(InputError, match=r"not OpenAI's layout: no tensor 'ln_final.weight'"):
        openai_config({"visual.proj": torch.zeros(2)})


def test_weights_of_openai_need_their_activation(files):
    name = f"tiny-vit/{files / 'vit-archive.pt'}"
    with pytest.raises(InputError, match=r"trained with QuickGELU.*say 'tiny-vit-quickgelu/") as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_say_its_activation_must_be_named_with_it(files):
    with pytest.raises(InputError, match="does not say its architecture; name it, as 'ViT-B-32-quickgelu/"):
        load_encoder(f"path:{files / 'vit.pt'}", device="cpu")


class Bomb:
    """A pickle that runs a command when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def bomb_in_an_archive(path, mark):
    """An archive whose pickle calls something, in the place of a tensor."""
    source = path.with_suffix(".source")
    torch.save({"visual.proj": Bomb(mark)}, source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(old.namelist()[0].split("/")[0] + "/constants.pkl", b"")


@pytest.mark.parametrize(
    "write",
    [
        lambda path, mark: torch.save({"a": Bomb(mark)}, path),
        lambda path, mark: torch.save({"state_dict": {"a": Bomb(mark)}}, path),
        lambda path, mark: torch.save(Bomb(mark), path, _use_new_zipfile_serialization=False),
        bomb_in_an_archive,
    ],
    ids=["zip", "training", "legacy", "archive"],
)
def test_nothing_in_a_checkpoint_is_run(tmp_path, write):
    write(tmp_path / "weights.pt", tmp_path / "mark")
    with pytest.raises(InputError, match=r"holds more than tensors.*could run code") as caught:
        load_encoder(f"ViT-B-32/{tmp_path / 'weights.pt'}", device="cpu")
    assert "\n" not in str(caught.value) and not (tmp_path / "mark").exists()


def test_an_archive_that_swells_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data/0", bytes(10_000_000))
    with pytest.raises(InputError, match="unpacks to more than it should hold"):
        read_weights(tmp_path / "weights.pt")


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(InputError, match=r"holds more than tensors.*save model.state_dict"):
        read_weights(tmp_path / "module.pt")


@pytest.mark.parametrize("layout", ["-archive.pt", ".pt", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_checkpoint_cut_short_is_one_line(files, tmp_path, layout, part):
    whole = (files / f"vit{layout}").read_bytes()
    target = tmp_path / f"cut{layout}"
    target.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match="copy or fetch it again") as caught:
        load_encoder(f"tiny-vit-quickgelu/{target}", device="cpu")
    assert "\n" not in str(caught.value) and str(target) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds no named tensors"),
        ({1: torch.zeros(1)}, "holds no named tensors"),
        ({}, "holds no tensor"),
        ({"a": torch.zeros(1), "b": 3}, "holds 'b', which is no tensor"),
        ({"a": torch.zeros(1)}, "open_clip cannot load it"),
    ],
)
def test_other_contents_are_one_line(files, tmp_path, content, said):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=said) as caught:
        load_encoder(f"tiny-vit-quickgelu/{tmp_path / 'weights.pt'}", device="cpu")
    assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_one_line(files):
    with pytest.raises(
        InputError, match=r"open_clip cannot load it.*take all files from one model"
    ) as caught:
        load_encoder(f"tiny-rn/{files / 'vit.bin'}", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        load_encoder(f"ViT-B-32/{tmp_path / 'none.pt'}", device="cpu")


def test_a_folder_with_pickled_weights_loads_like_one_with_safetensors(files, tmp_path):
    for kind in ("bin", "safetensors"):
        folder = tmp_path / kind
        folder.mkdir()
        shutil.copy(files / f"vit.{kind}", folder / f"open_clip_pytorch_model.{kind}")
        settings = {"model_cfg": config("vit"), "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
        (folder / "open_clip_config.json").write_text(json.dumps(settings))
    pairs = zip(ours(f"path:{tmp_path / 'bin'}"), ours(f"path:{tmp_path / 'safetensors'}"), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_weights_go_into_the_model_without_a_copy_on_disk(files, monkeypatch):
    """Of any layout: no file of weights is written, and open_clip is handed none."""
    handed, inner = [], open_clip.create_model_and_transforms

    def watch(name, pretrained=None, **options):
        handed.append(pretrained)
        return inner(name, pretrained=pretrained, **options)

    monkeypatch.setattr(open_clip, "create_model_and_transforms", watch)
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: pytest.fail("a copy was written"))
    for layout in ("-archive.pt", ".pt", ".safetensors"):
        load_encoder(f"tiny-vit-quickgelu/{files / 'vit'}{layout}", device="cpu")
    assert handed == [None] * 3


def test_weights_of_training_in_parallel_load_like_others(files, tmp_path):
    state = {f"module.{name}": value for name, value in network("vit").state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "parallel.pt")
    names = [f"tiny-vit-quickgelu/{path}" for path in (tmp_path / "parallel.pt", files / "vit.bin")]
    assert all(torch.equal(a, b) for a, b in zip(*map(ours, names), strict=True))


def test_loading_says_nothing_of_random_weights(files, caplog):
    load_encoder(f"tiny-vit-quickgelu/{files / 'vit.pt'}", device="cpu")
    assert not [record for record in caplog.records if "randomly" in record.getMessage()]
    logging.warning("heard again")
    assert "heard again" in caplog.text


def test_preprocessing_is_that_of_the_architecture(files):
    assert preprocessing("ViT-B-16-SigLIP2")["mean"] == (0.5, 0.5, 0.5)
    assert preprocessing("ViT-B-16-SigLIP2")["resize_mode"] == "squash"
    assert preprocessing("tiny-vit") == {} and preprocessing("ViT-L-14") is None
    with pytest.warns(UserWarning, match="ViT-L-14: .*OpenAI's is taken"):
        assert from_file(files / "vit.pt", "ViT-L-14").preprocess == {}
