"""`kpl datasets check` and the other commands: nothing malformed passes silently."""

import os
import shutil
import sys

import dataset_layouts as layouts
import pytest
from PIL import Image

from kpl_lib import cli
from kpl_lib.datasets import available, load_dataset
from kpl_lib.datasets.check import check_dataset


def kpl(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["kpl", "datasets", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr()
    return stopped.value.code or 0, said.out, said.err


@pytest.fixture
def malaria(tmp_path):
    return layouts.malaria(tmp_path, doubled=False)


def check(root, **options):
    return check_dataset(load_dataset("malaria", root), root, progress=False, **options)


def test_numbers_balance_patients_and_what_is_left_out(malaria):
    report = check(malaria)
    assert (report.images, report.decoded, report.clean) == (4, 4, True)
    assert report.counts == {"parasitized red blood cell": 2, "uninfected red blood cell": 2}
    assert report.groups == {"C100P61": 1, "C33P1": 2, "C1": 1}
    assert report.left_out == {".db files": 2}
    text = str(report)
    for part in ("2   50.0%", "patients: 3, each with 1 to 2 images", "left out: 2 .db files", "clean"):
        assert part in text


def test_unreadable_files_are_named_even_where_they_are_not_decoded(malaria):
    folder = malaria / "cell_images" / "Parasitized"
    (folder / "C2P2thinF_a.png").touch()
    (folder / "C2P2thinF_b.png").write_text("no image")
    (folder / "C2P2thinF_c.png").symlink_to("gone.png")
    whole = next(folder.glob("C33*")).read_bytes()
    (folder / "C2P2thinF_d.png").write_bytes(whole[:-40])
    (folder / "C2P2thinF_e.png").write_bytes(whole[:20])
    few, everything = check(malaria, sample=1), check(malaria, sample=None)
    names = [os.path.basename(path) for path, _ in everything.unreadable]
    assert names == [f"C2P2thinF_{letter}.png" for letter in "abcde"]
    assert [os.path.basename(path)[-5] for path, _ in few.unreadable] == [
        "a",
        "b",
        "c",
        "e",
    ]  # d: only by decoding
    assert not few.clean and "unreadable: 4" in str(few) and "a.png: empty" in str(few)


def test_duplicates_and_images_under_two_labels(malaria):
    base = malaria / "cell_images"
    one = next((base / "Parasitized").glob("C33*"))
    shutil.copy(one, base / "Parasitized" / "C33P1thinF_again.png")
    report = check(malaria)
    assert [len(group) for group in report.duplicates] == [2] and report.contradictions == () and report.clean
    shutil.copy(one, base / "Uninfected" / "C9_thinF_1.png")
    report = check(malaria)
    assert [len(group) for group in report.contradictions] == [3] and not report.clean
    assert "2 images repeat another; 1 under two labels" in str(report)


def test_pixels_of_images_that_are_no_files_are_compared(tmp_path):
    arrays = layouts.medmnist(tmp_path)
    arrays["test_images"][4] = arrays["test_images"][2]
    layouts.np.savez(tmp_path / "pathmnist.npz", **arrays)
    report = check_dataset(load_dataset("medmnist-path", tmp_path), sample=None, progress=False)
    assert report.decoded == 9 and "left out: not counted" in str(report) and len(report.contradictions) == 1
    assert report.contradictions[0] == ("pathmnist.npz/test/000002", "pathmnist.npz/test/000004")


def test_links_that_loop_end_the_walk(malaria):
    (malaria / "cell_images" / "back").symlink_to(malaria, target_is_directory=True)
    (malaria / ".DS_Store").touch()
    (malaria / "stray.png").touch()
    assert check(malaria).left_out == {".db files": 2, "hidden": 1, "images": 1, "linked folders": 1}


def test_the_sample_is_spread_over_the_set(tmp_path):
    for i in range(20):
        layouts.put(tmp_path / f"{i:02d}.png")
    content = (tmp_path / "19.png").read_bytes()
    (tmp_path / "19.png").write_bytes(content[:-40])
    report = check_dataset(load_dataset("folder", tmp_path), sample=3, progress=False)
    assert (report.decoded, len(report.unreadable)) == (2, 1)


def test_many_classes_are_one_line_unless_all_are_asked_for(tmp_path):
    dataset = load_dataset("imagenet", layouts.imagenet_kit(tmp_path))
    report = check_dataset(dataset, tmp_path, progress=False)
    assert "  1,000 classes of 0 to 2 images (median 0), 997 empty" in str(report).splitlines()
    assert "tabby cat" in report.text(None) and len(str(report).splitlines()) < 10


def test_huge_headers_are_one_line(tmp_path):
    from broken_images import huge_png

    (tmp_path / "bomb.png").write_bytes(huge_png())
    report = check_dataset(load_dataset("folder", tmp_path), progress=False)
    assert [os.path.basename(path) for path, _ in report.unreadable] == ["bomb.png"]


def test_check_on_the_command_line(malaria, monkeypatch, capsys):
    code, out, err = kpl(monkeypatch, capsys, "check", "malaria", "--root", malaria)
    assert code == 1 and "4 images; published: 27,558" in out and err == ""
    code, out, _ = kpl(monkeypatch, capsys, "check", "folder", "--root", malaria / "cell_images", "--all")
    assert code == 0 and "Parasitized" in out and "decoded: 4 of 4" in out
    code, out, _ = kpl(
        monkeypatch, capsys, "check", "folder", "--root", malaria / "cell_images" / "Uninfected"
    )
    assert code == 0 and "%" not in out and "patients: not known" in out
    table = layouts.write(malaria / "set.csv", "path,label,group\n")
    for arguments, said in (
        (("csv", "--root", table), "no rows"),
        (("malaria", "--root", malaria / "nowhere"), "nowhere: no such folder"),
        (("malaria",), "kpl datasets get malaria"),
        (("malria",), "did you mean 'malaria'"),
        (("malaria", "--root", malaria, "--split", "test"), "no split 'test'"),
        (("folder",), "needs root"),
        (("folder/x", "--root", malaria), "not in the name"),
    ):
        monkeypatch.setenv("KPL_DATA", str(malaria / "none"))
        code, out, err = kpl(monkeypatch, capsys, "check", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_the_real_file_on_the_command_line(shared, monkeypatch, capsys):
    folder = shared("real/pneumoniamnist.npz").parent
    code, out, _ = kpl(monkeypatch, capsys, "check", "medmnist-pneumonia", "--root", folder)
    assert code == 1 and "468 images; published: 624" in out  # shared/ holds a balanced part of the set
    code, out, _ = kpl(monkeypatch, capsys, "check", "medmnist-pneumonia/val", "--root", folder)
    assert "270 images; published: 524" in out and "unreadable: 0" in out


def test_list_and_get_on_the_command_line(tmp_path, monkeypatch, capsys):
    code, out, _ = kpl(monkeypatch, capsys, "list")
    assert code == 0 and tuple(out.split()) == available()
    code, out, _ = kpl(monkeypatch, capsys, "list", "--details")
    assert code == 0 and "27,558 images  kpl datasets get" in out and "by hand" in out
    code, out, err = kpl(monkeypatch, capsys, "get", "idrid", "--root", tmp_path / "x")
    assert code == 1 and "ieee-dataport.org" in out and str(tmp_path / "x") in out
    code, _, err = kpl(monkeypatch, capsys, "get", "idrid", "--root", tmp_path, "--archive", "gone.zip")
    assert code == 2 and "gone.zip: no such file" in err


def test_names_that_no_terminal_prints_do_not_break_the_report():
    from dataclasses import replace

    report = check_dataset(load_dataset("phantom-malaria", n=2), progress=False)
    odd = replace(report, unreadable=(("a", "r\udcf6ntgen.png: broken"),))
    assert "r\\udcf6ntgen" in str(odd) and Image is not None
