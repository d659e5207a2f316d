"""Version 0.1: its names are found at their old places for one release; what it saved is read, or said to be old."""

import importlib
import json
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import kpl_lib
from kpl_lib.classifiers import Classifier
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.features import Features
from kpl_lib.own_images import FittedModel

ROOT = Path(__file__).resolve().parents[2]
MOVED = json.loads((data_dir() / "moved.json").read_text(encoding="utf-8"))
SAVED = ROOT / "tests" / "worlds" / "saved_by_0_1"  # written by the code of 0.1, with what it predicted
EXPECTED = load_file(SAVED / "expected.safetensors")
METHODS = sorted(EXPECTED.keys() - {"images", "model"})


@pytest.mark.parametrize(("old", "new"), MOVED["modules"].items())
def test_an_old_module_leads_to_one_that_is_there(old, new):
    assert (
        importlib.util.find_spec(f"kpl_lib.{new}").loader
        is not importlib.util.find_spec(f"kpl_lib.{old}").loader
    )
    parent, _, name = f"kpl_lib.{old}".rpartition(".")
    assert (
        name not in dir(importlib.import_module(parent)) or f"{parent}.{name}" in sys.modules
    )  # it would be hidden
    assert not (ROOT / "kpl_lib" / f"{old.replace('.', '/')}.py").exists()


@pytest.mark.parametrize(("old", "new"), MOVED["names"].items())
def test_a_renamed_thing_is_found_and_its_new_name_is_said(old, new):
    module, _, name = old.rpartition(".")
    home, _, now = new.rpartition(".")
    with pytest.warns(DeprecationWarning, match=rf"kpl_lib\.{old} is kpl_lib\.{new} since 0\.2") as caught:
        found = getattr(importlib.import_module(f"kpl_lib.{module}"), name)
    assert found is getattr(importlib.import_module(f"kpl_lib.{home}"), now)
    assert caught[0].filename == __file__


def test_an_old_import_line_works_and_warns_where_it_stands():
    with pytest.warns(DeprecationWarning, match=r"knowledge\.controls\.with_controls") as caught:
        from kpl_lib.controls import with_controls
    from kpl_lib.knowledge.controls import with_controls as now

    assert with_controls is now and caught[0].filename == __file__ and len(caught) == 1
    with pytest.warns(DeprecationWarning):
        assert pickle.loads(b"ckpl_lib.ridge\nRidgeSystem\n.").__module__ == "kpl_lib.solvers.ridge"


def test_a_name_that_went_and_a_module_that_never_was_are_errors():
    with pytest.raises(ImportError, match="cannot import name 'swap_offsets'"):
        from kpl_lib.controls import swap_offsets  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"kpl_lib\.controllers"):
        importlib.import_module("kpl_lib.controllers")


def test_no_file_of_the_house_uses_an_old_name():
    old = re.compile(rf"\bkpl_lib\.({'|'.join(map(re.escape, MOVED['modules']))})\b")
    files = [
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "_config.yml")
    ]
    for part, ends in (
        ("kpl_lib", ("*.py",)),
        ("book", ("*.py", "*.md", "*.ipynb")),
        ("data", ("*.toml", "*.md")),
    ):
        files += [file for end in ends for file in (ROOT / part).rglob(end)]
    assert {str(f): m[0] for f in files if (m := old.search(f.read_text(encoding="utf-8")))} == {}
    assert kpl_lib.__version__.startswith("0.2")  # with 0.3 the table goes


@pytest.mark.parametrize("method", METHODS)
def test_a_classifier_that_0_1_saved_predicts_the_same_or_says_how_to_make_it_again(method):
    try:
        prediction = Classifier.load(SAVED / f"{method}.safetensors").predict(EXPECTED["images"])
    except InputError as error:
        assert "fit it again" in str(error) and "\n" not in str(error)
    else:
        torch.testing.assert_close(prediction.probabilities, EXPECTED[method], atol=1e-5, rtol=0)


def test_a_model_and_features_that_0_1_saved_are_read():
    model = FittedModel.load(SAVED / "model.safetensors")
    features = Features.load(SAVED / "features.safetensors")
    torch.testing.assert_close(model.classifier.predict(features.images).probabilities, EXPECTED["model"])
    assert model.open_encoder(device="cpu").name == "phantom"  # the same checksum


def test_an_old_module_has_no_file_and_no_other_name_of_python():
    module = importlib.import_module("kpl_lib.classifiers.clip")
    assert not hasattr(module, "__file__") and not hasattr(module, "__all__")
