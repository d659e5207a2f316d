"""The table of encoders says what open_clip says, and names a source for every fact."""

import re
import subprocess
import sys

import open_clip
import pytest
from open_clip import pretrained

from kpl_lib.common.errors import InputError
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.config import TOKENIZER_OPTIONS, check_config
from kpl_lib.encoders.load import find
from kpl_lib.encoders.table import EncoderRow, encoder_row, encoder_table, sources, tell_terms

TAGS = [row for row in encoder_table() if not row.name.startswith("hf-hub:")]
HUB = [row for row in encoder_table() if row.name.startswith("hf-hub:")]


@pytest.mark.parametrize("row", TAGS, ids=lambda row: row.name)
def test_a_row_agrees_with_open_clip(row: EncoderRow):
    architecture, tag = row.name.split("/")
    config, settings = (
        open_clip.get_model_config(architecture),
        pretrained.get_pretrained_cfg(architecture, tag),
    )
    text = config["text_cfg"]
    assert settings, "open_clip has no such weights"
    assert row.image_size == config["vision_cfg"]["image_size"]
    assert (row.context_length, row.width) == (text["context_length"], config["embed_dim"])
    assert row.tokenizer == text.get("hf_tokenizer_name", "CLIP")
    assert (
        (row.activation == "QuickGELU") == bool(config.get("quick_gelu")) == bool(settings.get("quick_gelu"))
    )
    assert (row.resize, row.interpolation) == (settings["resize_mode"], settings["interpolation"])
    assert (row.mean, row.std) == (list(settings["mean"]), list(settings["std"]))
    assert (row.loss == "sigmoid") == ("init_logit_bias" in config)
    assert row.weights == settings["hf_hub"].rstrip("/")
    assert row.sources["config"] == row.sources["weights"] == "open_clip"


@pytest.mark.parametrize("row", TAGS, ids=lambda row: row.name)
def test_a_name_is_loaded_with_what_its_row_says(row: EncoderRow, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(pretrained, "download_pretrained", lambda settings: settings["hf_hub"])
    source = find(row.name)
    for fact in ("mean", "std"):
        assert list(source.preprocess[fact]) == getattr(row, fact), fact
    assert source.preprocess["interpolation"] == row.interpolation
    assert source.preprocess["resize_mode"] == row.resize and source.config["embed_dim"] == row.width
    assert ("QuickGELU" if source.config.get("quick_gelu") else "GELU") == row.activation


def test_the_six_models_of_openai_are_there_with_their_activation():
    names = [row.name for row in TAGS if row.name.endswith("/openai")]
    six = ("RN50", "RN101", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
    assert names == [f"{architecture}-quickgelu/openai" for architecture in six]
    assert {row.logit_scale for row in TAGS if row.name in names} == {100}


def test_the_families_that_were_asked_for_are_there():
    names = " ".join(row.name for row in encoder_table())
    asked = ("laion2b", "datacomp_xl", "SigLIP2/webli", "hf-hub:microsoft/BiomedCLIP")
    for part in (*asked, "hf-hub:vinid/plip", "pubmed-clip", "hf-hub:MahmoodLab/CONCH"):
        assert part in names
    assert len({row.name for row in encoder_table()}) == len(encoder_table())
    assert (
        encoder_row("hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224").context_length == 256
    )


@pytest.mark.parametrize("row", encoder_table(), ids=lambda row: row.name)
def test_every_fact_names_its_source(row: EncoderRow):
    for fact in ("config", "weights", "licence", "training_data"):
        assert row.sources[fact] in sources(), fact
    if row.logit_scale is not None:
        assert row.sources["logit_scale"] in sources()
    assert set(filter(None, row.sources.values())) <= set(sources())
    assert row.licence and row.training_data and row.logit_scale_known
    assert bool(row.use) == (row.sources.get("use") in sources())


def test_every_source_is_used():
    assert {source for row in encoder_table() for source in row.sources.values() if source} == set(sources())


@pytest.mark.parametrize("row", HUB, ids=lambda row: row.name)
def test_a_hub_row_is_one_of_the_hub(row: EncoderRow):
    assert row.name == f"hf-hub:{row.weights}" and row.sources["config"] != "open_clip"
    assert row.context_length in (77, 127, 256) and (row.context_length == 77) == (row.tokenizer == "CLIP")


def test_the_options_of_open_clips_own_tokenizers_pass(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    used = set()
    for name in open_clip.list_models():
        config = check_config(name, open_clip.get_model_config(name))
        used |= set(config["text_cfg"].get("tokenizer_kwargs") or {})
    assert {"clean", "strip_sep_token"} <= used <= set(TOKENIZER_OPTIONS)


def test_an_unknown_row_says_what_is_near():
    with pytest.raises(InputError, match=r"nearest: .*ViT-L-14-quickgelu/openai"):
        encoder_row("ViT-L-14/openai")


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "kpl_lib", "encoders", *words], capture_output=True, text=True
    )


def test_the_command_prints_the_table_and_one_row():
    listed = run("list")
    assert listed.returncode == 0 and all(row.name in listed.stdout for row in encoder_table())
    shown = run("show", "ViT-B-16-SigLIP2/webli")
    assert "resize: squash" in shown.stdout and "mean: 0.5, 0.5, 0.5" in shown.stdout
    assert "from Tschannen et al. 2025" in shown.stdout
    wrong = run("show", "ViT-L-14/openai")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "nearest" in wrong.stderr


def test_each_row_has_the_facts_that_are_explained():
    explained = re.findall(r"^ +\* `(\w+)`: ", EncoderRow.__doc__, re.MULTILINE)
    assert len(explained) == 20
    assert all(list(vars(row)) == explained for row in encoder_table())


def test_the_terms_of_weights_are_said_once_and_never_for_phantoms(monkeypatch, tmp_path, capsys):
    plain = load_encoder("phantom", device="cpu")
    parts = (plain.model, plain.preprocess, plain.tokenizer)
    monkeypatch.setattr("kpl_lib.encoders.encoder.open_checkpoint", lambda *_: (parts, None))
    tell_terms.cache_clear()
    for name in (
        "phantom",
        "hf-hub:vinid/plip",
        "hf-hub:vinid/plip",
        "hf-hub:nobody/model",
        f"path:{tmp_path}",
    ):
        load_encoder(name, device="cpu")
    load_encoder("ViT-B-16-SigLIP2/webli", device="cpu")
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [
        "hf-hub:vinid/plip: licence of the weights: not stated; "
        "intended use: research; any deployed use is out of scope",
        "ViT-B-16-SigLIP2/webli: licence of the weights: Apache-2.0",
    ]
