"""`kpl knowledge check`, `import` and `export`: what they print and write, and one line for every bad input."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_encoder import write_tiny_encoder

from kpl_lib import cli
from kpl_lib.knowledge import KnowledgeBase

PETS = {
    "name": "pets",
    "classes": {
        "cat": {"descriptions": ["whiskers", {"text": "slit pupils", "visual": True, "tags": ["shape"]}]},
        "dog": {"descriptions": ["a wet nose", "floppy ears"]},
    },
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with a knowledge base, names, and a folder of six images; the working folder of the test."""
    (tmp_path / "pets.json").write_text(json.dumps(PETS))
    (tmp_path / "names.txt").write_text("DOG\ncat\nbudgie\n")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kpl(here, monkeypatch, capsys):
    def run(*arguments):
        """Run `kpl knowledge ...` in this process; return exit code, standard output, standard error."""
        monkeypatch.setattr(sys, "argv", ["kpl", "knowledge", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def test_check_by_words(kpl):
    code, out, err = kpl("check", "pets.json")
    assert (code, err) == (0, "") and out == "pets: 2 classes, 4 descriptions\n  clean\n"
    assert kpl("check", "phantom-chest")[0] == 0


def test_check_against_the_classes_of_a_dataset_a_list_and_a_file(kpl):
    assert kpl("check", "phantom-chest", "--dataset", "phantom-chest/unseen/skewed")[0] == 0
    code, out, _ = kpl("check", "phantom-chest", "--dataset", "phantom-malaria")
    assert code == 1 and "class 'parasitized cell' of the dataset has no descriptions" in out
    code, out, _ = kpl("check", "pets.json", "--dataset", "cub")
    assert (
        code == 1 and "and 194 more of these (missing class)" in out and "'dog' is not in the dataset" in out
    )
    assert len(kpl("check", "pets.json", "--dataset", "cub", "--all")[1].splitlines()) > 200
    code, out, _ = kpl("check", "pets.json", "--dataset", "names.txt")
    assert code == 1 and "'budgie' of the dataset" in out and "another order" in out and "'DOG'" not in out


def test_check_with_encoder_images_and_figure(kpl, here, encoder):
    code, out, _ = kpl("check", "pets.json", "--encoder", encoder)
    assert code == 0 and "Spread with encoder" in out and "Coverage" not in out
    code, out, err = kpl(
        "check", "pets.json", "--encoder", encoder, "--images", "images", "--figure", "f.png"
    )
    assert code == 0 and "Coverage of 6 images" in out and out.endswith("wrote f.png\n"), err
    with Image.open(here / "f.png") as image:
        assert "cat: 2 of 2 kept" in image.info["Description"]


def test_import_and_export_of_each_format_change_no_text(kpl, here):
    for format, suffix in (("cupl", "json"), ("descriptors", "json"), ("kpl", "json"), ("csv", "csv")):
        code, out, err = kpl("export", "pets.json", "--format", format, "--out", f"x.{suffix}")
        assert code == 0 and out == f"wrote x.{suffix}: 2 classes, 4 descriptions\n", err
        code, out, err = kpl("import", f"x.{suffix}", "--format", format, "--out", "y.json")
        assert code == 0 and out == "wrote y.json: 2 classes, 4 descriptions\n", err
        texts = KnowledgeBase.load("y.json").classes
        first, second = (
            ("a photo of a cat, which has whiskers", "a photo of a dog, which has a wet nose")
            if format == "cupl"
            else ("whiskers", "a wet nose")
        )
        assert (texts["cat"][0], texts["dog"][0]) == (first, second)
        assert kpl("check", "y.json")[0] == 0
    assert KnowledgeBase.load("y.json").records["cat"][1].tags == ("shape",)


def test_sections_of_a_kpl_file(kpl):
    assert kpl("export", "pets.json", "--format", "kpl", "--out", "x.json", "--section", "my pets")[0] == 0
    assert kpl("import", "x.json", "--format", "kpl", "--out", "y.json", "--section", "my pets")[0] == 0
    code, _, err = kpl("import", "x.json", "--format", "kpl", "--out", "y.json", "--section", "cars")
    assert code == 2 and "no section 'cars'" in err
    code, _, err = kpl("import", "x.json", "--format", "cupl", "--out", "y.json", "--section", "cars")
    assert code == 2 and "leave it out" in err


def test_imported_classes_are_matched_by_name_and_what_is_left_over_is_said(kpl):
    assert kpl("export", "pets.json", "--format", "descriptors", "--out", "x.json")[0] == 0
    code, out, _ = kpl(
        "import", "x.json", "--format", "descriptors", "--out", "y.json", "--classes", "names.txt"
    )
    assert code == 0 and "2 of 3 classes found" in out and "missing: 'budgie'" in out
    assert KnowledgeBase.load("y.json").classes == {
        "DOG": ["a wet nose", "floppy ears"],
        "cat": ["whiskers", "slit pupils"],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("check nowhere.json", "nowhere.json: no such file"),
        ("check phantom-chset", "did you mean 'phantom-chest'"),
        ("check pets.json --dataset cubb", "did you mean 'cub'"),
        ("check pets.json --dataset phantom-chest/unsen", "unknown variant 'unsen'"),
        ("check pets.json --dataset folder", "unknown classes 'folder'"),
        ("check pets.json --dataset nowhere.txt", "nowhere.txt: no such file"),
        ("check pets.json --encoder phantm", "did you mean 'phantom'"),
        ("check pets.json --images images", "--images needs --encoder"),
        ("check pets.json --encoder phantom --images nowhere", "nowhere: no such folder"),
        ("check pets.json --encoder phantom --figure f.png", "name some with --images"),
        ("check pets.json --encoder phantom --images images --figure f.jpg", "ends in .png or .svg"),
        ("check pets.json --encoder phantom --images images --figure no/f.png", "does not exist"),
        ("import pets.json --format cupls --out y.json", "did you mean 'cupl'"),
        ("import pets.json --format cupl --out y.json", "pets.json: class 'classes' must hold a list"),
        ("import nowhere.csv --format csv --out y.json", "nowhere.csv: no such file"),
        ("import pets.json --format cupl --out pets.json", "--out pets.json: the same file as what is read"),
        ("import pets.json --format cupl --out no/y.json", "the folder no does not exist"),
        ("export pets.json --format json --out y.json", "unknown format 'json'"),
        ("export pets.json --format csv --out ./pets.json", "the same file as what is read"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(kpl, here, arguments, said):
    before = sorted(path.name for path in here.iterdir())
    code, out, err = kpl(*arguments.split())
    assert code == 2 and said in err and err.count("\n") == 1 and err.startswith("kpl: "), err
    assert out == "" and sorted(path.name for path in here.iterdir()) == before
    assert json.loads((here / "pets.json").read_text()) == PETS
