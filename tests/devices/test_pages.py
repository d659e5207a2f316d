"""Encoders and pages of the book on a second device: features, banks and solvers are there, figures read them."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from pretended_device import DEVICE, pretended

from book.tools.building.setup_cell import is_setup
from kpl_lib import KnowledgeBase, load_dataset, load_encoder, notebook
from kpl_lib.claim_files import read_claims
from kpl_lib.claims import measure
from kpl_lib.encoders import encoder
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.own_images.classify import classify_folder
from kpl_lib.own_images.facts import report_facts
from kpl_lib.own_images.fitted import FittedModel
from kpl_lib.own_images.report import render

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = {
    "primer/clip": "primer_clip",
    "primer/ridge_and_discriminants": "primer_ridge_and_discriminants",
    "chapters/06_transport": "06_transport",
}


@pytest.fixture
def device(monkeypatch):
    """The device is what is found where none is named. `inference_mode` knows no tensors but torch's own."""
    plain = torch.no_grad()(Encoder.encode_pixels.__wrapped__)
    with pretended(copied=True), monkeypatch.context() as patch:
        for module in (encoder, notebook):
            patch.setattr(module, "choose_device", lambda device=None: torch.device(DEVICE))
        patch.setattr(torch, "inference_mode", torch.no_grad)
        patch.setattr(Encoder, "encode_pixels", plain)
        yield torch.device(DEVICE)


def test_images_patches_and_texts_lie_on_the_device_of_their_encoder(device, tmp_path):
    data, knowledge = load_dataset("phantom-cataract", n=3), KnowledgeBase.load("phantom-cataract")
    model = load_encoder("phantom")
    found = [model.encode_images(data, cache=folder, progress=False) for folder in (None, tmp_path, tmp_path)]
    patches, bank = model.encode_patches(data, progress=False), model.encode_knowledge(knowledge)
    rows = [*(each.images for each in found), patches.tokens, patches.features.images]
    assert {one.device for one in [*rows, *(each.labels for each in found), bank.names]} == {device}
    first, made, again = (each.images.cpu() for each in found)
    assert torch.equal(made, again) and torch.allclose(first, made, atol=1e-6)


@pytest.fixture
def numpy_as_it_was():
    yield
    if "numpy" in vars(torch.Tensor):
        del torch.Tensor.numpy


@pytest.mark.slow
# torch warns where figures draw tensors
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_on_the_device_and_its_statements_are_measured_there(
    page, device, numpy_as_it_was, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads((BOOK / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code" and not is_setup(cell):
            exec(compile("".join(cell["source"]), f"{page}, cell {number}", "exec"), names)
    assert names["device"] == device and names["encoder"].device == device
    rows = measure(read_claims(PAGES[page]), names).rows
    assert [row.error for row in rows if row.error] == []


@pytest.mark.filterwarnings("ignore::UserWarning")  # what few images make the method warn of
def test_a_folder_is_classified_on_the_device_and_a_saved_model_follows_its_encoder(device, tmp_path):
    data = load_dataset("phantom-cataract", split="dev", n=12)
    lines = ["path,label"]
    for number in range(len(data)):
        data[number][0].save(tmp_path / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{data.class_names[data.labels[number]]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    given = {"encoder": "phantom", "classifier": "kpl", "labels": tmp_path / "labels.csv", "progress": False}
    run = classify_folder(tmp_path, "phantom-cataract", **given)
    FittedModel.of(run).save(tmp_path / "model.safetensors")
    fitted = FittedModel.load(tmp_path / "model.safetensors")
    found = fitted.predict(tmp_path, run.encoder, progress=False)
    assert run.prediction.scores.device == device and found.labels == run.result.labels
    assert report_facts(run).images["accuracy"].value >= 0 and "phantom-cataract" in render(run)
