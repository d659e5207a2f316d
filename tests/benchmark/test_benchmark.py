"""The runner of benchmarks: resumed, killed, shared, changed; what is recomputed and what is not."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from benchmark_world import SETS, figures, kill_after, lines, notes, runner, small_grid, whole_lines

from kpl_lib.benchmark import Grid, read_rows, run
from kpl_lib.benchmark import inputs as benchmark_inputs
from kpl_lib.benchmark.inputs import Inputs
from kpl_lib.benchmark.rows import ResultsFile, to_line
from kpl_lib.classifiers import create
from kpl_lib.common.code import code_of
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.encoders import Encoder
from kpl_lib.features import Features
from kpl_lib.metrics import accuracy, evaluate, paired_difference

pytestmark = pytest.mark.xdist_group("benchmark")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folder with encoder and features."""
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def finished(home):
    """A finished results file."""
    out = home / "finished.jsonl"
    assert do(home, out).failed == ()
    return out


def do(home, out, content=None, **options):
    grid = Grid.from_dict(content or small_grid())
    return run(grid, out, cache=home / "features", progress=False, **options)


def test_a_row_says_everything_about_its_run(home, finished):
    rows = lines(finished)
    grid = Grid.from_dict(small_grid())
    assert {row["key"] for row in rows} == {setting.key for setting in grid.settings()}
    assert len(rows) == 2 * (2 * 2 + 2) + 1
    row = next(r for r in rows if r["dataset"] == SETS[1] and r["changed"] == {"k": 4})
    assert row["origin"] == "measured-phantom" and row["knowledge"] == "phantom-malaria"
    assert (row["n"], sum(row["class_counts"].values()), row["prior"], row["seed"]) == (24, 24, "uniform", 0)
    assert row["majority_rate"] == pytest.approx(max(row["class_counts"].values()) / 24, abs=1e-6)
    assert row["positive"] == "parasitized cell" and row["resamples"] == 50 and row["reference"] is False
    assert {"torch", "numpy", "kpl_lib", "python"} <= set(row["versions"]) and row["device"] == "cpu"
    assert row["parameters"] == {"k": 4, "temperature": 0.01}  # of the encoder
    assert row["date"][:2] == "20" and row["seconds"] > 0


def test_a_row_holds_what_the_library_says(home, finished):
    grid = Grid.from_dict(small_grid())
    setting = next(s for s in grid.settings() if s.classifier == "kpl-closed-form" and s.text == "names")
    row = next(r for r in lines(finished) if r["key"] == setting.key)
    inputs = Inputs(setting.dataset, setting.encoders, cache=home / "features")
    features, bank = inputs.features, inputs.bank(setting.knowledge, "names")
    prediction = create("kpl-closed-form", text="names").fit_predict(features, bank)
    plain = create("clip", text="names").fit_predict(features, bank)
    found = evaluate(prediction, features.labels, resamples=50)
    for name, estimate in found.items():
        triple = (estimate.value, estimate.low, estimate.high)
        assert row["metrics"][name] == pytest.approx(triple, abs=1e-6, nan_ok=True)
    assert prediction.labels.tolist() != plain.labels.tolist()
    for name in ("accuracy", "balanced_accuracy"):
        gain = paired_difference(prediction, plain, features.labels, name, resamples=50)
        assert row["difference"][name] == pytest.approx((gain.difference, gain.low, gain.high), abs=1e-6)


def test_the_plain_text_proxy_differs_by_nothing_from_itself(finished):
    same = [r for r in lines(finished) if r["classifier"] == "clip" and r["prior"] == "uniform"]
    assert len(same) == 8 and {tuple(r["difference"]["accuracy"]) for r in same} == {(0.0, 0.0, 0.0)}
    assert len({tuple(r["metrics"]["accuracy"]) for r in same if r["dataset"] == SETS[0]}) > 1  # texts matter


def test_a_prior_reaches_the_method(finished):
    rows = [
        r for r in lines(finished) if (r["classifier"], r["text"], r["dataset"]) == ("clip", "names", SETS[1])
    ]
    by_prior = {r["prior"]: r["metrics"]["ece"] for r in rows}
    assert len(rows) == 2
    assert by_prior["uniform"] != by_prior["true"]


def test_what_is_there_is_kept(home, finished, tmp_path):
    before = finished.read_bytes()
    again = do(home, finished)
    assert (again.written, again.kept) == (0, 13) and finished.read_bytes() == before
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(before.splitlines(keepends=True)[:5]))
    rest = do(home, cut)
    assert (rest.written, rest.kept) == (8, 5) and cut.read_bytes().startswith(
        b"".join(before.splitlines(True)[:5])
    )
    assert figures(cut) == pytest.approx(figures(finished), abs=1e-5)


def test_images_are_encoded_once_and_not_at_all_where_nothing_is_left(home, tmp_path, monkeypatch):
    encoded, real = [], Encoder.encode_images

    def counted(self, dataset, *arguments, **options):
        encoded.append(dataset.name)
        return real(self, dataset, *arguments, **options)

    monkeypatch.setattr(Encoder, "encode_images", counted)
    do(home, tmp_path / "x.jsonl")
    assert sorted(encoded) == sorted(SETS)
    assert do(home, tmp_path / "x.jsonl").kept == 13 and len(encoded) == 2


def changed_keys(home, finished, tmp_path, content=None):
    """Keys of the rows that a run of `content` makes again, and the rows before and after."""
    out = tmp_path / "copy.jsonl"
    out.write_bytes(finished.read_bytes())
    before = {r["key"]: r for r in lines(finished)}
    done = do(home, out, content)
    after = {r["key"]: r for r in lines(out)}
    changed = {key for key in after if before.get(key, {}).get("checksum") != after[key]["checksum"]}
    assert done.written == len(changed) and set(before) <= set(after)
    return changed, after


def test_other_code_of_a_method_makes_its_rows_again_and_no_others(home, finished, tmp_path, monkeypatch):
    kind = type(create("kpl-closed-form"))
    monkeypatch.setattr(benchmark_inputs, "code_of", lambda k: "new" if k is kind else code_of(k))
    changed, after = changed_keys(home, finished, tmp_path)
    assert {after[key]["classifier"] for key in changed} == {"kpl-closed-form"} and len(changed) == 4


def test_other_images_make_the_rows_of_their_set_again(home, finished, tmp_path, monkeypatch):
    real = benchmark_inputs.load_dataset

    def load(name, **options):
        found = real(name, **options)
        if name == SETS[1]:
            object.__setattr__(found, "fingerprint", found.fingerprint + "*")
        return found

    monkeypatch.setattr(benchmark_inputs, "load_dataset", load)
    changed, after = changed_keys(home, finished, tmp_path)
    assert {after[key]["dataset"] for key in changed} == {SETS[1]} and len(changed) == 7


def test_other_texts_parameters_and_resamples_count_too(home, finished, tmp_path):
    from kpl_lib.knowledge import KnowledgeBase

    own = tmp_path / "own.json"
    KnowledgeBase.load("phantom-chest").save(own)
    content = small_grid(references=[], datasets=[{"name": SETS[0], "knowledge": str(own)}])
    first = do(home, tmp_path / "own.jsonl", content)
    assert (first.written, first.failed) == (6, ())
    own.write_text(own.read_text().replace("lung", "chest", 1))
    assert do(home, tmp_path / "own.jsonl", content).written == 6
    assert len(lines(tmp_path / "own.jsonl")) == 6
    changed, _ = changed_keys(home, finished, tmp_path, small_grid(resamples=40))
    assert len(changed) == 13


@pytest.mark.parametrize(
    ("grid", "file"), [("phantom", "phantom.jsonl"), ("encoder-seeds", "encoder_seeds.jsonl")]
)
def test_rows_that_ship_were_made_by_this_code(grid, file):
    """If not: run `kpl benchmark run --grid NAME` anew, compare, and commit the rows."""
    whole, rows = Grid.load(grid), lines(data_dir() / "results" / file)
    known = {row["key"]: row["checksum"] for row in rows}
    settings = whole.settings()
    assert {setting.key for setting in settings} == set(known) and len(rows) == len(known)
    for encoders in whole.encoders:
        inputs = Inputs(settings[0].dataset, encoders)
        first = [one for one in settings if (one.dataset, one.encoders) == (settings[0].dataset, encoders)]
        assert first and all(known[one.key] == inputs.checksum(one, whole.resamples) for one in first)


def test_grades_and_the_positive_class_are_read_from_the_grid(home, tmp_path):
    sets = [
        {"name": SETS[0], "positive": "normal chest"},
        {"name": "phantom-retinopathy/unseen/even", "ordered": True},
        {"name": SETS[1], "positive": "flu"},
    ]
    done = do(home, tmp_path / "x.jsonl", small_grid(datasets=sets, blocks=[{"classifiers": "clip"}]))
    chest, fundus = lines(tmp_path / "x.jsonl")
    assert chest["positive"] == "normal chest" and fundus["positive"] is None
    assert chest["metrics"]["sensitivity"] == chest["metrics"]["recall/normal chest"]
    assert "quadratic_kappa" in fundus["metrics"] and "quadratic_kappa" not in chest["metrics"]
    assert done.missing == 1 and "there is no class 'flu'" in done.failed[0]


def test_a_failing_run_is_one_line_and_the_others_go_on(home, tmp_path, monkeypatch):
    def fails(self, images, bank, prior):
        raise RuntimeError("no luck\ntoday")

    monkeypatch.setattr(type(create("kpl-closed-form")), "_fit", fails)
    done = do(home, tmp_path / "x.jsonl", small_grid(datasets=[SETS[0]]))
    assert done.written == len(lines(tmp_path / "x.jsonl")) == 4
    assert done.failed == ("phantom-chest/unseen/even: 2 runs: RuntimeError: no luck today",)
    assert done.missing == 2 and "4 rows written, 0 kept, 2 runs failed" in str(done)


def test_missing_inputs_are_said_once_a_set(home, tmp_path):
    absent = {"name": "folder", "options": {"root": str(tmp_path / "absent")}, "knowledge": "phantom-chest"}
    wrong = {"name": SETS[0], "knowledge": "phantom-malaria"}
    done = do(home, tmp_path / "x.jsonl", small_grid(datasets=[absent, wrong], options={}))
    assert done.written == 0 and len(done.failed) == 2
    assert "absent: no such folder" in done.failed[0] and "7 runs" not in done.failed[0]
    assert "describes none of the 2 classes" in done.failed[1]


def test_without_labels_metrics_refuse_and_predictions_still_come(home, monkeypatch, tmp_path):
    features = Features(torch.eye(4))
    bank = Inputs(Grid.from_dict(small_grid()).datasets[0], small_grid()["encoders"]).bank(
        "phantom-chest", "names"
    )
    images = Features(torch.nn.functional.normalize(torch.rand(5, bank.names.shape[1]), dim=1))
    prediction = create("clip").fit_predict(images, bank)
    assert len(prediction) == 5 and features.labels is None
    with pytest.raises(InputError, match="labels are missing"):
        accuracy(prediction, images.labels)
    real = benchmark_inputs.load_dataset

    def unlabelled(name, **options):
        found = real(name, **options)
        object.__setattr__(found, "labels", None)
        return found

    monkeypatch.setattr(benchmark_inputs, "load_dataset", unlabelled)
    grid = Grid.from_dict(small_grid(datasets=[SETS[0]]))
    done = run(grid, tmp_path / "x.jsonl", cache=tmp_path / "other", progress=False)
    assert done.written == 0 and "6 runs" in done.failed[0] and "labels are missing" in done.failed[0]


def test_references_use_labels_and_say_so(home, tmp_path):
    wanted = [{"name": "linear-probe", "parameters": {"shots": [1, 2], "draws": 3}}, {"name": "class-means"}]
    done = do(home, tmp_path / "x.jsonl", small_grid(references=wanted, blocks=[]))
    rows = lines(tmp_path / "x.jsonl")
    assert [(r["classifier"], r["changed"].get("shots")) for r in rows][:3] == [
        ("linear-probe", 1),
        ("linear-probe", 2),
        ("class-means", None),
    ]
    assert all(r["reference"] and r["difference"] is None for r in rows)
    assert rows[0]["spread"]["accuracy"] > 0 and rows[2]["spread"] is None
    assert len(done.failed) == 1 and "name a 'pool'" in done.failed[0]  # the second set has none


# The file.


def rows_of(finished, count):
    return [json.loads(line) for line in finished.read_text().splitlines()[:count]]


def test_a_torn_last_line_is_cut_off_with_a_warning(home, finished, tmp_path):
    whole = finished.read_bytes()
    for end in (
        whole[:-40],
        whole[:-1] + b'\n{"key": "abc',
        whole[: -len(whole.splitlines()[-1])] + b"\0" * 30,
    ):
        out = tmp_path / "torn.jsonl"
        out.write_bytes(end)
        with pytest.warns(UserWarning, match=r"torn\.jsonl: line 1[34] is torn; it is left out"):
            read_rows(out)
        assert out.read_bytes() == end
        with pytest.warns(UserWarning, match="is torn; cut off, its run is done again"):
            done = do(home, out)
        assert done.written + done.kept == len(lines(out)) == 13 and done.written <= 1


def test_a_whole_last_line_without_its_end_is_kept(home, finished, tmp_path):
    out = tmp_path / "x.jsonl"
    out.write_bytes(finished.read_bytes()[:-1])
    assert do(home, out).written == 0 and len(lines(out)) == 13


def test_a_broken_line_elsewhere_is_refused_and_the_file_left_alone(home, finished, tmp_path):
    out = tmp_path / "x.jsonl"
    whole = finished.read_bytes().splitlines(keepends=True)
    for bad, said in ((b'{"key": \n', "line 3 is broken"), (b'{"a": 1}\n', "it has no 'key'")):
        out.write_bytes(b"".join([*whole[:2], bad, *whole[2:]]))
        before = out.read_bytes()
        with pytest.raises(InputError, match=said):
            do(home, out)
        with pytest.raises(InputError, match=said):
            read_rows(out)
        assert out.read_bytes() == before
    out.write_text("name,value\n1,2\n")
    with pytest.raises(InputError, match="line 1 is broken"):
        do(home, out)


def test_files_that_cannot_be_are_refused(home, tmp_path):
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        do(home, tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(InputError, match="it is a folder"):
        do(home, tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="no rows in it"):
        read_rows(tmp_path / "empty.jsonl")


def test_a_row_of_another_runner_is_not_written_twice(finished, tmp_path):
    first, second = (ResultsFile(tmp_path / "x.jsonl") for _ in range(2))
    one, two = rows_of(finished, 2)
    assert first.add(one) and not second.add(one) and second.add(two)
    assert first.add({**one, "checksum": "other"})
    assert [r["checksum"] for r in lines(tmp_path / "x.jsonl")] == [two["checksum"], "other"]
    assert set(second.rows()) == {one["key"], two["key"]}


def test_a_full_disk_leaves_whole_rows(finished, tmp_path, monkeypatch):
    store = ResultsFile(tmp_path / "x.jsonl")
    one, two = rows_of(finished, 2)
    store.add(one)
    real = os.write
    monkeypatch.setattr("kpl_lib.benchmark.rows.os.write", lambda handle, line: real(handle, line[:50]))
    with pytest.raises(InputError, match="the disk is full"):
        store.add(two)
    assert lines(tmp_path / "x.jsonl") == [one]


def test_numbers_survive_the_file(finished):
    row = rows_of(finished, 1)[0]
    assert json.loads(to_line(row)) == row
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_line({"x": float("nan")})


# Kills and company, with real processes: forked from a server that has imported the library.


@pytest.fixture(scope="module")
def context():
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["kpl_lib.benchmark", "sklearn.linear_model", "numba"])
    return made


def kills(context, home, tmp_path, count, seed):
    """Kill a runner at random moments until it was hit `count` times; after each look at the file; then finish."""
    content, out, log = small_grid(), tmp_path / "killed.jsonl", tmp_path / "log"
    rng, hit = random.Random(seed), 0
    arguments = (content, out, home / "features", log)
    for _ in range(10 * count):
        if hit == count:
            break
        if len(whole_lines(out)) == 13:
            out.unlink()
            log.unlink()
        before, noted_before = len(whole_lines(out)), notes(log)
        process = context.Process(target=runner, args=arguments)
        hit += kill_after(process, log, rng.randrange(13 - before), rng.uniform(0, 0.05))
        rows = whole_lines(out)  # none twice
        noted = set(log.read_text().split()) if log.exists() else set()
        assert noted <= {row["key"] for row in rows}  # what was finished is there
        assert len(rows) <= before + notes(log) - noted_before + 1
    left = len(whole_lines(out))
    torn = out.exists() and out.read_bytes()[-1:] not in (b"", b"\n")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = do(home, out)
    assert len(said) == torn and all("cut off, its run is done again" in str(one.message) for one in said)
    assert (done.written, done.kept) == (13 - left, left) and len(lines(out)) == 13
    return hit


def test_a_kill_loses_at_most_the_run_in_progress(context, home, finished, tmp_path):
    assert kills(context, home, tmp_path, count=3, seed=int(time.time())) == 3


@pytest.mark.slow
def test_twenty_kills_lose_at_most_the_run_in_progress_each(context, home, finished, tmp_path):
    assert kills(context, home, tmp_path, count=20, seed=1) == 20


def test_two_runners_share_a_file(context, home, finished, tmp_path):
    out = tmp_path / "shared.jsonl"
    pair = [context.Process(target=runner, args=(small_grid(), out, home / "features")) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
    assert figures(out) == pytest.approx(figures(finished), abs=1e-5)


@pytest.mark.slow
def test_worker_processes_give_the_same_rows(context, home, finished, tmp_path):
    out = tmp_path / "jobs.jsonl"
    assert do(home, out, jobs=2).written == 13
    assert figures(out) == pytest.approx(figures(finished), abs=1e-5)


def children(process: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_worker_processes_end_when_the_first_one_is_killed(home, tmp_path):
    grid, out = tmp_path / "long.json", tmp_path / "x.jsonl"
    grid.write_text(json.dumps(small_grid(options={"n": 100}, datasets=list(SETS), resamples=20_000)))
    command = [
        sys.executable,
        "-m",
        "kpl_lib",
        "benchmark",
        "run",
        "--grid",
        grid,
        "--out",
        out,
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "KPL_CACHE": str(tmp_path)}, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not out.exists():
        time.sleep(0.05)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) >= 2
    deadline = time.time() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.time() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    lines(out)


def test_knowledge_is_brought_to_the_classes_of_the_images(home, tmp_path):
    content = json.loads((data_dir() / "knowledge" / "phantom-chest.json").read_text())
    turned = {**content, "classes": dict(reversed(content["classes"].items()))}
    file = tmp_path / "turned.json"
    file.write_text(json.dumps(turned))
    sets = [{"name": SETS[0], "knowledge": ["phantom-chest", str(file)]}]
    do(home, tmp_path / "x.jsonl", small_grid(datasets=sets))
    rows = lines(tmp_path / "x.jsonl")
    pair = [[r["metrics"]["accuracy"] for r in rows if r["knowledge"] == k] for k in sets[0]["knowledge"]]
    assert len(pair[0]) == 6 and pair[0] == pair[1]
    more = {**content["classes"], "third": ["a third"]}
    file.write_text(json.dumps({**content, "classes": more}))
    done = do(home, tmp_path / "x.jsonl", small_grid(datasets=sets))
    assert done.missing == 6 and "has more classes: third of phantom-chest" in done.failed[0]
