"""Text towers of other families: cutting the padding is exact, or it is not done; no code comes from the hub."""

import json
import sys

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.config import check_config

transformers = pytest.importorskip("transformers")

from text_models import SQUASH, write_bert, write_siglip, write_tokenizer  # noqa: E402

TEXTS = ["lung", "a photo of a lung", "", "stained cells under the microscope " * 7, "a photo of round cells"]


def whole(encoder) -> torch.Tensor:
    """What open_clip gives for whole contexts."""
    with torch.inference_mode():
        return F.normalize(encoder.model.encode_text(encoder.tokenizer(TEXTS)), dim=1)


def seen(encoder, monkeypatch) -> list[int]:
    """How many tokens a text the tower was given, batch by batch."""
    lengths, inner = [], encoder.model.encode_text
    monkeypatch.setattr(
        encoder.model, "encode_text", lambda t, *a, **k: lengths.append(t.shape[1]) or inner(t)
    )
    return lengths


@pytest.mark.parametrize(
    ("pooler", "kind"),
    [("cls_last_hidden_state_pooler", "bert"), ("mean_pooler", "bert"), ("mean_pooler", "roberta")],
)
def test_a_tower_that_masks_its_padding_is_exact_without_it(tmp_path, monkeypatch, pooler, kind):
    encoder = load_encoder(write_bert(tmp_path / "model", pooler, kind), device="cpu")
    assert encoder.context_length == 256 and encoder.tokenizer(TEXTS).shape == (5, 256)
    expected = whole(encoder)
    lengths = seen(encoder, monkeypatch)
    torch.testing.assert_close(encoder.encode_texts(TEXTS, batch_size=2), expected, atol=1e-6, rtol=0)
    assert lengths == [3, 7, 37]  # shortest first: the last batch is the long text alone
    assert (expected[0] - expected[1]).abs().max() > 1e-4


def test_a_tower_that_sees_its_padding_gets_whole_contexts(tmp_path, monkeypatch):
    encoder = load_encoder(write_siglip(tmp_path / "model"), device="cpu")
    assert encoder.context_length == 64
    expected = whole(encoder)
    lengths = seen(encoder, monkeypatch)
    torch.testing.assert_close(encoder.encode_texts(TEXTS, batch_size=2), expected, atol=1e-6, rtol=0)
    assert lengths == [64, 64, 64]
    assert encoder.model.logit_bias.item() == -10 and encoder.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert encoder.temperature == 0.07  # rounded
    pixels = encoder.model.visual.preprocess_cfg
    assert {
        key: list(v) if isinstance(v, tuple) else v for key, v in pixels.items() if key in SQUASH
    } == SQUASH


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("write", [lambda folder: write_bert(folder, "mean_pooler"), write_siglip])
def test_half_precision_reads_texts_and_images(tmp_path, write, precision):
    name = write(tmp_path / "model")
    dataset = ImageDataset("one", lambda i: Image.new("RGB", (40, 30), (200, 30, 30)), ["a"], ("a",), [0])
    whole, half = load_encoder(name, device="cpu"), load_encoder(name, device="cpu", precision=precision)
    torch.testing.assert_close(half.encode_texts(TEXTS), whole.encode_texts(TEXTS), atol=0.02, rtol=0)
    images = (encoder.encode_images(dataset).images for encoder in (half, whole))
    torch.testing.assert_close(*images, atol=0.02, rtol=0)


def test_texts_beyond_the_context_are_told_for_these_tokenizers_too(tmp_path):
    encoder = load_encoder(write_siglip(tmp_path / "model"), device="cpu")
    fits, longer = " ".join(["lung"] * 62), " ".join(["lung"] * 63)
    with pytest.warns(UserWarning, match="1 texts have more than 64 tokens"):
        encoder.encode_texts([fits, longer])


CODE = "from pathlib import Path\nPath({!r}).touch()\nclass Foreign:\n    pass\n"


def test_a_tokenizer_that_brings_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # nobody is asked
    folder = tmp_path / "model"
    name = write_siglip(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": [None, "foreign.Foreign"]}, "tokenizer_class": "Foreign"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "foreign.py").write_text(CODE.format(str(tmp_path / "mark")))
    with pytest.raises(InputError, match="needs code of its own, which is never run") as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value) and not (tmp_path / "mark").exists()


def test_a_text_model_that_brings_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # nobody is asked
    folder = tmp_path / "model"
    name = write_bert(folder, "mean_pooler")
    settings = {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "foreign.Foreign", "AutoModel": "foreign.Foreign"},
    }
    (folder / "text" / "config.json").write_text(json.dumps(settings))
    (folder / "text" / "foreign.py").write_text(CODE.format(str(tmp_path / "mark")))
    with pytest.raises(InputError, match="needs code of its own, which is never run") as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value) and not (tmp_path / "mark").exists()


def test_a_configuration_cannot_ask_for_foreign_code(tmp_path):
    folder = tmp_path / "model"
    name = write_siglip(folder)
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="option 'trust_remote_code' is refused, it could run code"):
        load_encoder(name, device="cpu")


def test_a_text_model_that_is_not_there_is_one_line(tmp_path):
    folder = tmp_path / "model"
    name = write_bert(folder, "mean_pooler")
    (folder / "text" / "config.json").unlink()
    with pytest.raises(
        InputError, match=r"files of its text model are missing .*put them into the folder"
    ) as caught:
        load_encoder(name, device="cpu")
    assert "\n" not in str(caught.value)


def test_models_that_need_transformers_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    text = {"hf_tokenizer_name": "a/b"}
    with pytest.raises(InputError, match=r'pip install "kpl-lib\[hub\]"'):
        check_config("encoder 'x'", {"embed_dim": 1, "vision_cfg": {}, "text_cfg": text})


def test_the_tokenizer_of_the_tests_knows_its_words(tmp_path):
    write_tokenizer(tmp_path)
    made = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert made("a photo of a lung").input_ids == [2, 5, 6, 7, 5, 8, 3]
