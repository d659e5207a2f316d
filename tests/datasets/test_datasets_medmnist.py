"""MedMNIST files are read without the package, checked from their headers, and never unpickled."""

import zipfile

import dataset_layouts as layouts
import numpy as np
import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import card, load_dataset
from kpl_lib.datasets.load import MEDMNIST


@pytest.mark.parametrize(("size", "file"), [(28, "pathmnist.npz"), (64, "pathmnist_64.npz")])
def test_splits_sizes_and_pixels(tmp_path, size, file):
    arrays = layouts.medmnist(tmp_path, file, size)
    test, whole = (load_dataset("medmnist-path", tmp_path, split, size=size) for split in (None, "all"))
    assert (len(test), len(whole), test.labels) == (9, 19, arrays["test_labels"].ravel().tolist())
    for i in (0, 5, 6, 9, 10, 18):  # the ends of the three parts
        part, row = (("train", i), ("val", i - 6), ("test", i - 10))[(i > 5) + (i > 9)]
        assert np.array_equal(np.asarray(whole[i][0]), arrays[f"{part}_images"][row])
    assert test.class_names[0] == "adipose tissue" and test[0][0].size == (size, size)
    word = "" if size == 28 else f"/{size}"
    assert (test.name, whole.name) == (f"medmnist-path{word}", f"medmnist-path{word}/all")
    same = load_dataset(f"medmnist-path/{size}/val", tmp_path)
    assert len(same) == 4 and len({test.fingerprint, whole.fingerprint, same.fingerprint}) == 3


def test_grey_images_become_rgb_and_content_changes_the_fingerprint(tmp_path):
    layouts.medmnist(tmp_path, "pneumoniamnist.npz", classes=2, colour=False)
    first = load_dataset("medmnist-pneumonia", tmp_path)
    assert first[0][0].mode == "RGB"
    with np.load(tmp_path / "pneumoniamnist.npz") as file:
        arrays = dict(file)
    arrays["test_images"][3, 5, 5] ^= 1
    np.savez_compressed(tmp_path / "pneumoniamnist.npz", **arrays)
    assert load_dataset("medmnist-pneumonia", tmp_path).fingerprint != first.fingerprint


def swap(path, **changed):
    with np.load(path) as file:
        arrays = dict(file) | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"test_images": np.array([None] * 9)}, "test_images is object"),
        ({"test_images": np.zeros((9, 64, 64, 3), np.uint8)}, "another size"),
        ({"test_images": np.zeros((9, 28, 28), np.float32)}, "float32"),
        ({"test_labels": np.zeros((9, 14), np.uint8)}, "not one number an image"),
        ({"test_labels": np.zeros((8, 1), np.uint8)}, "not one number an image"),
        ({"test_labels": np.full((9, 1), 9, np.uint8)}, "label 9, but there are 9 classes"),
        ({"test_labels": np.full((9, 1), -1)}, "label -1"),
        ({"test_labels": np.array([[None]] * 9)}, "labels is object"),
        ({"test_images": None}, "broken or no MedMNIST file"),
    ],
)
def test_files_of_another_kind_are_refused_without_unpickling(tmp_path, changed, said):
    layouts.medmnist(tmp_path)
    swap(tmp_path / "pathmnist.npz", **changed)
    with pytest.raises(InputError, match=rf"pathmnist\.npz: .*{said}"):
        load_dataset("medmnist-path", tmp_path)


def test_broken_missing_and_too_large_files(tmp_path, monkeypatch):
    layouts.medmnist(tmp_path)
    path = tmp_path / "pathmnist.npz"
    whole = path.read_bytes()
    with pytest.raises(InputError, match=r"pathmnist_128\.npz: no such file"):
        load_dataset("medmnist-path/128", tmp_path)
    with pytest.raises(InputError, match="unknown variant '30'; known: 28, 64, 128, 224"):
        load_dataset("medmnist-path", tmp_path, size=30)
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="broken or no MedMNIST file"):
            load_dataset("medmnist-path", tmp_path)
    with zipfile.ZipFile(path, "w") as archive:  # a header that announces more than the memory holds
        for what, shape in (("images", "(900000000, 28, 28)"), ("labels", "(900000000, 1)")):
            header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            archive.writestr(
                f"test_{what}.npy", b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode()
            )
    monkeypatch.setattr("os.sysconf", lambda name: 4096 if "SIZE" in name else 4_000_000)
    with pytest.raises(InputError, match="706 GB of images, more than half of the memory"):
        load_dataset("medmnist-path", tmp_path)


CARDS = {flag: [card(f"medmnist-{flag}/{size}") for size in (28, 64, 128, 224)] for flag in MEDMNIST.split()}


def test_every_set_has_classes_numbers_and_checksums():
    archives = [facts.archives[0] for sizes in CARDS.values() for facts in sizes]
    assert len({archive.checksum for archive in archives}) == 44
    assert all(len(archive.checksum) == 36 and not archive.packed for archive in archives)
    for flag, sizes in CARDS.items():
        assert {facts.name.split("/")[0] for facts in sizes} == {f"medmnist-{flag}"} and sizes[0].title
        assert len({facts.class_names for facts in sizes}) == 1 and len({str(f.images) for f in sizes}) == 1
        counts = sizes[0].images
        assert counts["all"] == sum(counts[split] for split in ("train", "val", "test"))
        assert counts[""] == counts["test"]
    assert card("medmnist-path").images["test"] == 7_180
    assert card("medmnist-path/28/val") == card("medmnist-path") != card("medmnist-path/64/val")
    assert card("medmnist-path/64").archives[0].url.endswith("/pathmnist_64.npz?download=1")


def test_the_table_is_that_of_the_package():
    INFO = pytest.importorskip("medmnist.info").INFO  # not needed otherwise
    for flag, sizes in CARDS.items():
        info = INFO[f"{flag}mnist"]
        assert len(info["label"]) == len(sizes[0].class_names)
        assert info["n_samples"] == {split: sizes[0].images[split] for split in ("train", "val", "test")}
        for facts, word in zip(sizes, ("", "_64", "_128", "_224"), strict=True):
            archive = facts.archives[0]
            assert (f"md5:{info[f'MD5{word}']}", info[f"url{word}"]) == (archive.checksum, archive.url)


def test_the_real_file(shared):
    path = shared("real/pneumoniamnist.npz")
    dataset = load_dataset("medmnist-pneumonia", path.parent)
    assert len(dataset) == 468 and dataset.class_names == ("normal lungs", "pneumonia")
    assert (dataset.labels.count(0), dataset.labels.count(1)) == (234, 234)
    assert load_dataset("medmnist-pneumonia", path).labels == dataset.labels
    assert len(load_dataset("medmnist-pneumonia", path.parent, split="all")) == 3166
    assert dataset[0][0].size == (28, 28) and dataset[0][0].mode == "RGB"
