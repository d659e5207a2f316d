"""CLIP models in transformers' layout: the features of transformers itself, its preprocessing, one line otherwise."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError
from open_clip import pretrained
from PIL import Image
from torch import Tensor
from transformers_clip import PIXELS, SIZES, settings, tensors, write_clip, write_vocabulary

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.load import download_encoder
from kpl_lib.encoders.transformers_layout import clip_config, clip_pixels, renamed

ACTS = ("quick_gelu", "gelu")
TEXTS = ["a photo of a lung", "It's 2 cells, H&E-stained; 40x!", "  naïve   LYMPHOCYTES\n", "a"]


def drawn(size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


# The towers once more, from the formulas, over the names of transformers: x + attention(norm(x)), x + mlp(norm(x)).


def tower(state: dict[str, Tensor], start: str, heads: int, act, x: Tensor, causal: bool) -> Tensor:
    def linear(name: str, y: Tensor) -> Tensor:
        return y @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(name: str, y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    layer = 0
    if not causal:
        x = norm(f"{start}pre_layrnorm", x)
    while f"{start}encoder.layers.{layer}.mlp.fc1.bias" in state:
        here = f"{start}encoder.layers.{layer}."
        y = norm(f"{here}layer_norm1", x)
        query, key, value = (
            linear(f"{here}self_attn.{p}_proj", y).unflatten(2, (heads, -1)).transpose(1, 2) for p in "qkv"
        )
        cosines = query @ key.mT / math.sqrt(query.shape[-1])
        if causal:
            cosines = cosines + torch.full(cosines.shape[-2:], -torch.inf).triu(1)
        y = (cosines.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = x + linear(f"{here}self_attn.out_proj", y)
        y = act(linear(f"{here}mlp.fc1", norm(f"{here}layer_norm2", x)))
        x = x + linear(f"{here}mlp.fc2", y)
        layer += 1
    return norm(f"{start}final_layer_norm" if causal else f"{start}post_layernorm", x)


def by_formula(act: str, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features of images and texts."""
    curve = (lambda z: z * torch.sigmoid(1.702 * z)) if act == "quick_gelu" else F.gelu
    state = tensors()
    patches = F.conv2d(pixels, state["vision_model.embeddings.patch_embedding.weight"], stride=16)
    first = state["vision_model.embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches.flatten(2).mT], dim=1)
    x = x + state["vision_model.embeddings.position_embedding.weight"]
    images = tower(state, "vision_model.", SIZES["vision"]["num_attention_heads"], curve, x, False)[:, 0]
    x = state["text_model.embeddings.token_embedding.weight"][tokens]
    x = x + state["text_model.embeddings.position_embedding.weight"][: tokens.shape[1]]
    texts = tower(state, "text_model.", SIZES["text"]["num_attention_heads"], curve, x, True)
    texts = texts[torch.arange(len(texts)), (tokens == 49407).int().argmax(dim=1)]
    found = images @ state["visual_projection.weight"].T, texts @ state["text_projection.weight"].T
    return tuple(F.normalize(rows, dim=1) for rows in found)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_features_are_those_of_the_formulas(tmp_path, act, file):
    made = load_encoder(write_clip(tmp_path / "model", act, file), device="cpu")
    pixels, tokens = made.preprocess(drawn())[None], made.tokenizer(TEXTS)
    images, texts = by_formula(act, pixels, tokens)
    torch.testing.assert_close(made.encode_pixels(pixels)["images"], images, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)
    assert made.logit_scale == pytest.approx(math.exp(4.2)) and made.context_length == 20
    other = by_formula(ACTS[ACTS[0] == act], pixels, tokens)
    assert (other[0] - images).abs().max() > 1e-4 and (other[1] - texts).abs().max() > 1e-4


@pytest.fixture(scope="module")
def transformers():
    """The package, with the classes used here loaded; without it the formulas above are the reference."""
    found = pytest.importorskip("transformers")
    assert found.CLIPModel and found.CLIPTokenizer and found.CLIPImageProcessor
    return found


@pytest.mark.parametrize("act", ACTS)
def test_features_are_those_of_transformers(tmp_path, transformers, act):
    """With the tokens and the pixels that transformers makes of the same texts and the same picture."""
    folder = tmp_path / "model"
    made = load_encoder(write_clip(folder, act), device="cpu")
    write_vocabulary(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    inputs = transformers.CLIPTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    pixels = transformers.CLIPImageProcessor.from_pretrained(folder)(drawn(), return_tensors="pt")
    with torch.inference_mode():
        theirs = (model.get_image_features(**pixels), model.get_text_features(**inputs))
    images, texts = (F.normalize(getattr(rows, "pooler_output", rows), dim=1) for rows in theirs)
    dataset = ImageDataset("one", lambda i: drawn(), ["a.png"], ("a",), [0])
    torch.testing.assert_close(made.encode_images(dataset).images, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)


def test_what_transformers_saves_today_is_read(tmp_path, transformers):
    write_clip(tmp_path / "old")
    model = transformers.CLIPModel.from_pretrained(tmp_path / "old")
    model.save_pretrained(tmp_path / "new")
    process = transformers.CLIPImageProcessor.from_pretrained(tmp_path / "old")
    process.save_pretrained(tmp_path / "new")
    names = [f"path:{tmp_path / kind}" for kind in ("old", "new")]
    old, new = (load_encoder(name, device="cpu") for name in names)
    assert old.fingerprint == new.fingerprint


def test_its_own_preprocessing_is_kept(tmp_path):
    """Cut in the middle after the shorter side, or squashed; other steps than open_clip's are refused."""
    made = load_encoder(write_clip(tmp_path / "cut"), device="cpu")
    found = made.preprocess(drawn((60, 40)))
    cut = np.asarray(drawn((60, 40)).resize((48, 32), Image.Resampling.BICUBIC).crop((8, 0, 40, 32)))
    wanted = (cut / 255 - PIXELS["image_mean"]) / PIXELS["image_std"]
    torch.testing.assert_close(found, torch.tensor(wanted.transpose(2, 0, 1)).float(), atol=1e-5, rtol=0)
    square = {"size": {"height": 32, "width": 32}, "do_center_crop": False, "resample": 2}
    squashed = load_encoder(write_clip(tmp_path / "squash", pixels=square), device="cpu").preprocess
    wanted = np.asarray(drawn((60, 40)).resize((32, 32), Image.Resampling.BILINEAR))
    wanted = (wanted / 255 - PIXELS["image_mean"]) / PIXELS["image_std"]
    torch.testing.assert_close(
        squashed(drawn((60, 40)))[0].numpy(), wanted[..., 0], atol=1e-5, rtol=0, check_dtype=False
    )
    today = {
        "image_processor": PIXELS | {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    }
    assert clip_pixels("x", today, 32) == clip_pixels("x", PIXELS, 32)
    assert clip_pixels("x", PIXELS | {"do_normalize": False}, 32)["std"] == [1.0] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 40}, r"sizes \['32', '40'\] before a tower of 32"),
        ({"do_center_crop": False}, "do_center_crop: false"),
        ({"do_resize": False}, "do_resize: false"),
        ({"resample": 0}, "resample: 0"),
        ({"rescale_factor": 1}, "a rescale_factor of its own"),
        ({"rescale_factor": "1"}, "broken configuration"),
    ],
)
def test_other_preprocessing_is_one_line(tmp_path, change, said):
    name = write_clip(tmp_path / "model", pixels=change)
    with pytest.raises(InputError, match=said) as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "siglip"}, "of a 'siglip' model; of transformers' layouts 'clip' alone"),
        ({"text_config": {"vocab_size": 30522}}, "a vocabulary of 30522 .* only CLIP's own of 49408 is read"),
        ({"text_config": {"eos_token_id": 5}}, "ends texts with 5"),
        (
            {"text_config": {"hidden_act": "gelu"}},
            "hidden_act 'gelu' and 'quick_gelu'; open_clip has 'quick_gelu' or",
        ),
        ({"vision_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps 1e-05 and 1e-06"),
        ({"vision_config": {"patch_size": "16"}}, "vision tower with patch_size '16'"),
        ({"vision_config": "wide"}, "vision tower with hidden_size 'wide'"),
        ({"text_config": {"hidden_size": 64}}, "open_clip cannot load it .*take all files from one model"),
        ({"projection_dim": "wide"}, "open_clip cannot load it"),
    ],
)
def test_other_models_are_one_line(tmp_path, change, said):
    name = write_clip(tmp_path / "model")
    made = settings()
    for key, value in change.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) else value
    (tmp_path / "model" / "config.json").write_text(json.dumps(made))
    with pytest.raises(InputError, match=said) as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["model.safetensors", "preprocessor_config.json"])
def test_a_file_that_is_missing_is_named(tmp_path, file):
    name = write_clip(tmp_path / "model")
    (tmp_path / "model" / file).unlink()
    with pytest.raises(InputError, match=rf"no {file} or .* there; copy it from the model"):
        load_encoder(name, device="cpu")


def test_what_is_left_out_of_a_configuration_is_openais_model():
    config = clip_config("x", {"model_type": "clip", "text_config": {}, "vision_config": None})
    assert (config["embed_dim"], config["quick_gelu"]) == (512, True)
    assert {k: config["vision_cfg"][k] for k in ("width", "layers", "head_width", "patch_size")} == {
        "width": 768,
        "layers": 12,
        "head_width": 64,
        "patch_size": 32,
    }
    assert int(config["text_cfg"]["width"] * config["text_cfg"]["mlp_ratio"]) == 2048
    old = {
        "model_type": "clip",
        "text_config": {"num_hidden_layers": 3},
        "text_config_dict": {"hidden_size": 768},
    }
    assert clip_config("x", old)["text_cfg"]["layers"] == 12  # as transformers reads it
    assert clip_config("x", old)["text_cfg"]["width"] == 768


def test_weights_of_open_clip_are_left_alone():
    weights = {"visual.proj": torch.zeros(2, 3), "logit_scale": torch.tensor(1.0)}
    assert renamed(weights) is weights
    assert not [name for name in renamed(tensors()) if "_model." in name or "position_ids" in name]


def test_a_named_architecture_takes_a_file_of_transformers(tmp_path):
    """`ARCH/FILE` with weights of transformers is the same model, whoever put them into a folder."""
    from openai_files import register

    name = write_clip(tmp_path / "model")
    architecture = register(tmp_path, "tiny-transformers", clip_config("x", settings()))
    made = load_encoder(f"{architecture}/{tmp_path / 'model' / 'model.safetensors'}", device="cpu")
    assert torch.equal(made.encode_texts(TEXTS), load_encoder(name, device="cpu").encode_texts(TEXTS))


def test_weights_are_read_without_a_copy_on_disk(tmp_path, monkeypatch):
    name = write_clip(tmp_path / "model", file="pytorch_model.bin")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("safetensors.torch.save_file", lambda *_: pytest.fail("a copy was written"))
    monkeypatch.setattr("torch.save", lambda *_: pytest.fail("a copy was written"))
    load_encoder(name, device="cpu")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Repositories of the hub: name -> folder; what is not in the folder is an error as the hub's own."""
    homes: dict[str, Path] = {}

    def fetch(place, filename=None):
        try:
            if not (homes[place] / filename).is_file():
                raise EntryNotFoundError(f"404: {filename}")
            return str(homes[place] / filename)
        except Exception as error:  # as open_clip passes it on
            raise FileNotFoundError(f"Failed to download file ({filename}) for {place}") from error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", fetch)
    return homes


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_repository_of_the_hub_in_this_layout_loads(hub, tmp_path, file):
    local = write_clip(tmp_path / "model", file=file)
    hub["nobody/plip"] = tmp_path / "model"
    made = load_encoder("hf-hub:nobody/plip", device="cpu")
    assert made.fingerprint == load_encoder(local, device="cpu").fingerprint
    assert download_encoder("hf-hub:nobody/plip").startswith(
        f"hf-hub:nobody/plip: {tmp_path / 'model' / file} ("
    )


def test_a_repository_of_neither_layout_is_one_line(hub, tmp_path):
    hub["nobody/empty"] = tmp_path
    with pytest.raises(InputError, match=r"could not be fetched .*\(config.json\).*check the name") as caught:
        load_encoder("hf-hub:nobody/empty", device="cpu")
    assert "\n" not in str(caught.value)


def test_gated_weights_say_where_access_is_asked_for(monkeypatch, hub):
    def gated(place, filename=None):
        try:
            raise GatedRepoError.__new__(GatedRepoError)
        except GatedRepoError as error:
            raise FileNotFoundError("Failed to download") from error

    monkeypatch.setattr(pretrained, "download_pretrained_from_hf", gated)
    with pytest.raises(InputError, match="ask for access on its page, then `hf auth login`"):
        load_encoder("hf-hub:nobody/gated", device="cpu")
