"""A phantom encoder is at home among phantoms: of any variant, and of nothing else."""

import itertools
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from kpl_lib import cli
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.load import load_dataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.load import available
from kpl_lib.encoders.phantom_world import COUNTS, distances, far_from_phantoms, nearest_quarter, refuse_far

VARIANTS = [
    "/".join(parts)
    for parts in itertools.product(
        ("phantom-chest", "phantom-retinopathy", "phantom-malaria", "phantom-cataract"),
        ("seen", "unseen"),
        ("even", "skewed"),
    )
]
IMAGES = 12


def noise(count=IMAGES):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]


def photographs(count=IMAGES):
    rng, found = np.random.default_rng(0), []
    for i in range(count):
        picture = load_sample_images().images[i % 2]
        y, x = rng.integers(0, picture.shape[0] - 200), rng.integers(0, picture.shape[1] - 200)
        found.append(Image.fromarray(picture[y : y + 200, x : x + 200]))
    return found


def radiographs(shared, count=IMAGES):
    pixels = np.load(shared("real/pneumoniamnist.npz"))["train_images"]
    return [Image.fromarray(x) for x in pixels[:: len(pixels) // count][:count]]


def features_of(encoder, pictures):
    names = [f"{i}.png" for i in range(len(pictures))]
    data = ImageDataset("some", lambda i: pictures[i].convert("RGB"), names)
    return encoder.encode_images(data, progress=False).images


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_phantoms_is_accepted(variant):
    encoder = load_encoder("phantom", "cpu")
    features = encoder.encode_images(load_dataset(variant, n=IMAGES), progress=False).images
    assert far_from_phantoms(["phantom"], [features]) is None


@pytest.mark.parametrize("name", available())
def test_noise_photographs_and_radiographs_are_refused_by_each_phantom_encoder(name, shared):
    encoder = load_encoder(name, "cpu")
    for pictures in (noise(), photographs(), radiographs(shared)):
        for count in (8, IMAGES):
            features = features_of(encoder, pictures[:count])
            assert "far from the synthetic phantoms" in far_from_phantoms([name], [features])


def test_the_check_names_the_cure_and_gives_way_when_it_is_meant():
    features = features_of(load_encoder("phantom", "cpu"), noise())
    with pytest.raises(InputError, match=r"--encoder.*--accept-phantom") as caught:
        refuse_far(["phantom"], [features], accept=False)
    assert "\n" not in str(caught.value)
    assert refuse_far(["phantom"], [features], accept=True) == far_from_phantoms(["phantom"], [features])


def test_other_encoders_are_not_judged_and_one_of_several_is():
    far = features_of(load_encoder("phantom", "cpu"), noise())
    assert far_from_phantoms(["path:mine"], [far]) is None
    assert "'phantom'" in far_from_phantoms(["path:mine", "phantom"], [torch.eye(3), far])


def test_what_is_no_number_is_far():
    assert far_from_phantoms(["phantom"], [torch.full((3, 128), torch.nan)]) is not None


def test_distance_by_its_definition():
    rows, mean = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    half = torch.randn(3, 3, dtype=torch.float64)
    inverse = half @ half.T
    whitening = torch.linalg.cholesky(inverse)
    plain = [((row - mean) @ inverse @ (row - mean) / 3).sqrt() for row in rows]
    torch.testing.assert_close(distances(rows, mean, whitening), torch.stack(plain))
    assert nearest_quarter(torch.arange(8.0)) == 1 and nearest_quarter(torch.tensor([7.0])) == 7
    assert COUNTS[0] == 1 and sorted(COUNTS) == list(COUNTS)


@pytest.fixture
def folders(tmp_path, shared):
    made = {"noise": noise(), "photographs": photographs(), "radiographs": radiographs(shared)}
    for name, pictures in made.items():
        (tmp_path / name).mkdir()
        for i, picture in enumerate(pictures):
            picture.save(tmp_path / name / f"{i:02d}.png")
    return tmp_path


@pytest.fixture
def kpl(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kpl", *map(str, arguments)])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cli.main()
            return 0, capsys.readouterr().err.strip().splitlines()
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err.strip().splitlines()

    return run


def test_no_folder_becomes_a_table_of_nonsense(folders, kpl):
    out, before = folders / "t.csv", sorted(folders.rglob("*"))
    for name in ("noise", "photographs", "radiographs"):
        plain = ("classify", "--images", folders / name, "--knowledge", "phantom-chest", "--out", out)
        code, err = kpl(*plain)
        assert code == 2 and len(err) == 1 and "BiomedCLIP" in err[0] and "'phantom' knows" in err[0]
        code, err = kpl(*plain, "--encoder", "phantom", "--device", "cpu")
        assert code == 2 and "far from the synthetic phantoms" in err[-1] and "--accept-phantom" in err[-1]
    assert sorted(folders.rglob("*")) == before


def test_the_flag_writes_the_warning_into_table_report_and_output(folders, kpl):
    named = ("--encoder", "phantom", "--device", "cpu", "--accept-phantom", "--classifier", "cupl")
    made = ("--out", folders / "t.csv", "--report", folders / "r.html")
    code, err = kpl("classify", "--images", folders / "noise", "--knowledge", "phantom-chest", *made, *named)
    said = "far from the synthetic phantoms"
    assert code == 0 and any(said in line for line in err)
    head, *rows = (folders / "t.csv").read_text().splitlines()
    assert head.endswith(",warning") and len(rows) == IMAGES and all(said in row for row in rows)
    assert "The encoder does not know such images" in (folders / "r.html").read_text()


def test_a_fitted_model_refuses_other_images_too(folders, kpl, tmp_path):
    (tmp_path / "phantoms").mkdir()
    for i, (picture, _) in enumerate(load_dataset("phantom-chest", n=IMAGES)):
        picture.save(tmp_path / "phantoms" / f"{i}.png")
    model, named = tmp_path / "m.safetensors", ("--encoder", "phantom", "--device", "cpu")
    knowledge = ("--knowledge", "phantom-chest", "--classifier", "cupl")
    assert kpl("fit", "--images", tmp_path / "phantoms", *knowledge, "--out", model, *named)[0] == 0
    code, err = kpl("predict", model, folders / "noise", "--out", tmp_path / "t.csv", "--device", "cpu")
    assert code == 2 and "--accept-phantom" in err[-1] and not (tmp_path / "t.csv").exists()
    code, _ = kpl("predict", model, folders / "noise", "--out", tmp_path / "t.csv", "--accept-phantom")
    assert code == 0 and "far from" in (tmp_path / "t.csv").read_text()


def test_encoding_a_folder_asks_for_an_encoder_and_refuses_the_wrong_one(folders, kpl):
    plain = ("encode", "--images", folders / "noise", "--out", folders / "f.safetensors", "--device", "cpu")
    code, err = kpl(*plain)
    assert code == 2 and len(err) == 1 and "--encoder is missing" in err[0]
    code, err = kpl(*plain, "--encoder", "phantom", "--cache", folders / "cache")
    assert code == 2 and "--accept-phantom" in err[-1] and not (folders / "f.safetensors").exists()
