"""Listing and fingerprinting: hostile names and files, what a fingerprint sees, and how fast it is."""

import hashlib
import os
import pickle
import shutil
import time
from dataclasses import replace

import pytest
from dataset_layouts import put
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset, files, load_dataset
from kpl_lib.datasets.check import check_dataset
from kpl_lib.datasets.files import list_folder


def fingerprint(root, **options):
    return load_dataset("folder", root, **options).fingerprint


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name in ("a.png", "b.png", "c.png"):
        put(root / name)
    (root / "large.png").write_bytes(os.urandom(files.WHOLE + 40_000))
    return root


def edit(path, place, byte=None):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


CHANGES = {
    "a new file": lambda root: put(root / "d.png"),
    "a lost file": lambda root: (root / "b.png").unlink(),
    "another name": lambda root: (root / "b.png").rename(root / "e.png"),
    "two swapped": lambda root: [shutil.copy(root / "a.png", root / "t"), shutil.copy(root / "b.png", root / "a.png"),
                                 shutil.move(root / "t", root / "b.png")],
    "one byte of a small file": lambda root: edit(root / "c.png", 60),
    "a longer file": lambda root: (root / "large.png").write_bytes((root / "large.png").read_bytes() + b"x"),
    "the start of a large file": lambda root: edit(root / "large.png", 9),
    "the end of a large file": lambda root: edit(root / "large.png", -1),
    "the middle of a large file": lambda root: edit(root / "large.png", (files.WHOLE + 40_000) // 2 + 5),
    "an empty file": lambda root: (root / "c.png").write_bytes(b""),
    "a broken link": lambda root: [(root / "c.png").unlink(), (root / "c.png").symlink_to("gone.png")],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_fingerprint(folder, change):
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    CHANGES[change](folder)
    assert fingerprint(folder) != before


def test_what_leaves_the_images_alone_leaves_the_fingerprint_alone(folder, tmp_path):
    before = fingerprint(folder)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("hidden")
    os.utime(folder / "a.png", (1, 1))
    shutil.move(folder, tmp_path / "moved")
    assert fingerprint(tmp_path / "moved") == before


def test_the_size_belongs_to_the_fingerprint(tmp_path):
    (tmp_path / "zeros.png").write_bytes(bytes(files.WHOLE + 1000))
    before = fingerprint(tmp_path)
    (tmp_path / "zeros.png").write_bytes(bytes(files.WHOLE + 1001))
    assert fingerprint(tmp_path) != before


def test_labels_and_groups_belong_to_the_fingerprint(tmp_path):
    put(tmp_path / "a.png")
    seen = set()
    for rows in ("path\na.png", "path,label\na.png,x", "path,label\na.png,y", "path,label,group\na.png,y,p"):
        (tmp_path / "set.csv").write_text(rows + "\n")
        seen.add(load_dataset("csv", tmp_path / "set.csv").fingerprint)
    assert len(seen) == 4


def test_a_subset_has_its_own_fingerprint(folder):
    whole = load_dataset("folder", folder)
    parts = [whole.subset(rows) for rows in ([0, 1], [1, 0], [0], [0, 1, 2, 3])]
    found = {whole.fingerprint, *(part.fingerprint for part in parts)}
    assert len(found) == 5 and None not in found
    assert whole.subset([0, 1]).fingerprint == parts[0].fingerprint
    assert parts[0].subset([0]).fingerprint != parts[2].subset([0]).fingerprint
    assert ImageDataset("x", lambda i: None, ["a", "b"]).subset([0]).fingerprint is None


def test_the_fingerprint_is_made_when_it_is_asked_for_and_once():
    calls = []
    dataset = ImageDataset("x", lambda i: None, ["a"], fingerprint=lambda: calls.append(1) or "f")
    part = dataset.subset([0])
    assert calls == []
    assert (dataset.fingerprint, dataset.fingerprint, len(part.fingerprint), calls) == ("f", "f", 64, [1])
    assert (replace(dataset, name="y").fingerprint, replace(dataset, fingerprint=None).fingerprint) == (
        "f",
        None,
    )


def test_datasets_of_files_can_be_carried_to_other_processes(folder):
    dataset = load_dataset("folder", folder).subset([2, 0])
    again = pickle.loads(pickle.dumps(dataset))
    assert again[0][0].tobytes() == dataset[0][0].tobytes() and again.fingerprint == dataset.fingerprint


def test_links_that_loop_are_listed_once_and_refused_by_name(folder):
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "round").symlink_to("round")
    (folder / "back").symlink_to(folder, target_is_directory=True)
    dataset = load_dataset("folder", folder)
    assert len(dataset) == 5 and len(dataset.fingerprint) == 64
    with pytest.raises(InputError, match=r"itself\.png: cannot be reached"):
        dataset[3]
    classes = load_dataset("folder", folder, labelled=True)  # the link back is a class, once
    assert classes.class_names == ("back",) and len(classes) == 5


def test_long_and_foreign_names_are_read(tmp_path):
    names = ["ü" * 125 + ".png", "胸部X光 ①.png", "a'b\"c $(x) ;.png", " lead.png", "line\nbreak.png"]
    for name in names:
        put(tmp_path / name)
    dataset = load_dataset("folder", tmp_path)
    assert len(dataset) == 5 and all(image.size == (3, 4) for image, _ in dataset)
    with pytest.raises(InputError, match="cannot be reached"):
        load_dataset("folder", tmp_path / ("x" * 300))
    with pytest.raises(InputError, match="cannot be reached"):
        load_dataset("folder", "a\0b")


def test_pipes_and_closed_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: a pipe or a device"):
        list_folder(tmp_path)
    with pytest.raises(InputError, match="a file, not a folder"):
        list_folder(tmp_path / "pipe.png")


def test_names_that_are_not_utf8_are_read_and_reported(tmp_path):
    put(tmp_path / "class" / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/class/r\xf6ntgen.png"))
    dataset = load_dataset("folder", tmp_path, labelled=True)
    assert len(dataset.fingerprint) == 64 and dataset[0][0].size == (3, 4)
    os.truncate(dataset.paths[0], 0)
    assert "r\\udcf6ntgen.png: empty" in str(check_dataset(dataset, tmp_path, progress=False))


def test_empty_files_are_refused_by_name_when_read(tmp_path):
    (tmp_path / "nothing.png").touch()
    dataset = load_dataset("folder", tmp_path)
    with pytest.raises(InputError, match=r"nothing\.png: empty"):
        dataset[0]


@pytest.mark.parametrize("n", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_files_are_listed_hashed_and_their_headers_read_fast(tmp_path, n):
    """Within a small multiple of a bare loop that opens, reads and hashes, the three by turns."""
    source = tmp_path / "source.png"
    Image.effect_noise((40, 40), 90).save(source)
    content = source.read_bytes()
    root = tmp_path / "set"
    root.mkdir()
    for i in range(n):
        (root / f"{i:05d}.png").write_bytes(content + b"%05d" % i)

    def bare():
        for name in os.listdir(root):
            with open(root / name, "rb") as file:
                hashlib.sha256(file.read()).digest()

    def checked():
        report = check_dataset(load_dataset("folder", root), sample=1, progress=False)  # headers, whole files
        assert (report.images, report.unreadable, report.duplicates) == (n, (), ())

    def seconds(work):
        start = time.process_time()
        work()
        return time.process_time() - start

    works = (bare, lambda: fingerprint(root), checked)
    loop, listed, looked = (
        min(taken) for taken in zip(*[map(seconds, works) for _ in range(3)], strict=True)
    )
    assert listed < 3 * loop and looked < 10 * loop, (loop, listed, looked)
