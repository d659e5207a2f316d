"""`kpl benchmark check`: what it finds in a folder of rows, and what the book shows of such folders."""

import json
import shutil

import pytest
from command_line import kpl
from reproduce_world import small_plan, small_world

from kpl_lib.benchmark.reproduce import reproduce
from kpl_lib.benchmark.run_folder import check_folder, digest, real_rows
from kpl_lib.common.files import data_dir

RUN = "montgomery, phantom"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sound folder, and the cards that it is sound by."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patched:
        archives = small_world(folder, patched)
        reproduce(small_plan(folder / "real" / "one", archives, classifiers=["clip"]), progress=False)
        yield folder / "real" / "one"


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("features"))


def change(folder, edit):
    """Change what `run.json` holds."""
    facts = json.loads((folder / "run.json").read_text())
    edit(facts)
    (folder / "run.json").write_text(json.dumps(facts))


def change_row(folder, edit):
    """Change the first row, and its digest with it, so that nothing but the change is wrong."""
    lines = (folder / "rows.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    edit(row)
    lines[0] = json.dumps(row, ensure_ascii=False)
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    change(folder, lambda facts: facts["runs"][RUN]["rows"].update({row["key"]: digest(row)}))


def test_a_whole_folder_is_sound_without_its_features(copy, monkeypatch, capsys):
    assert check_folder(copy) == ()
    assert kpl(monkeypatch, capsys, "benchmark", "check", copy) == (0, f"{copy}: sound\n", "")


def metric(triple):
    return lambda row: row["metrics"].update(accuracy=triple)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda row: row.pop("device"), "has no device; "),
        (lambda row: row.update(versions="1"), "has no versions; "),
        (lambda row: row.update(origin="measured-phantom"), "not measured on real images; "),
        (lambda row: row.update(n=9), "of another number of images than run.json says; "),
        (
            lambda row: row.update(class_counts={"normal": 9}),
            "of another number of images than run.json says; ",
        ),
        (lambda row: row.update(classifier="klip"), "unknown classifier 'klip': did you mean 'clip'? "),
        (metric([0.5, 0.6, 0.4]), "accuracy is no value with an interval around it; "),
        (metric([1.5, 0.4, 1.6]), "accuracy is no value with an interval around it; "),
        (metric([0.5, 0.4]), "accuracy is no value with an interval around it; "),
        (metric(["0.5", 0.4, 0.6]), "accuracy is no value with an interval around it; "),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(copy, edit, line):
    change_row(copy, edit)
    (found,) = check_folder(copy)
    assert found.startswith(f"{copy / 'rows.jsonl'}: 1 row of {RUN}: {line}") and "\n" not in found


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda f: f["sets"]["montgomery"].update(fingerprint="0" * 64), "made from other images or weights"),
        (
            lambda f: f["encoders"]["phantom"].update(fingerprint="0" * 64),
            "made from other images or weights",
        ),
        (lambda f: f["sets"]["montgomery"].update(fingerprint="?"), "set 'montgomery' has no fingerprint"),
        (
            lambda f: f["sets"]["montgomery"].update(images=11),
            "set 'montgomery' has 11 images, published are 10",
        ),
        (lambda f: f["encoders"]["phantom"].pop("temperature"), "encoder 'phantom' has no temperature"),
        (lambda f: f["encoders"].update(fantom=f["encoders"]["phantom"]), "'fantom'; nearest: phantom"),
        (lambda f: f["sets"].update(montgomry=f["sets"]["montgomery"]), "did you mean 'montgomery'?"),
        (lambda f: f["sets"].pop("montgomery") and f["sets"].update(malaria={}), "run.json does not name"),
        (lambda f: f["runs"][RUN]["rows"].popitem(), "1 row of montgomery, phantom: not listed in run.json"),
        (
            lambda f: f["runs"][RUN]["rows"].update(x="0"),
            "1 row of montgomery, phantom: listed in run.json, but",
        ),
        (lambda f: f.pop("versions"), "no versions in it"),
        (lambda f: f.update(runs={}), "no runs in it"),
        (lambda f: f.update(sets=[]), "no sets in it"),
    ],
)
def test_what_is_wrong_with_the_facts_is_said(copy, edit, line):
    change(copy, edit)
    found = check_folder(copy)
    assert any(line in one for one in found) and all("\n" not in one for one in found)


def test_a_wrong_checksum_of_a_file_is_said(copy):
    facts = {"fingerprint": "0" * 64, "images": 27558, "files": {"cell_images.zip": "sha256:0"}}
    change(copy, lambda f: f["sets"].update(malaria=facts))
    (found,) = check_folder(copy)
    assert found.endswith("set 'malaria': cell_images.zip has not the published checksum; get it again")


def test_a_figure_that_was_changed_by_hand_is_found(copy):
    text = (copy / "rows.jsonl").read_text()
    (copy / "rows.jsonl").write_text(
        text.replace('"accuracy": [', '"accuracy": [0.01, 0.0, 0.02], "x": [', 1)
    )
    assert ["changed since it was written" in line for line in check_folder(copy)] == [True]


def test_a_torn_file_and_a_folder_of_something_else(copy, tmp_path, monkeypatch, capsys):
    whole = (copy / "rows.jsonl").read_bytes()
    (copy / "rows.jsonl").write_bytes(whole[:-40])
    lines = check_folder(copy)
    assert "is torn" in lines[0] and "listed in run.json, but not there" in lines[1]
    (copy / "rows.jsonl").write_text("")
    assert "no rows in it" in check_folder(copy)[0]
    for folder in (tmp_path / "none", tmp_path):
        code, said, errors = kpl(monkeypatch, capsys, "benchmark", "check", folder)
        assert (code, said) == (2, "") and errors.count("\n") == 1
    (copy / "run.json").write_text("{")
    assert "broken JSON" in check_folder(copy)[0]


def test_rows_of_all_folders_are_read_and_none_are_no_hole(made, tmp_path):
    shutil.copytree(made, made.parent / "two")
    rows = real_rows(made.parent)
    assert set(rows["folder"]) == {"one", "two"} and len(rows) == 2 * (rows["folder"] == "one").sum()
    none = real_rows(tmp_path / "nowhere")
    assert none.empty and set(none.columns) <= set(rows.columns)


def test_what_ships_is_sound():
    folders = sorted((data_dir() / "results" / "real").glob("*/"))
    assert {folder.name: check_folder(folder) for folder in folders} == {
        folder.name: () for folder in folders
    }
