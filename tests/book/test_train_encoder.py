"""Training the embedded encoder: small runs that resume, and the shipped files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from book.tools.research import train_encoder as training
from book.tools.research.model_card import encode_tokens
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.datasets.sets.phantom import load
from kpl_lib.encoders import load_encoder
from kpl_lib.phantoms.captions import NAME_RATE

SMALL = training.Recipe(seed=3, images=300, captions=2, steps=4, batch=16, warmup=2)
SHIPPED = data_dir() / "encoders" / "phantom"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return training.train(SMALL, tmp_path_factory.mktemp("whole"), every=2)


def test_a_stopped_run_goes_on_to_the_same_weights(finished, tmp_path, monkeypatch):
    real = training.Run.advance

    def stop(self, corpus, tokens):
        if self.step == 3:
            raise KeyboardInterrupt
        return real(self, corpus, tokens)

    monkeypatch.setattr(training.Run, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(SMALL, tmp_path, every=2)
    monkeypatch.undo()
    resumed = training.train(SMALL, tmp_path, every=2)
    assert resumed.losses == pytest.approx(finished.losses, rel=1e-2)
    for name, weight in finished.model.state_dict().items():
        assert torch.allclose(resumed.model.state_dict()[name], weight, atol=2e-3), name


def test_loss_falls_and_the_logit_scale_stays_at_100(finished):
    longer = training.train(replace(SMALL, steps=12), finished.folder.parent / "longer", every=100)
    assert longer.losses[-1] < longer.losses[0]
    assert float(longer.model.logit_scale.exp()) == pytest.approx(100, rel=1e-4)


def test_a_checkpoint_of_another_recipe_is_refused(finished):
    with pytest.raises(InputError, match="another recipe"):
        training.train(replace(SMALL, seed=4), finished.folder)


def test_written_encoder_loads_and_says_what_it_is(finished, tmp_path):
    training.write(finished, tmp_path / "encoder")
    encoder = load_encoder(f"path:{tmp_path / 'encoder'}")
    text = "a photo of a chest, which has clear lung fields"
    ours = encode_tokens(finished.model, finished.tokenizer([text]))
    assert torch.cosine_similarity(encoder.encode_texts([text]), ours.detach()).item() > 0.999
    card = (tmp_path / "encoder" / "model_card.md").read_text()
    assert "synthetic" in card and "Not for clinical use" in card and "recall_at_1" in card


def test_shipped_encoder_keeps_its_promises():
    assert (SHIPPED / "model.safetensors").stat().st_size <= 10_000_000
    with safe_open(SHIPPED / "model.safetensors", "pt") as file:
        assert {file.get_tensor(k).dtype for k in file.keys()} == {torch.float16}  # noqa: SIM118
    facts = json.loads((SHIPPED / "training.json").read_text())
    assert (
        facts["recipe"]["seed"] >= 0
        and facts["held_out"]["recall_at_1"] > 0.3
        and facts["held_out"]["gap"] > 0.5
    )
    assert NAME_RATE < 0.05


def test_shipped_encoder_sees_what_captions_say():
    encoder = load_encoder("phantom")
    features = encoder.encode_images(
        load("phantom-malaria", scanner="seen", split="dev", n=60), progress=False
    )
    prompts = encoder.encode_texts(
        [
            "a photo of a cell, which has clear pink cytoplasm throughout",
            "a photo of a cell, which has a small purple ring with a dot",
        ]
    )
    found = (features.images @ prompts.T).argmax(1)
    assert (found == features.labels).float().mean() > 0.8
