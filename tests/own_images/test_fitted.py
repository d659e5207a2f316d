"""A fitted model in one file: the same predictions later, and only with the encoder it was fitted with."""

import json
import shutil

import pytest
import torch
from own_world import write_images, write_knowledge
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.encoders import load_encoder
from kpl_lib.features import Features
from kpl_lib.own_images.classify import classify_folder
from kpl_lib.own_images.fitted import FittedModel

METHODS = ("kpl", "kpl-adaptive", "kpl-em", "kpl-closed-form", "clip", "cupl", "otter", "waffle", "ss-text")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("fitted")
    encoder = write_tiny_encoder(base / "tiny")
    images, knowledge = write_images(base / "images"), write_knowledge(base / "pets.json")
    return base, images, knowledge, encoder


@pytest.fixture(scope="module")
def fitted(world):
    """A run of kpl over the folder, and the model that was saved and loaded."""
    base, images, knowledge, encoder = world
    run = classify_folder(images, knowledge, encoder=encoder, k=2, progress=False)
    FittedModel.of(run).save(base / "model.safetensors")
    return run, FittedModel.load(base / "model.safetensors")


@pytest.mark.filterwarnings("ignore:k = 8 is clipped")
@pytest.mark.filterwarnings("ignore:.*kpl-adaptive stays with the text:UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_says_of_the_fitted_images_what_classify_said(method, world, tmp_path):
    _, images, knowledge, encoder = world
    run = classify_folder(images, knowledge, encoder=encoder, classifier=method, progress=False)
    FittedModel.of(run).save(tmp_path / "m.safetensors")
    found = FittedModel.load(tmp_path / "m.safetensors").predict(images, run.encoder, progress=False)
    assert found.paths == run.result.paths and found.labels == run.result.labels
    assert found.descriptions == run.result.descriptions
    assert torch.equal(found.probabilities, run.result.probabilities)


@pytest.mark.filterwarnings("ignore:k = 8 is clipped")
def test_methods_that_read_neighbours_place_images_one_by_one(world, tmp_path):
    _, images, knowledge, encoder = world
    run = classify_folder(images, knowledge, encoder=encoder, classifier="zlap", progress=False)
    FittedModel.of(run).save(tmp_path / "m.safetensors")
    found = FittedModel.load(tmp_path / "m.safetensors").predict(images, run.encoder, progress=False)
    assert torch.equal(found.probabilities, run.classifier.predict(run.features).probabilities)


def test_one_new_image_gets_its_own_row(fitted):
    run, model = fitted
    encoder = model.open_encoder()
    for i in (0, 7):
        found = model.predict(run.result.paths[i], encoder, progress=False)
        assert found.labels == (run.result.labels[i],)
        assert found.descriptions == (run.result.descriptions[i],)
        assert torch.allclose(found.probabilities, run.result.probabilities[i : i + 1], atol=1e-5)


def test_the_file_carries_texts_names_and_origin(fitted):
    run, model = fitted
    assert model.class_names == run.knowledge.class_names
    for name, texts, chosen in zip(model.class_names, model.bank.texts, run.classifier.chosen, strict=True):
        assert {run.knowledge.classes[name][i] for i in chosen} == set(texts)
    assert model.origin["knowledge"] == "pets" and "not reviewed" in model.origin["written by"]
    assert model.origin["images"] == "24 of folder images"


def test_another_encoder_is_refused_and_a_moved_one_is_not(fitted, world, tmp_path):
    _, model = fitted
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match=r"is not the one that the model was fitted with .* --encoder"):
        model.open_encoder(other)
    with pytest.raises(InputError, match="is not the one"):
        model.predict(world[1], load_encoder(other), progress=False)
    moved = shutil.copytree(world[0] / "tiny", tmp_path / "moved")
    assert model.open_encoder(f"path:{moved}").fingerprint == model.fingerprint


def spoil(tmp_path, world):
    """Files that are no model: nothing, a table, half a model, features, and a model of another version."""
    whole = (world[0] / "model.safetensors").read_bytes()
    yield tmp_path / "nowhere.safetensors", r"nowhere\.safetensors: no such file"
    for name, content in (("table.csv", b"path,label\n"), ("half.safetensors", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        yield tmp_path / name, r"no fitted model .* name a file that `kpl fit` wrote"
    Features(torch.eye(2)).save(tmp_path / "features.safetensors")
    yield tmp_path / "features.safetensors", "no fitted model .*holds no FittedModel"
    tensors, header = read_tensors(world[0] / "model.safetensors", "FittedModel")
    for change in (
        {"texts": [["one"]]},
        {"classifier": {"name": "klp", "parameters": {}}},
        {"encoder": None},
    ):
        changed = {key: value for key, value in {**header, **change}.items() if value is not None}
        write_tensors(tmp_path / "changed.safetensors", "FittedModel", tensors, changed)
        yield tmp_path / "changed.safetensors", "a fitted model that this version cannot read .* fit it again"


def test_what_is_no_model_is_refused_in_one_line(fitted, world, tmp_path):
    for path, said in spoil(tmp_path, world):
        with pytest.raises(InputError, match=said) as error:
            FittedModel.load(path)
        assert "\n" not in str(error.value)


def test_nothing_is_written_where_saving_fails(fitted, tmp_path):
    run, _ = fitted
    with pytest.raises(InputError, match="does not exist; create it first"):
        FittedModel.of(run).save(tmp_path / "nowhere" / "m.safetensors")
    broken = FittedModel.of(run)
    broken.origin["bad"] = {1, 2}
    with pytest.raises(InputError, match="holds what JSON cannot"):
        broken.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_header_is_plain_json_without_paths_of_this_machine(fitted, world):
    raw = (world[0] / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])["__metadata__"]["kpl"]
    assert "p00_00.png" not in header


def test_several_encoders_are_fitted_saved_and_asked_as_one(world, tmp_path):
    _, images, knowledge, encoder = world
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    run = classify_folder(images, knowledge, encoder=[encoder, other], k=2, progress=False)
    alone = classify_folder(images, knowledge, encoder=encoder, k=2, progress=False)
    assert run.features.images.shape[1] == 2 * alone.features.images.shape[1]
    assert run.encoder.name == f"{encoder} + {other}" and run.result.paths == alone.result.paths
    FittedModel.of(run).save(tmp_path / "m.safetensors")
    model = FittedModel.load(tmp_path / "m.safetensors")
    assert torch.equal(model.predict(images, progress=False).probabilities, run.result.probabilities)
    with pytest.raises(InputError, match=r"fitted with 2 encoders \(.* \+ .*\), 1 given: name all of them"):
        model.open_encoder(encoder)
    with pytest.raises(InputError, match="is not the one that the model was fitted with"):
        model.open_encoder([other, encoder])
    with pytest.raises(InputError, match="is named twice"):
        classify_folder(images, knowledge, encoder=[encoder, encoder], progress=False)
    with pytest.raises(InputError, match="patches of several encoders cannot be joined"):
        classify_folder(images, knowledge, encoder=[encoder, other], classifier="calip", progress=False)
