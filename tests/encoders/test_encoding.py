"""Encoding: patches, precisions, workers, and images that are large, long or broken."""

import os
import re
import time
import warnings
from multiprocessing import Value
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from encoding_world import files, write_images
from PIL import Image
from tiny_encoder import MODEL, write_tiny_encoder
from torch import nn
from torchvision.transforms import Compose, Lambda

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.datasets import images as image_files
from kpl_lib.datasets.images import read_image
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.pixels import Pixels
from kpl_lib.encoders.run import Job
from kpl_lib.encoders.towers import image_and_patches
from kpl_lib.patches import Patches

ROOT = Path(__file__).resolve().parents[2]
VIT = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_encoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny"), device="cpu")


def vit(folder, **change):
    model = {**MODEL, "vision_cfg": {**VIT, **change}}
    return load_encoder(write_tiny_encoder(folder / "vit", model=model), device="cpu")


# Patches.


def test_patches_of_a_resnet_ask_the_pool_one_by_one(tiny):
    """Each position alone as the query of torch's own attention, over the same keys and values."""
    visual, pixels = tiny.model.visual, torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    visual = open_clip.modified_resnet.ModifiedResNet(
        [1, 1, 1, 1], 16, heads=4, image_size=64, width=8
    ).eval()
    with torch.inference_mode():
        pooled, tokens = image_and_patches(visual, pixels)
        torch.testing.assert_close(pooled, visual(pixels), atol=1e-5, rtol=0)
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixels)))))
        pool, x = visual.attnpool, x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding[:, None]
        assert tokens.shape == (2, 4, 16)
        for position in range(4):
            attended, _ = F.multi_head_attention_forward(
                x[position + 1 : position + 2], x, x, x.shape[-1], pool.num_heads, None,
                torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None, False, 0.0,
                pool.c_proj.weight, pool.c_proj.bias, training=False, need_weights=False,
                use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight,
                k_proj_weight=pool.k_proj.weight, v_proj_weight=pool.v_proj.weight,
            )  # fmt: skip
            torch.testing.assert_close(tokens[:, position], attended[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "change", [{}, {"pool_type": "avg"}, {"final_ln_after_pool": True, "pool_type": "avg"}]
)
def test_patches_of_a_transformer_go_through_norm_and_projection(tmp_path, change):
    visual = vit(tmp_path, **change).model.visual
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    last = {}
    visual.transformer.register_forward_hook(lambda *seen: last.update(x=seen[-1]))
    with torch.inference_mode():
        pooled, tokens = image_and_patches(visual, pixels)
        torch.testing.assert_close(pooled, visual(pixels), atol=1e-5, rtol=0)
        expected = torch.stack(
            [visual.ln_post(row) @ visual.proj for row in last["x"][:, 1:].unbind(1)], dim=1
        )
    assert tokens.shape == (2, 16, 16)
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("pool", "proj"), [("", "linear"), ("avg", "mlp"), ("token", "")])
def test_patches_of_a_timm_transformer_take_the_way_of_the_pooled_one(pool, proj):
    """As BiomedCLIP is built: a transformer of timm under a projection."""
    torch.manual_seed(0)
    visual = open_clip.timm_model.TimmModel("test_vit", 16, image_size=160, pool=pool, proj=proj).eval()
    pixels = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        pooled, tokens = image_and_patches(visual, pixels)
        torch.testing.assert_close(pooled, visual(pixels), atol=1e-5, rtol=0)
        rows = visual.trunk.forward_features(pixels)[:, 1:]
        assert tokens.shape == (2, rows.shape[1], 16)
        for i in (0, 57):  # one token alone, pooled as the mean of itself
            visual.trunk.global_pool, before = "avg", visual.trunk.global_pool
            alone = visual.head(
                visual.trunk.forward_head(torch.cat([rows[:, :1], rows[:, i : i + 1]], dim=1))
            )
            visual.trunk.global_pool = before
            torch.testing.assert_close(tokens[:, i], alone, atol=1e-5, rtol=0)
    visual.trunk.global_pool = "map"
    with pytest.raises(InputError, match=r"image tower \(TimmModel\) gives no patches"):
        image_and_patches(visual, pixels)


def test_patches_come_with_the_features_of_the_images_and_are_kept(tiny, tmp_path):
    dataset = files(write_images(tmp_path / "images", 5))
    found = tiny.encode_patches(dataset, batch_size=2, progress=False, cache=tmp_path / "cache")
    plain = tiny.encode_images(dataset, batch_size=2, progress=False, cache=tmp_path / "cache")
    torch.testing.assert_close(found.features.images, plain.images, atol=1e-5, rtol=0)
    assert found.features.meta == plain.meta and torch.equal(found.features.labels, plain.labels)
    assert found.tokens.shape == (5, 1, 16) and found.tokens.dtype == torch.float16
    torch.testing.assert_close(found.tokens.float().norm(dim=2), torch.ones(5, 1), atol=1e-3, rtol=0)
    again = tiny.encode_patches(dataset, batch_size=2, progress=False, cache=tmp_path / "cache")
    assert torch.equal(again.tokens, found.tokens) and torch.equal(
        again.features.images, found.features.images
    )
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2
    found.save(tmp_path / "p.safetensors")
    assert torch.equal(Patches.load(tmp_path / "p.safetensors").tokens, found.tokens)
    with pytest.raises(InputError, match="holds no Patches"):
        plain.save(tmp_path / "f.safetensors")
        Patches.load(tmp_path / "f.safetensors")


def test_towers_without_patches_in_the_space_of_texts_say_so(tmp_path):
    with pytest.raises(InputError, match=r"image tower \(Linear\) gives no patches.*'phantom'"):
        image_and_patches(nn.Linear(2, 2), torch.zeros(1, 2))
    pooled = vit(tmp_path, attentional_pool=True, attn_pooler_heads=2)
    with pytest.raises(InputError, match="gives no patches"):
        pooled.encode_patches(files(write_images(tmp_path / "images", 1)), progress=False)


# Scaling.


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_batch_has_the_bits_of_images_that_were_scaled_one_by_one(tmp_path, mode, order):
    preprocess = open_clip.image_transform(
        (24, 40) if mode == "squash" else 40, False, (0.48, 0.1, 0.7), (0.3, 0.26, 1.1), mode, "bilinear"
    )
    paths = write_images(tmp_path / "images", 4)
    Image.open(paths[1]).resize((90, 31)).save(paths[1])
    paths[2].write_bytes(b"GIF89a")
    pixels = Pixels(files(paths), preprocess, 40, order)
    found, ((index, why),) = pixels.batch([pixels[i] for i in range(4)])
    assert index == 2 and "002.png" in why and pixels[0][1].dtype == torch.uint8
    assert torch.equal(found, torch.stack([preprocess(read_image(paths[i])) for i in (0, 1, 3)]))
    assert found.is_contiguous(memory_format=order)


@pytest.mark.parametrize("steps", [slice(0, 5), slice(0, 4), slice(3, 5)])
def test_other_preprocessing_is_left_as_it_is(tmp_path, steps):
    known = open_clip.image_transform(32, False).transforms
    preprocess = Compose([*known[steps], Lambda(lambda x: x + 1)])
    paths = write_images(tmp_path / "images", 2)
    pixels = Pixels(files(paths), preprocess, 0, torch.channels_last)
    found, failed = pixels.batch([pixels[i] for i in range(2)])
    assert torch.equal(found, torch.stack([preprocess(read_image(path)) for path in paths])) and not failed


# Precision.


@pytest.mark.parametrize("precision", ["mixed", "bf16"])
def test_lower_precision_gives_nearly_the_same_features(tiny, tmp_path, precision):
    dataset = files(write_images(tmp_path / "images", 4))
    other = load_encoder(tiny.name, device="cpu", precision=precision)
    found, plain = (e.encode_images(dataset, progress=False).images for e in (other, tiny))
    assert found.dtype == torch.float32 and not torch.equal(found, plain)
    assert (found * plain).sum(dim=1).min() > 0.999
    mixed = precision == "mixed"
    assert (other.model.visual.conv1.weight.dtype == torch.float32) is mixed


# Reading.


def test_large_jpegs_are_decoded_small_inside_encoding_alone(tmp_path, monkeypatch):
    ramp = np.linspace(0, 255, 1600)[:, None] * np.linspace(0.2, 1, 1200)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "big.jpg", quality=95)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "big.png")
    assert read_image(tmp_path / "big.jpg").size == (1200, 1600)
    with image_files.decode_for(96):
        small = read_image(tmp_path / "big.jpg")
        assert read_image(tmp_path / "big.png").size == (1200, 1600)
    assert small.size == (300, 400) and min(small.size) >= 3 * 96
    assert read_image(tmp_path / "big.jpg").size == (1200, 1600)
    seen = []
    dataset = files([tmp_path / "big.jpg"])
    look = lambda image: seen.append(image.size) or torch.zeros(3, 1, 1)  # noqa: E731
    list(Job(dataset, None, look, 96, torch.device("cpu"), "look", 1, 0, False).batches())
    assert seen == [(300, 400)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_file_too_large_to_be_read_at_once_gives_the_same_pixels(tmp_path, monkeypatch, suffix):
    (path,) = write_images(tmp_path / "images", 1, suffix=suffix)
    whole = np.asarray(read_image(path))
    monkeypatch.setattr(image_files, "WHOLE", 0)
    assert np.array_equal(np.asarray(read_image(path)), whole) and whole.any()


def test_decoding_small_changes_what_the_model_sees_by_a_grey_level(tmp_path):
    encoder = load_encoder("phantom", device="cpu")
    noise = np.random.default_rng(0).normal(size=(50, 40))
    picture = Image.fromarray((128 + 40 * noise).clip(0, 255).astype(np.uint8)).resize(
        (1600, 2000), Image.BICUBIC
    )
    picture.save(tmp_path / "big.jpg", quality=95)
    whole = encoder.preprocess(read_image(tmp_path / "big.jpg"))
    with image_files.decode_for(96):
        small = encoder.preprocess(read_image(tmp_path / "big.jpg"))
    assert ((whole - small).abs() * 0.27 * 255).mean() < 1.0


def test_one_strip_or_one_reader_that_fails_does_not_end_the_run(tiny, tmp_path):
    paths = write_images(tmp_path / "images", 3)
    Image.new("L", (40_000, 1)).save(paths[0])

    def read(index):
        if index == 1:
            raise KeyError("a reader's own bug")
        return read_image(paths[index])

    dataset = ImageDataset("odd", read, paths)
    with pytest.warns(UserWarning, match="2 of 3 images"), pytest.MonkeyPatch.context() as patched:
        patched.setattr("kpl_lib.encoders.pixels.MAX_PIXELS", 1_000_000)
        found = tiny.encode_images(dataset, progress=False, on_error="skip")
    assert len(found) == 1
    (_, strip), (_, own) = found.meta["skipped"]
    assert strip == f"{paths[0]}: 40000 x 1 pixels is a strip; cut it, or leave it out"
    assert own == f'{paths[1]}: cannot be read (KeyError: "a reader\'s own bug"); leave it out'


def test_all_files_are_tried_before_the_first_bad_ones_are_told(tiny, tmp_path):
    paths = write_images(tmp_path / "images", 6)
    for bad in (1, 4):
        paths[bad].write_bytes(b"GIF89a")
    dataset = files(paths)
    with pytest.raises(
        InputError, match=r"^files: 2 of 6 images cannot be read, the first: .*001\.png: .*; .*"
    ):
        tiny.encode_images(dataset, batch_size=2, progress=False)
    with pytest.warns(UserWarning, match=r"001\.png.*; .*004\.png") as caught:
        found = tiny.encode_images(dataset, batch_size=2, progress=False, on_error="skip")
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [path for path, _ in found.meta["skipped"]] == [str(paths[1]), str(paths[4])]
    with pytest.raises(InputError, match="on_error 'ignore' is unknown: choose one of raise, skip"):
        tiny.encode_images(dataset, on_error="ignore")


def test_a_decoder_that_takes_its_process_down_is_one_line(tiny):

    def read(index):
        if torch.utils.data.get_worker_info() is not None:
            os._exit(11)
        return Image.new("RGB", (8, 8))

    dataset = ImageDataset("fatal", read, ["a", "b"])
    with pytest.raises(
        InputError, match=r"fatal: a process that decodes images died; pass workers=0"
    ) as caught:
        tiny.encode_images(dataset, workers=1, progress=False)
    assert "\n" not in str(caught.value)
    assert len(tiny.encode_images(dataset, progress=False)) == 2


def test_workers_run_ahead_of_the_model():
    """While the first batch is with the model, the next ones are read."""
    read_so_far = Value("i", 0)

    def read(index):
        with read_so_far.get_lock():
            read_so_far.value += 1
        return Image.new("RGB", (8, 8))

    dataset = ImageDataset("ahead", read, [str(i) for i in range(8)])
    zeros = lambda image: torch.zeros(3, 8, 8)  # noqa: E731
    loader = Job(dataset, None, zeros, 0, torch.device("cpu"), "zeros", 2, 1, False).batches()
    next(loader)
    for _ in range(200):
        if read_so_far.value >= 4:
            break
        time.sleep(0.01)
    assert read_so_far.value >= 4
    loader.close()


def test_progress_tells_images_per_second(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("kpl_lib.encoders.run.PROGRESS_DELAY", 0)
    tiny.encode_images(files(write_images(tmp_path / "images", 5)), batch_size=2)
    assert re.search(r"encode images: 100%.* 5/5 .*img/s", capsys.readouterr().err)


# What the library must not do.


def test_nothing_unpickles_and_nothing_phones_home():
    """`torch.load` only with weights_only=True; no pickle, no telemetry, no address that is posted to."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "kpl_lib").rglob("*.py"))}
    assert len(sources) > 50
    for path, text in sources.items():
        for call in re.findall(r"torch\.load\(([^)]*)", text):
            assert "weights_only=True" in call, path
        assert not re.search(
            r"allow_pickle\s*=\s*True|\b(c?pickle|dill|joblib|marshal)\.(load|dump)s?\(", text
        ), path
        assert not re.search(r"(?i)\b(telemetry|analytics|sentry|mixpanel|posthog|wandb)\b", text), path


def test_caches_hold_tensors_and_json_alone(tiny, tmp_path):
    tiny.encode_images(files(write_images(tmp_path / "images", 2)), progress=False, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.safetensors")
    length = int.from_bytes(file.read_bytes()[:8], "little")
    assert file.read_bytes()[8:9] == b"{" and length < file.stat().st_size
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {file.name, ".locks"}


def test_an_encoder_is_quiet(tiny, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.encode_images(files(write_images(tmp_path / "images", 2)), progress=False)
