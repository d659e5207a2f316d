"""Datasets by name, and folders of images."""

import os
from types import SimpleNamespace

import pytest
from PIL import Image

from kpl_lib import datasets
from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset, available, load_dataset


def put(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade).save(path)


def test_a_flat_folder_is_read_in_name_order_without_labels(tmp_path):
    for name, shade in (("b.PNG", 20), ("a.jpg", 10), ("é.tif", 30)):
        put(tmp_path / name, shade)
    put(tmp_path / ".hidden.png")
    put(tmp_path / "sub" / "c.png")
    (tmp_path / "notes.txt").write_text("no image")
    dataset = load_dataset("folder", tmp_path)
    assert [os.path.basename(path) for path in dataset.paths] == ["a.jpg", "b.PNG", "é.tif"]
    assert (dataset.labels, dataset.class_names, len(dataset)) == (None, (), 3)
    image, label = dataset[1]
    assert (image.mode, image.getpixel((0, 0)), label) == ("RGB", (20, 20, 20), None)


def test_subfolders_are_classes_when_asked(tmp_path):
    for name in ("normal/1.png", "normal/2.png", "cataract/1.png"):
        put(tmp_path / name)
    (tmp_path / "empty").mkdir()
    dataset = load_dataset("folder", tmp_path, labelled=True)
    assert (dataset.class_names, dataset.labels) == (("cataract", "normal"), [0, 1, 1])
    assert [label for _, label in dataset] == [0, 1, 1]


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda root: None, {}, "no images in it .put files"),
        (lambda root: put(root / "sub" / "a.png"), {}, "1 subfolders, such as 'sub'"),
        (lambda root: put(root / "a.png"), {"labelled": True}, "no subfolders with images"),
        (lambda root: put(root / "a.png"), {"split": "test"}, "no split 'test'"),
        (lambda root: put(root / "a.png"), {"recursive": True}, "recursive"),
    ],
)
def test_folders_that_hold_nothing_say_what_to_do(tmp_path, make, options, said):
    make(tmp_path)
    with pytest.raises(InputError, match=said):
        load_dataset("folder", tmp_path, **options)


def test_a_folder_that_is_missing_or_a_file(tmp_path):
    put(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such folder"):
        load_dataset("folder", tmp_path / "nowhere")
    with pytest.raises(InputError, match="a file, not a folder"):
        load_dataset("folder", tmp_path / "a.png")
    with pytest.raises(InputError, match="needs root"):
        load_dataset("folder")


def test_links_do_not_loop_and_broken_ones_are_not_passed_over(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone.png")
    dataset = load_dataset("folder", tmp_path)
    assert len(dataset) == 2
    with pytest.raises(InputError, match=r"lost\.png: no such file"):
        dataset[1]


def test_unknown_names_say_the_nearest():
    with pytest.raises(InputError, match="did you mean 'phantom-malaria'"):
        load_dataset("phantom-malria")
    with pytest.raises(InputError, match="known: phantom-chest"):
        load_dataset("zzz")


@pytest.fixture
def drawn(monkeypatch):
    """Calls that reach the phantom family."""
    calls = []

    def load(name, *, scanner="unseen", balance="even", split="test", n=2000, seed=0):
        calls.append((name, scanner, balance, split, n, seed))

    monkeypatch.setattr(datasets.load, "import_module", lambda name: SimpleNamespace(load=load))
    return calls


def test_phantom_variants_stand_in_the_name_or_beside_it(drawn):
    load_dataset("phantom-chest/seen/skewed", n=5)
    load_dataset("phantom-cataract", split="dev", scanner="seen", seed=3)
    load_dataset("phantom-chest/unseen", scanner="unseen")
    assert drawn == [
        ("phantom-chest", "seen", "skewed", "test", 5, 0),
        ("phantom-cataract", "seen", "even", "dev", 2000, 3),
        ("phantom-chest", "unseen", "even", "test", 2000, 0),
    ]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("phantom-chest/odd", {}, "unknown variant 'odd'"),
        ("phantom-chest/seen", {"scanner": "unseen"}, "say it once"),
        ("phantom-chest/seen/unseen", {}, "say it once"),
        ("phantom-chest", {"root": "x"}, "leave root out"),
        ("phantom-chest", {"colour": 1}, "unexpected keyword argument 'colour'; leave it out"),
        ("folder/seen", {"root": "x"}, "not in the name"),
    ],
)
def test_variants_and_options_that_do_not_exist(drawn, name, options, said):
    with pytest.raises(InputError, match=said):
        load_dataset(name, **options)


def test_phantom_names_are_those_of_the_phantom_family():
    from kpl_lib.datasets.sets import phantom

    assert set(phantom.NAMES) < set(available())
    dataset = load_dataset("phantom-chest/seen/skewed", n=3, split="dev")
    assert (len(dataset), dataset[0][0].mode) == (3, "RGB")


def test_lengths_and_labels_are_checked():
    blank = Image.new("RGB", (2, 2))
    with pytest.raises(InputError, match="1 labels for 2 images"):
        ImageDataset("x", lambda i: blank, ["a", "b"], ("cat",), [0])
    with pytest.raises(InputError, match=r"label 1 is not in 0\.\.0"):
        ImageDataset("x", lambda i: blank, ["a"], ("cat",), [1])
    with pytest.raises(InputError, match="groups"):
        ImageDataset("x", lambda i: blank, ["a"], groups=["p", "q"])


def test_subset_and_negative_numbers():
    shades = [Image.new("L", (1, 1), shade).convert("RGB") for shade in range(4)]
    dataset = ImageDataset("x", lambda i: shades[i], "abcd", ("u", "v"), [0, 1, 0, 1], ["p", "p", "q", "q"])
    part = dataset.subset([3, 0])
    assert (part.paths, part.labels, part.groups) == (("d", "a"), [1, 0], ["q", "p"])
    assert part[-1][0].getpixel((0, 0)) == (0, 0, 0) and part[0][0].getpixel((0, 0)) == (3, 3, 3)
    with pytest.raises(IndexError):
        part[2]
