"""The face: twenty names, imported when they are first used, and the name of a method."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import kpl_lib as kpl
from kpl_lib.cli.own import classify, fit

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", kpl.HOMES)
def test_every_name_is_there_and_is_what_its_module_defines(name):
    found = getattr(kpl, name)
    assert name in dir(kpl) and found.__module__ == f"kpl_lib.{kpl.HOMES[name]}" and found.__name__ == name


def test_the_recommended_method_is_there_and_is_what_a_folder_is_classified_with():
    defaults = [
        inspect.signature(f).parameters["classifier"].default for f in (kpl.classify_folder, classify, fit)
    ]
    assert defaults == [kpl.RECOMMENDED] * 3 and kpl.create(kpl.RECOMMENDED).name == kpl.RECOMMENDED


def test_a_name_that_is_not_there_is_said():
    with pytest.raises(AttributeError, match="module 'kpl_lib' has no attribute 'load_datsets'"):
        kpl.load_datsets  # noqa: B018


@pytest.mark.parametrize(
    "what", ["import kpl_lib as kpl; kpl.data_dir, kpl.InputError", "import kpl_lib.encoders.table"]
)
def test_it_is_light(what):
    code = f"{what}; import sys; print([m for m in ('torch', 'pandas', 'matplotlib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
