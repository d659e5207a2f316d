"""Your own images: which files are read, and which class and patient each has."""

import re

import pytest
from own_world import write_images, write_table

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.sets.folder import open_files, open_folder

CLASSES = ("house cat", "dog")


@pytest.fixture
def flat(tmp_path):
    return write_images(tmp_path / "images", 6)


def by_class(tmp_path, *names):
    for seed, name in enumerate(names):
        write_images(tmp_path / "sorted" / name, 2, seed)
    return tmp_path / "sorted"


def test_a_flat_folder_has_neither_labels_nor_patients(flat):
    found = open_folder(flat, CLASSES)
    assert len(found) == 6 and found.labels is None and found.groups is None
    assert list(found.paths) == sorted(found.paths)


def test_subfolders_called_like_classes_give_labels_in_the_order_of_the_knowledge(tmp_path):
    found = open_folder(by_class(tmp_path, "Dog", "house_cat"), CLASSES)
    assert found.class_names == CLASSES and found.labels == [1, 1, 0, 0]


def test_subfolders_that_are_no_classes_are_read_without_labels(tmp_path):
    found = open_folder(by_class(tmp_path, "patient 1", "patient 2"), CLASSES, group_pattern="^[^/]+")
    assert found.labels is None and found.groups == ["patient 1"] * 2 + ["patient 2"] * 2


def test_images_beside_subfolders_are_read_alone_and_that_is_said(flat):
    write_images(flat / "dog", 2)
    with pytest.warns(UserWarning, match="2 images in its subfolders are not read"):
        found = open_folder(flat, CLASSES)
    assert len(found) == 6 and found.labels is None


def test_one_subfolder_that_is_no_class_among_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"subfolder 'dgo' is no class: did you mean 'dog'\?"):
        open_folder(by_class(tmp_path, "dgo", "house cat"), CLASSES)


def test_a_table_of_labels_may_stand_anywhere_and_in_any_order(flat, tmp_path):
    rows = [f"{path.name},{'dog' if i % 2 else 'House Cat'}" for i, path in enumerate(sorted(flat.iterdir()))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *reversed(rows)]))
    assert open_folder(flat, CLASSES, labels=table).labels == [0, 1, 0, 1, 0, 1]
    table.write_text("\n".join(["path,label", *(f"images/{row}" for row in rows)]))  # relative to the table
    assert open_folder(flat, CLASSES, labels=table).labels == [0, 1, 0, 1, 0, 1]


def test_patients_come_from_a_table_or_a_pattern(flat, tmp_path):
    table = write_table(tmp_path / "groups.csv", flat, "group", lambda i: f"p{i // 2:02d}")
    expected = ["p00", "p00", "p01", "p01", "p02", "p02"]
    assert open_folder(flat, CLASSES, groups=table).groups == expected
    assert open_folder(flat, CLASSES, group_pattern=r"^(\w+)_").groups == expected
    assert open_folder(flat, CLASSES, group_pattern=r"^p\d+").groups == expected


TABLES = {
    "unknown class": (
        lambda rows: [rows[0].replace("dog", "dgo"), *rows[1:]],
        "label 'dgo' is no class: did you",
    ),
    "an image without": (lambda rows: rows[1:], "a label for 5 of 6 images; the first without is"),
    "another image": (lambda rows: [*rows, "zz.png,dog"], "line 8 names 'zz.png', which is no image of"),
    "one image twice": (lambda rows: [*rows, rows[0]], "lines 2 and 8 name the same image; keep one"),
    "empty label": (lambda rows: [rows[0].replace("dog", ""), *rows[1:]], "line 2 has no label; fill it in"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_does_not_fit_is_refused_with_its_line(case, flat, tmp_path):
    change, said = TABLES[case]
    table = write_table(tmp_path / "labels.csv", flat, "label", lambda i: "dog")
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *change(rows)]))
    with pytest.raises(InputError, match=re.escape(said)) as error:
        open_folder(flat, CLASSES, labels=table)
    assert "\n" not in str(error.value) and "labels.csv" in str(error.value)


def test_wrong_ways_to_name_patients_are_refused(flat, tmp_path):
    table = write_table(tmp_path / "groups.csv", flat, "group", lambda i: i)
    with pytest.raises(InputError, match="not both"):
        open_folder(flat, CLASSES, groups=table, group_pattern="^p")
    with pytest.raises(InputError, match="no regular expression"):
        open_folder(flat, CLASSES, group_pattern="(")
    with pytest.raises(InputError, match=r"finds no patient in 'p00_00\.png'"):
        open_folder(flat, CLASSES, group_pattern="zebra")
    with pytest.raises(InputError, match="no column 'group'"):
        open_folder(flat, CLASSES, groups=write_table(tmp_path / "x.csv", flat, "label", lambda i: "dog"))


def test_labels_beside_class_folders_are_refused(tmp_path):
    folder = by_class(tmp_path, "dog", "house cat")
    with pytest.raises(InputError, match="its subfolders are the classes already"):
        open_folder(folder, CLASSES, labels=tmp_path / "labels.csv")


def test_files_and_folders_by_name(flat, tmp_path):
    first = flat / "p00_00.png"
    assert open_files([first]).paths == (str(first),)
    assert len(open_files([flat])) == 6
    with pytest.raises(InputError, match="named twice"):
        open_files([flat, first])
    with pytest.raises(InputError, match=r"zz\.png: no such file"):
        open_files([tmp_path / "zz.png"])
    with pytest.raises(InputError, match="no image is named"):
        open_files([])
