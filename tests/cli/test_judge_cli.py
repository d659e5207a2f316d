"""`kpl judge`: what it prints, what it writes, and one line for bad input."""

import json

import pytest
import torch
import torch.nn.functional as F
from command_line import kpl

from kpl_lib.features import Features
from kpl_lib.own_images.table import Classification, write_table

NAMES = ("normal chest", "effusion")


def table(path, folder, said, groups=None, warning=None):
    p = torch.tensor([[0.9, 0.1] if word == "n" else [0.1, 0.9] for word in said])
    labels = tuple(NAMES[word == "e"] for word in said)
    paths = tuple(f"{folder}/{i:02d}.png" for i in range(len(said)))
    empty = ("",) * len(said)
    write_table(Classification(NAMES, paths, labels, p, empty, (), None, groups, warning=warning), path)


def features(path, shift, maker="m", seed=0, paths=None):
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(seed))
    Features(F.normalize(x + shift), meta={"encoder": maker, "paths": paths}).save(path)


@pytest.fixture
def base(tmp_path, monkeypatch):
    """Forty answers, 36 right, in a folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    table("t.csv", "scans", "n" * 30 + "e" * 10)
    rows = [f"{i:02d}.png,{'Normal_Chest' if i < 34 else 'effusion'}\n" for i in range(40)]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(rows))
    table("later.csv", "more", "n" * 20 + "e" * 20)
    features("a.safetensors", 0.0)
    features("b.safetensors", torch.tensor([0.8, 0, 0, 0]), seed=1)
    return tmp_path


def test_labels_give_counts_and_exact_limits(base, monkeypatch, capsys):
    before = sorted(base.iterdir())
    code, out, err = kpl(
        monkeypatch, capsys, "judge", "t.csv", "--labels", "labels.csv", "--at-least", "0.85"
    )
    assert code == 0 and "not for clinical use" in err
    lines = out.splitlines()
    assert lines[0] == "36 of 40 images right: 76 to 97 %"
    assert lines[2].split() == ["normal", "chest", "30", "4", "30", "of", "34:", "73", "to", "97", "%"]
    assert "always 'normal chest' would be right on 34 of 40" in lines[4]
    assert lines[5].startswith("above 85 %: not shown; if 90 % is the truth, it takes about ")
    assert sorted(base.iterdir()) == before


def test_a_handful_is_enough_and_patients_are_kept_whole(base, monkeypatch, capsys):
    table("t.csv", "scans", "n" * 30 + "e" * 10, tuple(f"p{i // 2}" for i in range(40)))
    (base / "labels.csv").write_text("path,label\nscans/00.png,normal chest\nscans/03.png,effusion\n")
    code, out, _ = kpl(monkeypatch, capsys, "judge", "t.csv", "--labels", "labels.csv")
    assert code == 0 and out.startswith("1 of 2 patients right: 1 to 99 %\n")


def test_a_later_table_and_features_say_what_has_changed(base, monkeypatch, capsys):
    files = ["--features", "a.safetensors", "--features", "b.safetensors"]
    code, out, _ = kpl(
        monkeypatch, capsys, "judge", "t.csv", "--against", "later.csv", *files, "--out", "j.json"
    )
    _, effusion, shift = out.splitlines()
    assert (
        code == 0 and effusion == "effusion: 10 of 40, then 20 of 40: +25 points (+4 to +43), beyond chance"
    )
    assert "with images exchanged at random" in shift and "(p = 0.001 of 999 draws)" in shift
    found = json.loads((base / "j.json").read_text())
    assert found["changes"][1]["second"] == [20, 40] and "confusion" not in found
    assert (
        found["shift"]["low"]
        < found["shift"]["expected"]
        < found["shift"]["high"]
        < found["shift"]["statistic"]
    )
    code, out, _ = kpl(monkeypatch, capsys, "judge", *files)
    assert code == 0 and out.splitlines() == [shift]


def test_patients_of_the_tables_change_sides_whole(base, monkeypatch, capsys):
    for name, folder, code in (("t", "scans", "p"), ("later", "more", "q")):
        table(f"{name}.csv", folder, "n" * 30 + "e" * 30, tuple(f"{code}{i // 30}" for i in range(60)))
    features("a.safetensors", 0.0, paths=[f"scans/{i:02d}.png" for i in range(60)])
    features(
        "b.safetensors", torch.tensor([0.8, 0, 0, 0]), seed=1, paths=[f"more/{i:02d}.png" for i in range(60)]
    )
    files = ["--features", "a.safetensors", "--features", "b.safetensors"]
    _, out, _ = kpl(monkeypatch, capsys, "judge", "t.csv", "--against", "later.csv", *files)
    assert "with patients exchanged at random" in out  # two patients a side: chance alone often parts them so
    assert float(out.split("(p = ")[1].split(" ")[0]) > 0.2


def test_the_figures_are_written_where_asked(base, monkeypatch, capsys):
    code, _, err = kpl(monkeypatch, capsys, "judge", "t.csv", "--labels", "labels.csv", "--out", "j.json")
    found = json.loads((base / "j.json").read_text())
    assert code == 0 and "wrote j.json" in err and (found["right"], found["count"]) == (36, 40)
    assert found["confusion"] == [[30, 4], [0, 6]] and found["low"] == pytest.approx(0.7634, abs=1e-4)


def test_a_warning_in_the_table_is_said_again(base, monkeypatch, capsys):
    table("t.csv", "scans", "n" * 30 + "e" * 10, warning="far from the phantom world")
    _, _, err = kpl(monkeypatch, capsys, "judge", "t.csv", "--labels", "labels.csv")
    assert "kpl: t.csv: far from the phantom world" in err


BAD = {
    "nothing named": ([], "name the table to judge"),
    "labels alone": (["--labels", "labels.csv"], "name the table to judge"),
    "no labels": (["t.csv"], "no image has a label; give --labels"),
    "a bound without labels": (
        ["t.csv", "--against", "later.csv", "--at-least", "0.8"],
        "no image has a label",
    ),
    "a bound in per cent": (
        ["t.csv", "--labels", "labels.csv", "--at-least", "85"],
        "--at-least 85: write a share between 0 and 1, such as 0.85",
    ),
    "no such table": (["nowhere.csv", "--labels", "labels.csv"], "nowhere.csv: no such file"),
    "labels as table": (["labels.csv", "--labels", "labels.csv"], "labels.csv: no table of images"),
    "other images": (
        ["later.csv", "--labels", "other.csv"],
        "line 2 names 'zz.png', which is no image of more",
    ),
    "unknown class": (
        ["t.csv", "--labels", "classes.csv"],
        "label 'efusion' is no class: did you mean 'effusion'?",
    ),
    "against itself": (["t.csv", "--against", "t.csv"], "stands in both tables"),
    "one file of features": (["--features", "a.safetensors"], "--features a.safetensors: name two files"),
    "one file twice": (["--features", "a.safetensors", "--features", "a.safetensors"], "name two files"),
    "two encoders": (
        ["--features", "a.safetensors", "--features", "c.safetensors"],
        "features of two encoders",
    ),
    "no features": (["--features", "a.safetensors", "--features", "t.csv"], "t.csv"),
    "over the table": (
        ["t.csv", "--labels", "labels.csv", "--out", "t.csv"],
        "--out t.csv: the same file as the table",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, base, monkeypatch, capsys):
    (base / "other.csv").write_text("path,label\nzz.png,effusion\n")
    (base / "classes.csv").write_text("path,label\n00.png,efusion\n")
    features("c.safetensors", 0.0, maker="n")
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    arguments, said = BAD[case]
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "j.json"]
    code, out, err = kpl(monkeypatch, capsys, "judge", *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err, err
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before
