"""`kpl classify`, `kpl fit`, `kpl predict`: files that come out, and one line for every bad input."""

import csv
import json
import re
import shutil
import sys

import pytest
from own_world import write_images, write_knowledge, write_table
from tiny_encoder import write_tiny_encoder

from kpl_lib import cli
from kpl_lib.cli.own import parse_settings
from kpl_lib.common.errors import InputError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    base = tmp_path_factory.mktemp("cli_own")
    write_tiny_encoder(base / "tiny")
    images = write_images(base / "images")
    write_knowledge(base / "pets.json")
    write_table(base / "labels.csv", images, "label", lambda i: ("dog", "house cat")[i // 2 % 2])
    write_table(base / "groups.csv", images, "group", lambda i: f"=p{i // 4}")
    (base / "out").mkdir()
    return base


@pytest.fixture
def base(original, tmp_path, monkeypatch):
    """A copy to spoil, which is the working folder; what is written goes to `out`."""
    shutil.copytree(original, tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


COMMON = ["--images", "images", "--knowledge", "pets.json", "--encoder", "path:tiny", "--k", "2"]


@pytest.fixture
def kpl(monkeypatch, capsys):
    """Run `kpl` in this process: exit code, and the lines on standard error but for the standing note."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kpl", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return code, [line for line in err.splitlines() if "not for clinical use" not in line]

    return run


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_classify_writes_table_patients_and_report(base, kpl):
    truth = ["--labels", "labels.csv", "--groups", "groups.csv", "--patients", "out/p.csv"]
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", *truth, "--report", "out/r.html")
    assert code == 0 and any(line.startswith("kpl: kpl-adaptive: ") for line in err)  # what the default saw
    assert any(re.fullmatch(r"kpl: accuracy \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", line) for line in err)
    assert "kpl: wrote out/p.csv: 6 patients" in err and "kpl: wrote out/t.csv: 24 images, 2 classes" in err
    assert sorted(path.name for path in (base / "out").iterdir()) == ["p.csv", "r.html", "t.csv"]
    table, patients = rows(base / "out" / "t.csv"), rows(base / "out" / "p.csv")
    assert [row["true label"] for row in table[:3]] == ["dog", "dog", "house cat"]
    assert patients[0]["patient"] == "=p0" and patients[0]["images"] == "4"
    mean = sum(float(row["dog"]) for row in table[:4]) / 4
    assert float(patients[0]["dog"]) == pytest.approx(mean, abs=2e-6)
    page = (base / "out" / "r.html").read_text(encoding="utf-8")
    assert "Not for clinical use" in page and page.count("<img") == 24 and page.rstrip().endswith("</html>")


def test_predict_says_of_the_fitted_images_what_classify_says(base, kpl):
    method = ["--classifier", "kpl", "--set", "steps=50"]
    assert kpl("fit", *COMMON, "--out", "out/m.safetensors", *method)[0] == 0
    assert kpl("classify", *COMMON, "--out", "out/a.csv", *method)[0] == 0
    code, err = kpl("predict", "out/m.safetensors", "images", "--out", "out/b.csv")
    assert (code, err) == (0, ["kpl: wrote out/b.csv: 24 images, 2 classes"])
    assert (base / "out" / "a.csv").read_bytes() == (base / "out" / "b.csv").read_bytes()
    one = "images/p03_07.png"
    assert kpl("predict", "out/m.safetensors", one, "--out", "out/c.csv")[0] == 0
    (alone,) = rows(base / "out" / "c.csv")
    same = next(row for row in rows(base / "out" / "a.csv") if row["path"] == one)
    assert (alone["label"], alone["description"]) == (same["label"], same["description"])


def test_settings_change_the_result_and_k_is_one_of_them(base, kpl):
    short = [part for part in COMMON if part not in ("--k", "2")]
    for name, settings in (("a", []), ("b", ["--set", "text_temperature=0.5"]), ("c", ["--set", "k=1"])):
        kept = ["--set", "k=2"] if name != "c" else []
        assert kpl("classify", *short, "--out", f"out/{name}.csv", *settings, *kept)[0] == 0
    tables = [(base / "out" / f"{name}.csv").read_text() for name in "abc"]
    assert len(set(tables)) == 3


@pytest.mark.parametrize("method", ["transclip", "oga"])
def test_fit_writes_a_report_and_says_where_predict_may_differ(method, base, kpl):
    options = [
        *COMMON[:-2],
        "--classifier",
        method,
        "--out",
        "out/m.safetensors",
        "--report",
        "out/r.html",
    ]
    code, err = kpl("fit", *options, "--workers", "-1")
    assert code == 2 and "workers must be" in err[0] and list((base / "out").iterdir()) == []
    code, err = kpl("fit", *options)
    assert code == 0 and (base / "out" / "r.html").is_file()
    said = (
        f"{method} judged each image by others, near it or before it: `kpl predict` places images one by one"
    )
    assert any(said in line for line in err)


def test_predict_follows_a_moved_encoder_and_lists_what_it_skips(base, kpl):
    kpl("fit", *COMMON, "--out", "out/m.safetensors")
    (base / "tiny").rename(base / "moved")
    assert kpl("predict", "out/m.safetensors", "images", "--out", "out/t.csv")[0] == 2
    (base / "images" / "p00_00.png").write_bytes(b"no image")
    moved = ["predict", "out/m.safetensors", "images", "--out", "out/t.csv", "--encoder", "path:moved"]
    code, err = kpl(*moved)
    assert code == 2 and "p00_00.png: not an image" in err[-1]
    code, err = kpl(*moved, "--skip-unreadable")
    assert code == 0 and "kpl: skipped 1 unreadable:" in err
    assert len(rows(base / "out" / "t.csv")) == 23


BAD = {
    "unknown parameter": (["--set", "ruonds=5"], "takes no 'ruonds': did you mean 'rounds'?"),
    "value of another kind": (
        ["--set", "rounds=few"],
        "rounds must be a whole number of at least 1, not 'few'",
    ),
    "value out of range": (["--set", "temperature=-1"], "temperature must be a number above 0, not -1"),
    "no value": (["--set", "steps"], "--set 'steps': write it as NAME=VALUE"),
    "set twice": (["--set", "steps=1", "--set", "steps=2"], "--set steps is given twice, as 1 and '2'"),
    "k twice": (["--set", "k=3"], "k is given twice, as 2 and as 3"),
    "unknown classifier": (["--classifier", "klp"], "unknown classifier 'klp': did you mean 'kpl'?"),
    "patients unknown": (["--patients", "out/p.csv"], "--patients needs to know them: give --groups"),
    "two ways to patients": (["--groups", "groups.csv", "--group-pattern", "^p"], "not both"),
    "pattern": (["--group-pattern", "("], "is no regular expression"),
    "missing labels": (["--labels", "nowhere.csv"], "nowhere.csv: no such file"),
    "labels without column": (["--labels", "groups.csv"], "no column 'label' in its header"),
    "report nowhere": (["--report", "nowhere/r.html"], "the folder nowhere does not exist"),
    "two files in one": (["--report", "out/t.csv"], "--report out/t.csv: the same file as --out"),
    "over the labels": (["--labels", "labels.csv", "--report", "labels.csv"], "the same file as --labels"),
    "workers": (["--workers", "-1"], "workers must be"),
    "thumbnails": (["--thumbnails", "500"], "--thumbnails 500: a report holds 0 to 200"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case, base, kpl):
    options, said = BAD[case]
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", *options)
    assert code == 2 and len(err) == 1 and err[0].startswith("kpl: ") and said in err[0]
    assert list((base / "out").iterdir()) == []
    assert (base / "labels.csv").read_text().startswith("path,label")


TABLES = {
    "unknown class": (
        lambda text: text.replace("dog", "dgo", 1),
        "label 'dgo' is no class: did you mean 'dog'?",
    ),
    "too few": (
        lambda text: "\n".join(text.splitlines()[:-4]),
        "a label for 20 of 24 images; the first without",
    ),
    "too many": (lambda text: text + "zz.png,dog\n", "line 26 names 'zz.png', which is no image of"),
}


@pytest.mark.parametrize("case", TABLES)
def test_labels_that_do_not_fit_are_found_before_anything_is_encoded(case, base, kpl, monkeypatch):
    change, said = TABLES[case]
    (base / "labels.csv").write_text(change((base / "labels.csv").read_text()))
    monkeypatch.setattr("kpl_lib.own_images.classify.load_encoders", lambda *_: pytest.fail("encoded first"))
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", "--labels", "labels.csv")
    assert code == 2 and len(err) == 1 and "labels.csv" in err[0] and said in err[0]
    assert list((base / "out").iterdir()) == []


def other_encoder(base):
    shutil.rmtree(base / "tiny")
    write_tiny_encoder(base / "tiny", seed=1)


MODELS = {
    "missing": (["nowhere.safetensors", "images"], None, "nowhere.safetensors: no such file"),
    "a table": (["labels.csv", "images"], None, "labels.csv: no fitted model"),
    "missing image": (["out/m.safetensors", "zz.png"], None, "zz.png: no such file"),
    "one image twice": (["out/m.safetensors", "images", "images/p00_00.png"], None, "named twice"),
    "workers": (["out/m.safetensors", "images", "--workers", "-1"], None, "workers must be"),
    "empty folder": (["out/m.safetensors", "out"], None, "out: no images in it"),
    "another encoder": (
        ["out/m.safetensors", "images"],
        other_encoder,
        "is not the one that the model was fitted",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_bad_models_and_images_of_predict(case, base, kpl):
    arguments, damage, said = MODELS[case]
    kpl("fit", *COMMON, "--out", "out/m.safetensors")
    if damage:
        damage(base)
    code, err = kpl("predict", *arguments, "--out", "out/t.csv")
    assert code == 2 and len(err) == 1 and said in err[0]
    assert [path.name for path in (base / "out").iterdir()] == ["m.safetensors"]
    code, err = kpl("predict", "out/m.safetensors", "images", "--out", "out/m.safetensors")
    assert code == 2 and "the same file as the model" in err[0]


def test_fit_needs_a_name_for_a_model(base, kpl):
    code, err = kpl("fit", *COMMON, "--out", "out/model.pkl")
    assert code == 2 and "let the name end in .safetensors" in err[0]
    assert list((base / "out").iterdir()) == []


def test_a_failed_run_leaves_old_files_as_they_were(base, kpl):
    for name in ("t.csv", "r.html"):
        (base / "out" / name).write_text("old")
    (base / "images" / "p00_00.png").write_bytes(b"no image")
    assert kpl("classify", *COMMON, "--out", "out/t.csv", "--report", "out/r.html")[0] == 2
    assert {path.read_text() for path in (base / "out").iterdir()} == {"old"}


def test_a_report_that_fails_leaves_no_table(base, kpl, monkeypatch):
    def broken(*_, **__):
        raise InputError("report: broken")

    monkeypatch.setattr("kpl_lib.own_images.report.render", broken)
    for command, out in (("classify", "out/t.csv"), ("fit", "out/m.safetensors")):
        assert kpl(command, *COMMON, "--out", out, "--report", "out/r.html")[0] == 2
        assert list((base / "out").iterdir()) == []


def test_a_class_called_like_a_column_is_refused(base, kpl):
    text = json.loads((base / "pets.json").read_text())
    text["classes"]["patient"] = text["classes"].pop("dog")
    (base / "pets.json").write_text(json.dumps(text))
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv")
    assert code == 2 and "class 'patient' is called like a column" in err[0]


def test_values_are_read_as_what_they_look_like():
    found = parse_settings(["a=1", "b=1e-3", "c=True", "d=all", "e=-2", "learning-rate=3.0"])
    assert found == {"a": 1, "b": 1e-3, "c": True, "d": "all", "e": -2, "learning_rate": 3.0}
    assert [type(value) for value in found.values()] == [int, float, bool, str, int, float]
    with pytest.raises(InputError, match="write it as NAME=VALUE"):
        parse_settings(["=3"])


def some_labels(base, count):
    """A table that names the first `count` images alone."""
    lines = (base / "labels.csv").read_text().splitlines()[: count + 1]
    (base / "some.csv").write_text("\n".join(lines) + "\n")
    return ["--labels", "some.csv"]


def test_a_coverage_writes_sets_into_table_and_report(base, kpl):
    asked = [*some_labels(base, 16), "--coverage", "0.8"]
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", *asked, "--report", "out/r.html")
    assert code == 0, err
    said = next(line for line in err if line.startswith("kpl: sets: asked 80%, reached "))
    assert re.search(
        r"reached [01]\.\d{3} \[[01]\.\d{3}, [01]\.\d{3}\] on labelled images, each judged", said
    )
    found = rows(base / "out" / "t.csv")
    assert [bool(row["true label"]) for row in found] == [True] * 16 + [False] * 8
    for row in found:
        inside = [name for name in row["set"].split("; ") if name]
        assert set(inside) <= {"house cat", "dog"}
        assert row["answer"] == (inside[0] if len(inside) == 1 else "cannot say")
    known = [row["true label"] in row["set"].split("; ") for row in found[:16]]
    assert sum(known) >= 0.8 * 16  # the threshold is one of their own scores
    page = (base / "out" / "r.html").read_text()
    assert 'id="sets"' in page and "given for 16 of 24 images, used to calibrate sets" in page
    assert page.count("cannot say") >= 1 or all(row["answer"] != "cannot say" for row in found)


@pytest.mark.parametrize(
    ("count", "coverage", "said"),
    [
        (0, "0.9", "needs labels of some images"),
        (5, "0.9", "5 labelled images are too few, it needs at least 9"),
        (16, "1.5", "give .* such as 0.9, not 1.5"),
        (16, "0", "give .* such as 0.9, not 0"),
    ],
)
def test_a_coverage_that_cannot_be_is_one_line_and_writes_nothing(base, kpl, count, coverage, said):
    labels = some_labels(base, count) if count else []
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", *labels, "--coverage", coverage)
    assert code == 2 and len(err) == 1 and re.search(said, err[0]), err
    assert list((base / "out").iterdir()) == []


def test_labels_of_unknown_images_are_refused_with_a_coverage_too(base, kpl):
    (base / "some.csv").write_text("path,label\nnowhere.png,dog\n")
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", "--labels", "some.csv", "--coverage", "0.8")
    assert code == 2 and "line 2 names 'nowhere.png', which is no image of images" in err[0]


def test_several_encoders_are_joined(base, kpl):
    write_tiny_encoder(base / "other", seed=1)
    two = ["--encoder", "path:other", "--report", "out/r.html"]
    code, err = kpl("classify", *COMMON, *two, "--out", "out/t.csv")
    assert code == 0 and len(rows(base / "out" / "t.csv")) == 24, err
    said = next(line for line in err if line.startswith("kpl: encoders by agreement, without labels: "))
    assert "path:tiny" in said and "path:other" in said
    page = (base / "out" / "r.html").read_text()
    assert 'id="encoders"' in page and "path:tiny + path:other" in page


def test_labels_of_one_kind_of_images_alone_are_told(base, kpl):
    lines = (base / "labels.csv").read_text().splitlines()
    dark = [line for line in lines[1:] if line.endswith("dog")]  # images that are darker than all others
    (base / "some.csv").write_text("\n".join([lines[0], *dark]) + "\n")
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", "--labels", "some.csv", "--coverage", "0.8")
    assert code == 0 and any("do not look like a random part of the folder (p = 0.0" in line for line in err)
    code, err = kpl("classify", *COMMON, "--out", "out/t.csv", *some_labels(base, 16), "--coverage", "0.8")
    assert code == 0 and not any("do not look like" in line for line in err)
