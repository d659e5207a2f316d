"""`kpl encode`: features of a folder or dataset in one file, or one line that says why not."""

import re
import sys

import pytest
import torch
from encoding_world import write_images
from tiny_encoder import write_tiny_encoder

from kpl_lib import cli
from kpl_lib.encoders import load_encoder
from kpl_lib.features import Features
from kpl_lib.patches import Patches


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture
def kpl(monkeypatch, capsys, tmp_path, encoder):
    """Run `kpl encode` with these arguments; give exit code, output and errors."""
    monkeypatch.setenv("KPL_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        plain = ["--encoder", encoder, "--device", "cpu", "--workers", "0"]
        monkeypatch.setattr(sys, "argv", ["kpl", "encode", *plain, *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def test_a_folder_becomes_one_file_and_the_second_run_reads_the_cache(kpl, tmp_path, monkeypatch, encoder):
    write_images(tmp_path / "Röntgen", 5)
    code, _, err = kpl(
        "--images", tmp_path / "Röntgen", "--out", tmp_path / "f.safetensors", "--batch-size", 2
    )
    assert code == 0 and "f.safetensors: 5 x 16 features of folder Röntgen" in err
    found = Features.load(tmp_path / "f.safetensors")
    from kpl_lib.datasets import load_dataset

    data = load_dataset("folder", tmp_path / "Röntgen")
    plain = load_encoder(encoder, "cpu").encode_images(data, batch_size=2, progress=False)
    torch.testing.assert_close(found.images, plain.images, atol=1e-6, rtol=0)
    assert found.meta["paths"] == plain.meta["paths"]
    if data.fingerprint:
        monkeypatch.setattr(
            "kpl_lib.encoders.Encoder.encode_pixels", lambda *_, **__: pytest.fail("encoded again")
        )
        code, _, _ = kpl("--images", tmp_path / "Röntgen", "--out", tmp_path / "g.safetensors")
        assert code == 0 and torch.equal(Features.load(tmp_path / "g.safetensors").images, found.images)


def test_a_dataset_with_patches_and_precision(kpl, tmp_path):
    arguments = (
        "--dataset",
        "phantom-chest/seen",
        "--split",
        "dev",
        "--out",
        tmp_path / "p.safetensors",
        "--patches",
    )
    with pytest.MonkeyPatch.context() as patched:
        from kpl_lib.datasets import load

        plain = load.load_dataset
        patched.setattr(load, "load_dataset", lambda name, root, split: plain(name, root, split, n=3))
        code, _, err = kpl(*arguments, "--precision", "mixed", "--cache", tmp_path / "elsewhere")
    assert code == 0, err
    found = Patches.load(tmp_path / "p.safetensors")
    assert len(found) == 3 and found.features.meta["dataset"].endswith("dev")
    assert re.search(
        r"kpl: mixed precision against float32 on 3 images: \d nearest class names are the same, cosines from 0\.9",
        err,
    )
    assert list((tmp_path / "elsewhere").glob("*-patches-*.safetensors"))


def test_bad_files_are_told_by_name_and_skipped_where_asked(kpl, tmp_path):
    paths = write_images(tmp_path / "images", 4)
    paths[1].write_bytes(b"")
    paths[2].write_bytes(b"Dear doctor")
    arguments = ("--images", tmp_path / "images", "--out", tmp_path / "f.safetensors")
    code, _, err = kpl(*arguments)
    assert code == 2 and "2 of 4 images cannot be read, the first: " in err and "001.png: empty" in err
    assert not (tmp_path / "f.safetensors").exists()
    code, _, err = kpl(*arguments, "--skip-unreadable")
    assert code == 0 and len(Features.load(tmp_path / "f.safetensors")) == 2
    listed = err[err.index("skipped 2 unreadable:") :]
    assert "001.png: empty" in listed and "002.png: not an image" in listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "f.safetensors"), "either --dataset NAME or --images FOLDER"),
        (
            ("--images", "a", "--dataset", "b", "--out", "f.safetensors"),
            "either --dataset NAME or --images FOLDER",
        ),
        (("--images", "a"), "--out is missing"),
        (("--images", "a", "--out", "f.npz"), r"let the name end in .safetensors"),
        (("--images", "a", "--root", "b", "--out", "f.safetensors"), "belong to --dataset"),
        (("--images", "nowhere", "--out", "f.safetensors"), "nowhere: no such folder"),
        (("--images", ".", "--out", "nowhere/f.safetensors"), "the folder nowhere does not exist"),
        (("--dataset", "phantom-chset", "--out", "f.safetensors"), "did you mean 'phantom-chest'"),
        (("--dataset", "phantom-chest", "--out", "f.safetensors", "--precision", "fp8"), "precision 'fp8'"),
        (("--dataset", "phantom-chest", "--out", "f.safetensors", "--batch-size", "0"), "batch_size"),
        (("--dataset", "phantom-chest", "--out", "f.safetensors", "--workers", "-1"), "workers must be"),
    ],
)
def test_wrong_arguments_are_one_line(kpl, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = kpl(*arguments)
    assert code == 2 and said in err and err.strip().count("\n") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_download_only_needs_nothing_else(kpl):
    code, out, _ = kpl("--encoder", "phantom", "--download-only")
    assert code == 0 and out.startswith("phantom: ")
