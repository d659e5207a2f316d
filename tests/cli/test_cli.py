"""The command line: one clear line for every bad input, and a table that says what it should."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_line import kpl
from PIL import Image
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.own_images.classify import classify_folder

KNOWLEDGE = {
    "name": "pets",
    "classes": {
        "cat": {"descriptions": ["whiskers", "a long tail", "slit pupils"]},
        "dog": {"descriptions": ["a wet nose", "floppy ears"]},
    },
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """24 small images, one with a hostile name, one outside ASCII, one deep grey, one palette, one CMYK."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(19):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(folder / '=a,"b"\n;c.png')
    Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(folder / "胸部 é.jpg")
    Image.fromarray(rng.integers(0, 60_000, (30, 20), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).convert("P").save(folder / "palette.gif")
    Image.new("CMYK", (20, 20), (0, 200, 30, 10)).save(folder / "print.jpg")
    return folder


@pytest.fixture
def world(originals, encoder, tmp_path):
    """Folder of images, knowledge file, output path, and the arguments for all three."""
    images = shutil.copytree(originals, tmp_path / "images")
    knowledge = tmp_path / "pets.json"
    knowledge.write_text(json.dumps(KNOWLEDGE))
    (tmp_path / "out").mkdir()
    return {
        "images": images,
        "knowledge": knowledge,
        "out": tmp_path / "out" / "p.csv",
        "encoder": encoder,
        "k": 2,
    }


def options(world, **change):
    named = {**world, **change}
    return [
        "classify",
        *(part for key, value in named.items() for part in (f"--{key}", value) if value is not None),
    ]


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_path_label_probabilities_and_description(world, monkeypatch, capsys):
    code, out, err = kpl(monkeypatch, capsys, *options(world))
    assert (code, out) == (0, "")
    assert "research and teaching only, not for clinical use" in err
    assert f"wrote {world['out']}: 24 images, 2 classes" in err
    rows = table(world["out"])
    assert list(rows[0]) == ["path", "label", "cat", "dog", "description"]
    assert {row["path"] for row in rows} == {str(path) for path in world["images"].iterdir()}
    for row in rows:
        chance = {name: float(row[name]) for name in ("cat", "dog")}
        assert sum(chance.values()) == pytest.approx(1, abs=2e-6)
        assert row["label"] == max(chance, key=chance.get)
        assert row["description"] in KNOWLEDGE["classes"][row["label"]]["descriptions"]
    assert [path.name for path in world["out"].parent.iterdir()] == ["p.csv"]


def test_it_is_the_library_call(world, monkeypatch, capsys):
    kpl(monkeypatch, capsys, *options(world))
    result = classify_folder(world["images"], world["knowledge"], encoder=world["encoder"], k=2).result
    rows = table(world["out"])
    assert [row["label"] for row in rows] == list(result.labels)
    assert [row["description"] for row in rows] == list(result.descriptions)


def test_methods_without_descriptions_leave_the_column_empty_and_take_no_k(world, monkeypatch, capsys):
    code, _, _ = kpl(monkeypatch, capsys, *options(world, k=None, classifier="clip"))
    assert code == 0 and {row["description"] for row in table(world["out"])} == {""}
    code, _, err = kpl(monkeypatch, capsys, *options(world, classifier="clip"))
    assert code == 2 and "classifier 'clip' keeps no k descriptions" in err


def test_k_above_the_count_is_clipped_with_one_note(world, monkeypatch, capsys):
    code, _, err = kpl(monkeypatch, capsys, *options(world, k=3))
    assert code == 0 and err.count("clipped") == 1 and "'dog' has 2" in err


def test_few_images_give_a_note(world, monkeypatch, capsys):
    for path in sorted(world["images"].iterdir())[5:]:
        path.unlink()
    code, _, err = kpl(monkeypatch, capsys, *options(world))
    assert code == 0 and "5 images for 2 classes are few" in err
    for path in sorted(world["images"].iterdir())[1:]:
        path.unlink()
    code, _, err = kpl(monkeypatch, capsys, *options(world))
    assert code == 2 and "reads images as a set" in err
    code, _, _ = kpl(monkeypatch, capsys, *options(world, classifier="clip", k=None))
    assert code == 0 and len(table(world["out"])) == 1


def spoil(name, content):
    def apply(world):
        (world["images"] / name).write_bytes(content)

    return apply


def cut(world):
    whole = (world["images"] / "00.png").read_bytes()
    (world["images"] / "00.png").write_bytes(whole[: len(whole) // 2])


def knowledge(text):
    return lambda world: world["knowledge"].write_text(text)


BAD = {
    "missing folder": (lambda w: shutil.rmtree(w["images"]), {}, "images: no such folder; name the folder"),
    "a file as folder": ({}, {"images": "KNOWLEDGE"}, "pets.json: a file, not a folder; name the folder"),
    "no images": (
        lambda w: [p.unlink() for p in w["images"].iterdir()],
        {},
        "images: no images in it (put files there",
    ),
    "truncated PNG": (cut, {}, "00.png: broken image"),
    "text named .jpg": (
        spoil("note.jpg", b"Dear doctor"),
        {},
        "note.jpg: not an image that can be read; convert it",
    ),
    "empty file": (spoil("void.png", b""), {}, "void.png: empty (0 bytes); copy it again"),
    "empty class": (
        knowledge('{"classes": {"cat": ["a"], "dog": []}}'),
        {},
        "pets.json: knowledge base 'pets': class 'dog' has no descriptions; add",
    ),
    "class twice": (
        knowledge('{"classes": {"cat": ["a"], "cat": ["b"]}}'),
        {},
        "pets.json: 'cat' stands twice (again in line 1); merge",
    ),
    "broken JSON": (
        knowledge('{"classes": {"cat": ["a",]}}'),
        {},
        "pets.json: broken JSON at line 1, column 2",
    ),
    "one class": (
        knowledge('{"classes": {"cat": ["a"]}}'),
        {},
        "pets.json: one class only, 'cat'; give at least two",
    ),
    "class like a column": (
        knowledge('{"classes": {"label": ["a"], "x": ["b"]}}'),
        {},
        "pets.json: class 'label' is called like",
    ),
    "missing knowledge": (
        lambda w: w["knowledge"].unlink(),
        {},
        "pets.json: no such file; correct the path",
    ),
    "unknown knowledge": (
        {},
        {"knowledge": "phantom-chset"},
        "unknown knowledge base 'phantom-chset': did you mean 'phantom-chest'?",
    ),
    "unknown encoder": ({}, {"encoder": "fantom"}, "unknown encoder 'fantom': "),
    "unknown classifier": ({}, {"classifier": "klp"}, "unknown classifier 'klp': did you mean 'kpl'?"),
    "k = 0": ({}, {"k": 0}, "k must be a whole number of at least 1, not 0"),
    "k = -3": ({}, {"k": -3}, "k must be a whole number of at least 1, not -3"),
    "no output folder": (lambda w: shutil.rmtree(w["out"].parent), {}, "does not exist; create it first"),
    "output is a folder": (lambda w: w["out"].mkdir(), {}, "p.csv: it is a folder; name a file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_with_the_file_and_the_cure(case, world, monkeypatch, capsys):
    damage, change, said = BAD[case]
    if damage:
        damage(world)
    change = {key: world["knowledge"] if value == "KNOWLEDGE" else value for key, value in change.items()}
    code, out, err = kpl(monkeypatch, capsys, *options(world, **change))
    lines = [line for line in err.splitlines() if "not for clinical use" not in line]
    assert (code, out, len(lines)) == (2, "", 1)
    assert lines[0].startswith("kpl: ") and said in lines[0]
    assert "Traceback" not in err
    assert not world["out"].is_file()
    if world["out"].parent.is_dir():
        assert all(path.name == "p.csv" for path in world["out"].parent.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody may write to")
def test_an_output_folder_that_cannot_be_written_is_found_before_anything_is_encoded(
    world, monkeypatch, capsys
):
    monkeypatch.setattr("kpl_lib.own_images.classify.load_encoders", lambda *_: pytest.fail("encoded first"))
    code, _, err = kpl(monkeypatch, capsys, *options(world, out="/proc/p.csv"))
    assert code == 2 and "cannot write /proc/p.csv" in err and "choose a folder" in err


def test_an_old_table_outlives_a_failed_run(world, monkeypatch, capsys):
    world["out"].write_text("old")
    cut(world)
    code, _, _ = kpl(monkeypatch, capsys, *options(world))
    assert code == 2 and world["out"].read_text() == "old"


def test_skipped_images_are_counted_and_listed(world, monkeypatch, capsys):
    cut(world)
    spoil("note.jpg", b"Dear doctor")(world)
    code, _, err = kpl(monkeypatch, capsys, *options(world), "--skip-unreadable")
    assert code == 0 and "skipped 2 unreadable:" in err
    assert "00.png: broken image" in err and "note.jpg: not an image" in err
    assert len(table(world["out"])) == 23
    for path in world["images"].iterdir():
        path.write_bytes(b"")
    code, _, err = kpl(monkeypatch, capsys, *options(world), "--skip-unreadable")
    assert code == 2 and "no image to encode; the first: " in err


def test_names_that_are_not_utf8_are_written_readably(world, monkeypatch, capsys):
    try:
        os.rename(world["images"] / "00.png", os.fsencode(world["images"]) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    code, _, _ = kpl(monkeypatch, capsys, *options(world))
    assert code == 0 and any(row["path"].endswith(r"\udcff.png") for row in table(world["out"]))


def test_knowledge_check_reports_and_fails_where_something_is_to_correct(world, monkeypatch, capsys):
    code, out, _ = kpl(monkeypatch, capsys, "knowledge", "check", world["knowledge"])
    assert code == 0 and "2 classes, 5 descriptions" in out and "uneven" in out and "clean" in out
    world["knowledge"].write_text('{"classes": {"cat": ["a cat", "b"], "dog": ["c", "c"]}}')
    code, out, _ = kpl(monkeypatch, capsys, "knowledge", "check", world["knowledge"])
    assert code == 1 and "says the class name" in out and "stands twice" in out
    code, _, err = kpl(monkeypatch, capsys, "knowledge", "check", "nowhere.json")
    assert code == 2 and "nowhere.json: no such file" in err


def test_doctor_and_datasets_list_what_is_there(monkeypatch, capsys):
    code, out, _ = kpl(monkeypatch, capsys, "doctor")
    assert code == 0
    for word in (
        "kpl_lib",
        "python",
        "torch",
        "open_clip",
        "device",
        "encoders",
        "phantom-chest",
        "kpl-closed-form",
    ):
        assert word in out
    code, out, _ = kpl(monkeypatch, capsys, "datasets", "list")
    assert code == 0 and "phantom-retinopathy" in out.splitlines() and "folder" in out.splitlines()


def test_a_full_disk_is_one_line(world, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "p.csv")

    monkeypatch.setattr("kpl_lib.own_images.table.write_table", full)
    code, _, err = kpl(monkeypatch, capsys, *options(world))
    assert code == 2 and "kpl: p.csv: No space left on device; check disk" in err


def run(*arguments):
    command = [sys.executable, "-m", "kpl_lib", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_real_command_fails_in_one_line_without_a_traceback(world):
    done = run(*options(world, images="nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.splitlines()[-1] == "kpl: nowhere: no such folder; name the folder that holds the images"
    )
    assert "Traceback" not in done.stderr and not world["out"].exists()


def test_the_real_command_writes_the_table(world):
    done = run(*options(world))
    assert done.returncode == 0, done.stderr
    assert len(table(world["out"])) == 24 and "Warning" not in done.stderr


def test_help_comes_without_loading_torch():
    code = (
        "import sys; from kpl_lib import cli; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_errors_of_the_library_are_the_same_lines(world):
    cut(world)
    with pytest.raises(InputError, match=r"00\.png: broken image"):
        classify_folder(world["images"], world["knowledge"], encoder=world["encoder"], progress=False)
