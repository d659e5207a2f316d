"""Grids: what they unfold into, and what they refuse."""

import json

import pytest
from benchmark_world import SETS
from command_line import kpl

from kpl_lib.benchmark import Grid
from kpl_lib.classifiers import available, create
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

BASE = {"datasets": [SETS[0]], "blocks": [{"classifiers": "clip"}]}


def unfolded(**change):
    return Grid.from_dict({**BASE, **change}).settings()


def test_the_phantom_grid_runs_every_classifier_on_every_set():
    grid = Grid.load("phantom")
    settings = grid.settings()
    assert {d.name.split("/", 1)[1] for d in grid.datasets} == {
        f"{scanner}/{balance}" for scanner in ("seen", "unseen") for balance in ("even", "skewed")
    }
    wanted = {name for name in available() if not create(name).needs_patches}
    assert len(grid.datasets) == 16 and grid.resamples >= 1000
    for dataset in grid.datasets:
        mine = [s for s in settings if s.dataset == dataset]
        assert {s.classifier for s in mine if not s.reference} == wanted
        assert [s.parameters["shots"] for s in mine if s.classifier == "linear-probe"] == [1, 2, 4, 8, 16]
        assert sum(s.classifier == "class-means" for s in mine) == 1
        assert {s.prior for s in mine} == {"uniform", "none"} | (
            {"true"} if "skewed" in dataset.name else set()
        )
        assert dataset.options["n"] == 2000 and dataset.ordered == ("retinopathy" in dataset.name)


def test_peers_of_the_phantom_grid_stand_on_names_and_on_the_text_of_kpl():
    settings = Grid.load("phantom").settings()
    k = create("kpl").parameters["k"]
    for name in {s.classifier for s in settings if s.text == "names"}:
        mine = [s for s in settings if s.classifier == name and "k" not in s.parameters]
        assert {"names", "top-k"} <= {s.text for s in mine}
        assert {s.make().parameters["k"] for s in mine if s.text == "top-k"} == {k}


def test_phantom_pools_share_no_image_with_what_is_evaluated():
    for dataset in Grid.load("phantom").datasets:
        name = dataset.pool["name"].split("/")
        assert name[-1] == "dev" and name[:2] == dataset.name.split("/")[:2]
        assert dataset.options.get("split", "test") == "test"


def test_lists_are_crossed_and_nothing_runs_twice():
    block = {"classifiers": ["clip", "kpl"], "text": ["names", "top-k"], "parameters": {"k": [2, 8]}}
    found = unfolded(blocks=[block, {"classifiers": "clip"}])
    assert len(found) == 8 and len({s.key for s in found}) == 8
    assert {tuple(s.parameters.items()) for s in found} == {(), (("k", 2),)}  # 8 is the default


def test_keys_change_with_what_matters():
    base = unfolded()[0].key
    assert unfolded()[0].key == base
    others = [
        unfolded(options={"n": 7})[0].key,
        unfolded(encoders=["path:x"])[0].key,
        unfolded(datasets=[SETS[1]])[0].key,
        unfolded(datasets=[{"name": SETS[0], "knowledge": "phantom-malaria"}])[0].key,
        unfolded(blocks=[{"classifiers": "clip", "priors": "true"}])[0].key,
        unfolded(blocks=[{"classifiers": "clip", "parameters": {"temperature": 0.02}}])[0].key,
        unfolded(seeds=[1])[0].key,
    ]
    assert len({base, *others}) == 8


def test_knowledge_bases_are_crossed_too():
    found = unfolded(datasets=[{"name": SETS[0], "knowledge": ["phantom-chest", "other.json"]}])
    assert [s.knowledge for s in found] == ["phantom-chest", "other.json"]


def test_a_grid_can_be_narrowed():
    grid = Grid.load("phantom")
    few = grid.narrow(classifiers=["kpl", "linear-probe"], datasets=["phantom-chest", "*/unseen/even"], n=50)
    settings = few.settings()
    assert {s.classifier for s in settings} == {"kpl", "linear-probe"}
    assert len(few.datasets) == 4 + 3 and {s.dataset.options["n"] for s in settings} == {50}
    assert grid.narrow(resamples=10).resamples == 10 and grid.resamples >= 1000
    keys = {s.key for s in grid.settings()}
    assert {s.key for s in grid.narrow(classifiers=["kpl"]).settings()} < keys


WRONG = {
    "a key of the grid": ({"encodres": []}, r"knows no 'encodres': did you mean 'encoders'\? known: name,"),
    "a key of a block": (
        {"blocks": [{"classifier": "clip"}]},
        "a block of the grid knows no 'classifier': did you",
    ),
    "a key of a dataset": ({"datasets": [{"names": "x"}]}, r"knows no 'names': did you mean 'name'\?"),
    "a dataset": (
        {"datasets": ["phantom-chset"]},
        r"unknown dataset 'phantom-chset': did you mean 'phantom-chest'\?",
    ),
    "a pool": (
        {"datasets": [{"name": SETS[0], "pool": {"name": "phantm-chest"}}]},
        "unknown dataset 'phantm-chest'",
    ),
    "a classifier": (
        {"blocks": [{"classifiers": "klp"}]},
        r"unknown classifier 'klp': did you mean 'kpl'\? known:",
    ),
    "a parameter": (
        {"blocks": [{"classifiers": "kpl", "parameters": {"kk": 1}}]},
        r"'kk': did you mean 'k'\?|'kk'",
    ),
    "a value": ({"blocks": [{"classifiers": "kpl", "parameters": {"k": [0]}}]}, "k must be a whole number"),
    "a text": ({"blocks": [{"classifiers": "kpl", "text": "nmaes"}]}, "'nmaes' is unknown"),
    "a prior": (
        {"blocks": [{"classifiers": "kpl", "priors": "treu"}]},
        r"unknown prior 'treu': did you mean 'true'\?",
    ),
    "a reference": (
        {"references": [{"name": "linear-prob"}]},
        r"reference 'linear-prob': did you mean 'linear-probe'\?",
    ),
    "its parameter": (
        {"references": [{"name": "linear-probe", "parameters": {"shot": 1}}]},
        r"knows no 'shot': did you mean 'shots'\?",
    ),
    "resamples": ({"resamples": 0}, "resamples must be a whole number"),
    "no datasets": ({"datasets": []}, "the grid has no 'datasets'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_unknown_is_named_with_the_nearest(case, tmp_path):
    change, said = WRONG[case]
    file = tmp_path / "my.json"
    file.write_text(json.dumps({**BASE, **change}))
    with pytest.raises(InputError, match=said) as caught:
        Grid.load(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_narrowing_to_what_is_not_there_is_refused():
    grid = Grid.load("phantom")
    with pytest.raises(InputError, match=r"unknown classifier 'klp': did you mean 'kpl'\?"):
        grid.narrow(classifiers=["klp"])
    with pytest.raises(InputError, match="unknown dataset 'phantom-ches': did you mean 'phantom-chest/"):
        grid.narrow(datasets=["phantom-ches"])
    with pytest.raises(InputError, match="n must be"):
        grid.narrow(n=0)


def test_grids_that_are_not_there_or_not_json_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"unknown grid 'fantom': did you mean 'phantom'\?"):
        Grid.load("fantom")
    with pytest.raises(InputError, match="no such file"):
        Grid.load(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"bad\.json: broken JSON at line 1, column 2"):
        Grid.load(tmp_path / "bad.json")


def test_the_command_line_says_one_line(monkeypatch, capsys, tmp_path):
    for arguments, said in (
        (("--grid", "fantom"), "unknown grid 'fantom'"),
        (("--classifiers", "klp"), "unknown classifier 'klp'"),
        (("--jobs", "0"), "jobs must be"),
        (("--workers", "-1"), "workers must be"),
    ):
        code, out, err = kpl(
            monkeypatch, capsys, "benchmark", "run", "--out", tmp_path / "x.jsonl", *arguments
        )
        assert (code, out) == (2, "") and said in err and err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []


def test_the_published_log_is_the_one_that_was_released(shared):
    ours = data_dir() / "published" / "kpl_released_log.csv"
    assert ours.read_bytes() == shared("published/kpl_released_log.csv").read_bytes()


def test_every_method_with_a_true_prior_leaves_out_those_that_use_none():
    settings = unfolded(blocks=[{"classifiers": "*", "priors": ["uniform", "true"]}])
    names = {prior: {s.classifier for s in settings if s.prior == prior} for prior in ("uniform", "true")}
    assert names["uniform"] - names["true"] == {"zlap"}
