"""Models of the hub: read from what was fetched before, refused in one line where that is not there."""

import json
import os
import pickle
import socket
import time
import urllib.request
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip import pretrained
from openai_files import config, register, write_state

from kpl_lib.common.errors import InputError
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.load import download_encoder

GREY = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def put(cache: Path, repository: str, weights: str | None, settings: dict) -> Path:
    """Lay a model into the cache as the hub's client keeps it; return its folder."""
    home = cache / f"models--{repository.replace('/', '--')}"
    folder = home / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    if weights:
        write_state(folder / weights, "vit", half=False)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("weights", NAMES)
def test_a_model_that_was_fetched_before_loads_without_a_network(cache, weights):
    settings = {"model_cfg": config("vit"), "preprocess_cfg": GREY}
    folder = put(cache, "nobody/model", weights, settings)
    made, local = (load_encoder(name, device="cpu") for name in ("hf-hub:nobody/model", f"path:{folder}"))
    assert str(made.preprocess) == str(local.preprocess) and made.fingerprint == local.fingerprint
    found = made.model.visual.preprocess_cfg
    assert {key: found[key] for key in GREY} == {
        k: list(v) if k in ("mean", "std") else v for k, v in GREY.items()
    }
    assert torch.equal(made.encode_texts(["a lung"]), local.encode_texts(["a lung"]))
    assert download_encoder("hf-hub:nobody/model").startswith(
        f"hf-hub:nobody/model: {folder / weights} (13 MB), ready"
    )


@pytest.mark.parametrize("weights", NAMES)
def test_a_tag_of_open_clip_keeps_its_own_preprocessing(cache, tmp_path, monkeypatch, weights):
    name = register(tmp_path, "tagged-quickgelu", config("vit"))
    register(tmp_path, "tagged", config("vit", quick=False))
    tag = {"openai": {"hf_hub": "nobody/tagged/", "url": "", "quick_gelu": True, **GREY}}
    for architecture in (name, "tagged"):
        monkeypatch.setitem(pretrained._PRETRAINED, architecture, tag)
    put(cache, "nobody/tagged", weights, {})
    made = load_encoder("tagged-quickgelu/openai", device="cpu")
    assert made.model.visual.preprocess_cfg["mean"] == (0.5, 0.5, 0.5)
    assert made.model.visual.preprocess_cfg["resize_mode"] == "squash" and "QuickGELU" in str(made.model)
    with pytest.raises(
        InputError, match="GELU, which would give wrong features; say 'tagged-quickgelu/openai'"
    ):
        load_encoder("tagged/openai", device="cpu")


@pytest.mark.parametrize(
    "architecture", ["RN50", "RN101", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"]
)
def test_plain_architectures_are_refused_for_the_weights_of_openai(architecture):
    with pytest.raises(InputError, match=f"say '{architecture}-quickgelu/openai'$") as caught:
        load_encoder(f"{architecture}/openai", device="cpu")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="say 'ViT-L-14/datacomp_xl_s13b_b90k'"):
        load_encoder("ViT-L-14-quickgelu/datacomp_xl_s13b_b90k", device="cpu")


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu/openai", "hf-hub:nobody/model"])
def test_what_is_not_there_is_told_at_once_with_the_command_that_fetches_it(cache, monkeypatch, name):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("no name")))
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(
        InputError, match=f"no network; run `kpl encode --download-only --encoder {name}` where"
    ) as caught:
        load_encoder(name, device="cpu")
    assert not slept and "\n" not in str(caught.value)  # no try is repeated after a pause
    assert constants.HF_HUB_OFFLINE is False


def test_nothing_is_reported_home_and_paths_stay_at_home(cache, monkeypatch):
    seen = []

    def fetch(*_, **__):
        seen.append((constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_OFFLINE))
        raise FileNotFoundError("no")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", fetch)
    monkeypatch.setattr("kpl_lib.encoders.load.from_folder", fetch)
    for name, said in (("hf-hub:nobody/model", "could not be fetched"), ("path:/nowhere", "are missing")):
        with pytest.raises(InputError, match=said):
            load_encoder(name, device="cpu")
    assert seen == [(True, False), (True, True)]
    assert (constants.HF_HUB_DISABLE_TELEMETRY, constants.HF_HUB_OFFLINE) == (False, False)


def test_a_configuration_that_asks_for_code_is_refused_before_its_weights_are_fetched(cache):
    settings = config("vit")
    settings["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    put(cache, "nobody/model", None, {"model_cfg": settings})
    with pytest.raises(InputError, match="'trust_remote_code' is refused"):
        load_encoder("hf-hub:nobody/model", device="cpu")


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_of_the_hub_is_never_run(cache, tmp_path):
    folder = put(cache, "nobody/model", None, {"model_cfg": config("vit")})
    (folder / NAMES[1]).write_bytes(pickle.dumps({"visual.proj": Bomb(tmp_path / "mark")}, protocol=2))
    with pytest.raises(InputError, match="holds more than tensors") as caught:
        load_encoder("hf-hub:nobody/model", device="cpu")
    assert "\n" not in str(caught.value) and not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "content", ["[]", "{}", "{", '{"model_cfg": {"embed_dim": 3}}', '{"model_cfg": null}']
)
def test_a_broken_configuration_of_the_hub_is_one_line(cache, content):
    folder = put(cache, "nobody/model", None, {})
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(InputError) as caught:
        load_encoder("hf-hub:nobody/model", device="cpu")
    assert "\n" not in str(caught.value)


def test_open_clip_is_never_handed_a_pickle(cache, monkeypatch):
    handed, inner = [], open_clip.create_model_and_transforms

    def watch(name, pretrained=None, **options):
        handed.append(pretrained)
        return inner(name, pretrained=pretrained, **options)

    monkeypatch.setattr(open_clip, "create_model_and_transforms", watch)
    put(cache, "nobody/model", NAMES[1], {"model_cfg": config("vit")})
    load_encoder("hf-hub:nobody/model", device="cpu")
    assert handed == [None]
