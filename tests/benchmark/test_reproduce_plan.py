"""`kpl reproduce` on small sets: told before, resumed, refused, compared."""

import json
import multiprocessing
import shutil
import sys
import time
import zipfile

import pytest
from command_line import kpl
from reproduce_world import figures, small_plan, small_world
from tiny_encoder import write_tiny_encoder

from kpl_lib.benchmark import Grid
from kpl_lib.benchmark import reproduce as engine
from kpl_lib.benchmark.inputs import CLASS_NAMES
from kpl_lib.benchmark.plan import plan
from kpl_lib.benchmark.published import LOG
from kpl_lib.benchmark.released_log import beside_log, log_page
from kpl_lib.benchmark.reproduce import reproduce
from kpl_lib.benchmark.run_folder import check_folder
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.datasets import get as getting
from kpl_lib.datasets.load import FAMILIES, load_dataset
from kpl_lib.distributed.cost import assumptions
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.encoders.table import encoder_table
from kpl_lib.knowledge.files import known_names


@pytest.fixture
def archives(tmp_path, monkeypatch):
    return small_world(tmp_path, monkeypatch)


def test_the_grid_has_every_set_with_files_and_says_which_have_no_knowledge():
    grid = Grid.load("reproduce")
    assert {one.name for one in grid.datasets} == set(FAMILIES)
    bare = {one.name for one in grid.datasets if one.knowledge == (CLASS_NAMES,)}
    assert bare == set(FAMILIES) - set(known_names())
    assert {name for (name,) in grid.encoders} <= {row.name for row in encoder_table()}
    texts = {(s.dataset.name, s.text) for s in grid.settings()}
    assert {text for name, text in texts if name in bare} == {"names"}


def test_the_grid_has_each_figure_of_the_log():
    made = {
        (s.dataset.name, s.encoder.replace("-quickgelu/openai", ""), s.classifier, s.parameters.get("k"))
        for s in Grid.load("reproduce").settings()
    }
    lines = (data_dir() / "published" / LOG).read_text(encoding="utf-8").splitlines()[1:]
    wanted = [line.split(",")[:3] for line in lines]
    ours = ("clip", "inmap", "kpl-released")
    assert len(wanted) == 100
    assert {(*one[:2], name, int(one[2])) for one in wanted for name in ours} <= made


def test_operations_are_those_that_were_counted_otherwise():
    names = {"ViT-B-16": "ViT-B-16-quickgelu/openai", "ViT-L-14": "ViT-L-14-quickgelu/openai"}
    found = {one.name: one for one in plan("out", ["montgomery"], list(names.values())).encoders}
    for short, name in names.items():
        assert found[name].operations / 2e9 == pytest.approx(
            assumptions()["encoders"][short]["gmacs"], rel=0.01
        )
    assert 140e6 < found["ViT-B-16-quickgelu/openai"].weights < 160e6


@pytest.mark.parametrize(
    ("sets", "encoders", "line"),
    [
        ("montgomry", "phantom", "unknown dataset 'montgomry': did you mean 'montgomery'? known: "),
        ("phantom-chest", "phantom", "dataset 'phantom-chest' is drawn: there is nothing to get"),
        ("montgomery", "fantom", "unknown encoder 'fantom'; nearest: phantom"),
        ("", "phantom", None),
    ],
)
def test_a_wrong_name_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, sets, encoders, line):
    if line is None:
        with pytest.raises(InputError, match="no set is named"):
            plan(tmp_path / "out", [], ["phantom"])
        return
    code, _, said = kpl(
        monkeypatch, capsys, "reproduce", tmp_path / "out", "--sets", sets, "--encoders", encoders
    )
    assert code == 2 and said.startswith(f"kpl: {line}") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_plan_is_told_and_nothing_is_done(archives, tmp_path, monkeypatch, capsys):
    arguments = ("--sets", "montgomery,shenzhen,malaria,cub", "--archives", archives, "--dry-run")
    code, said, errors = kpl(monkeypatch, capsys, "reproduce", tmp_path / "out", *arguments)
    lines = dict(line.split(": ", 1) for line in said.splitlines()[:4])
    assert (code, errors) == (0, "") and not (tmp_path / "out").exists() and not (tmp_path / "data").exists()
    assert lines["montgomery"] == "10 images, from archives"
    assert lines["malaria"] == "27,558 images, from archives"
    assert lines["shenzhen"].startswith("ChinaSet_AllFiles.zip must be fetched by hand: not in ")
    assert lines["cub"].startswith("5,794 images, download (1.15 GB); no knowledge base ships")
    assert "8 x 33,362 images to encode" in said


def test_rows_facts_and_a_second_run(archives, tmp_path, monkeypatch):
    out = tmp_path / "out"
    done = reproduce(small_plan(out, archives), progress=False)
    wanted = {s.key for s in small_plan(out, archives).grid.settings()}
    assert (done.written, done.kept, done.missing, done.failed) == (len(wanted), 0, 0, ())
    rows, facts = figures(out), json.loads((out / "run.json").read_text())
    assert set(rows) == wanted and {row["origin"] for row in rows.values()} == {"measured-real"}
    dataset = load_dataset("montgomery")
    assert facts["sets"]["montgomery"]["fingerprint"] == dataset.fingerprint
    assert facts["sets"]["montgomery"]["source"] == "archives" and facts["device"] == "cpu"
    assert check_folder(out) == ()
    shutil.rmtree(out / "features")
    monkeypatch.setattr(Encoder, "encode_images", None)  # nothing is encoded for rows that are there
    again = reproduce(small_plan(out, archives), progress=False)
    assert (again.written, again.kept, again.missing) == (0, len(wanted), 0)
    assert figures(out) == rows and check_folder(out) == ()
    assert json.loads((out / "run.json").read_text())["sets"] == facts["sets"]


def test_a_stopped_run_goes_on_to_the_same_rows(archives, tmp_path, monkeypatch):
    reproduce(small_plan(tmp_path / "whole", archives), progress=False)
    run_batch = engine.run_batch

    def stopped(batch):
        for number, outcome in enumerate(run_batch(batch)):
            yield outcome
            if number == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_batch", stopped)
    out = tmp_path / "stopped"
    for rows in (3, 6):
        with pytest.raises(KeyboardInterrupt):
            reproduce(small_plan(out, archives), progress=False)
        assert len(figures(out)) == rows
    assert any("not listed in run.json" in line or "no runs" in line for line in check_folder(out))
    monkeypatch.setattr(engine, "run_batch", run_batch)
    assert reproduce(small_plan(out, archives), progress=False).kept == 6
    assert figures(out) == figures(tmp_path / "whole") and check_folder(out) == ()


def test_two_runs_share_a_folder(archives, tmp_path, monkeypatch):
    reproduce(small_plan(tmp_path / "whole", archives), progress=False)
    shutil.rmtree(tmp_path / "data")

    def slow(name, *arguments):
        with (tmp_path / "fetched").open("a") as file:
            file.write(f"{name}\n")
        time.sleep(3)
        return getting.get(name, *arguments)

    monkeypatch.setattr(engine, "get", slow)
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=share, args=(tmp_path / "out", archives)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "fetched").read_text() == "montgomery\n"
    assert figures(tmp_path / "out") == figures(tmp_path / "whole") and check_folder(tmp_path / "out") == ()


def share(out, archives):
    """One of two runs; its exit code says whether something failed."""
    sys.exit(len(reproduce(small_plan(out, archives), progress=False).failed))


def test_what_fails_is_told_at_the_end_and_the_rest_is_done(archives, tmp_path):
    sets, encoders = ("malaria", "shenzhen", "montgomery"), ("phantom", "path:nowhere")
    what = small_plan(tmp_path / "out", archives, sets, encoders)
    done = reproduce(what, progress=False)
    lines = {line.split(": ")[0]: line for line in done.failed}
    assert set(lines) == {"malaria", "shenzhen", "path:nowhere"} and all(
        "\n" not in line for line in done.failed
    )
    assert "its sha256 is" in lines["malaria"] and not (tmp_path / "data" / "malaria").exists()
    assert "ChinaSet_AllFiles.zip must be fetched by hand" in lines["shenzhen"]
    assert done.written == len(figures(tmp_path / "out")) > 0
    assert done.written + done.missing == len(what.grid.settings())
    assert done.left_out == done.missing and "0 runs failed, " in str(done).splitlines()[0]
    assert f"{done.missing} not tried, their set or encoder could not be had" in str(done)


def test_the_command_says_what_failed(archives, tmp_path, monkeypatch, capsys):
    out, small = tmp_path / "out", small_plan
    monkeypatch.setattr(
        "kpl_lib.benchmark.plan.plan", lambda out, sets, encoders, **_: small(out, archives, sets)
    )
    code, said, errors = kpl(monkeypatch, capsys, "reproduce", out, "--sets", "montgomery,shenzhen")
    assert (code, said) == (2, "") and errors.splitlines()[-1].startswith(
        "failed: shenzhen: ChinaSet_AllFiles"
    )
    code, said, _ = kpl(monkeypatch, capsys, "benchmark", "check", out)
    assert (code, said) == (0, f"{out}: sound\n")
    code, _, errors = kpl(
        monkeypatch, capsys, "reproduce", tmp_path / "datasets.json", "--sets", "montgomery"
    )
    assert code == 2 and errors.splitlines()[-1].endswith("choose a folder that you may write to")


def test_whatever_breaks_is_a_line_and_the_others_go_on(archives, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Encoder, "encode_images", broken)
    what = small_plan(tmp_path / "out", archives)
    done = reproduce(what, progress=False)
    assert done.failed == ("montgomery, phantom: RuntimeError: out of memory",)
    assert (done.written, done.missing, done.left_out) == (0, len(what.grid.settings()), 0)
    assert str(done).splitlines()[0].endswith(f"{done.missing} runs failed")


def test_other_weights_make_the_rows_again(archives, tmp_path):
    out, folder = tmp_path / "out", tmp_path / "tiny"
    name = write_tiny_encoder(folder, seed=1)
    first = reproduce(small_plan(out, archives, encoders=(name,)), progress=False)
    rows = figures(out)
    write_tiny_encoder(folder, seed=2)
    second = reproduce(small_plan(out, archives, encoders=(name,)), progress=False)
    assert (second.written, second.kept) == (first.written, 0) and set(figures(out)) == set(rows)
    assert all(figures(out)[key]["checksum"] != row["checksum"] for key, row in rows.items())


@pytest.mark.parametrize("moved", [0, 1])
def test_a_set_killed_while_it_is_put_in_place_is_whole_afterwards(tmp_path, monkeypatch, moved):
    archive, root, left = tmp_path / "cataractdataset.zip", tmp_path / "root", [moved]
    with zipfile.ZipFile(archive, "w") as opened:
        for name in ("dataset/1_normal/a.png", "dataset/2_cataract/b.png", "other/c.txt"):
            opened.writestr(name, name)
    rename = getting.os.rename

    def stopped(old, new):
        if old.parent.name.endswith(".unpacked"):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        rename(old, new)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(getting.os, "rename", stopped)
        getting.get("cataract", root, [archive])
    with pytest.raises(InputError, match="unpacked, but not yet whole"):  # the images are none
        getting.get("cataract", root, [archive])
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert names == ["dataset/1_normal/a.png", "dataset/2_cataract/b.png", "other/c.txt"]


def test_rows_beside_the_log():
    row = {"dataset": "shenzhen", "encoder": "ViT-L-14-336-quickgelu/openai", "classifier": "kpl-released"}
    row |= {"text": "top-k", "parameters": {"k": 10}, "prior": "uniform", "knowledge": "shenzhen"}
    row |= {"metrics": {"accuracy": [0.7, 0.65, 0.75]}}
    lines = (data_dir() / "published" / LOG).read_text(encoding="utf-8").splitlines()
    theirs = next(float(x.split(",")[5]) for x in lines if x.startswith("shenzhen,ViT-L-14-336,10,"))
    others = [row | {"parameters": {"k": 8}}, row | {"text": "names"}, row | {"prior": "true"}]
    others += [row | {"encoder": "phantom"}, row | {"knowledge": "class-names"}, row | {"dataset": "cub"}]
    pairs = beside_log([row, *others])
    (pair,) = pairs.to_dict("records")
    assert (pair["stage"], pair["k"], pair["theirs"], pair["ours"]) == (
        "vision_proxy_transport",
        10,
        theirs,
        70.0,
    )
    assert pair["difference"] == pytest.approx(70 - theirs) and pair["within"] == (65 <= theirs <= 75)
    assert f"| shenzhen | ViT-L-14-336 | vision_proxy_transport | {theirs:.1f} | 70 |" in log_page(pairs)
    assert "No row has the set" in log_page(beside_log(others))
