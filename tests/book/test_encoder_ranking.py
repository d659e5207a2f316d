"""The experiment behind the ranking of encoders: its damages, its candidates, its rows."""

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from text_world import world
from typer.testing import CliRunner

from book.tools.research.dev_world import ENCODERS, PHANTOMS
from book.tools.research.encoder_ranking import (
    UNTRAINED,
    candidates,
    correlation,
    damaged_views,
    look,
    main,
    measure,
    rank_one,
)
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.features import TextBank

NAMES = ("cat", "dog", "bird")


def small_world(n=60):
    """Images, banks of all sets, and labels, as `measure` takes them: three encoders of rising noise."""
    images, banks = {UNTRAINED: world(9, n, noise=9.0)[0]}, {}
    for seed, name in enumerate(ENCODERS):
        images[name], texts, names = world(seed, n, noise=0.2 + 0.2 * seed)
        banks[name] = {kind: TextBank(NAMES, texts, names) for kind in PHANTOMS}
    return {"images": images, "labels": torch.arange(n) % 3}, banks


def test_each_encoder_is_damaged_in_eight_ways_that_repeat():
    data, banks = small_world()
    runs = [list(damaged_views(data["images"], banks, "chest", np.random.default_rng(0))) for _ in range(2)]
    assert len(runs[0]) == 24 and {name for _, name, _ in runs[0]} == set(ENCODERS)
    assert all(torch.equal(a[2][0], b[2][0]) for a, b in zip(*runs, strict=True))
    views = {(damage, name): view for damage, name, view in runs[0]}
    own, (_, turned) = banks["phantom"]["chest"], views["descriptions shifted", "phantom"]
    assert torch.allclose(turned.descriptions[0], own.descriptions[1]) and torch.allclose(
        turned.names, own.names
    )
    _, half = views["half of them shifted", "phantom"]
    assert torch.allclose(half.descriptions[0][:4], own.descriptions[0][::2])
    assert torch.allclose(half.descriptions[0][4:], own.descriptions[1][1::2])
    assert torch.allclose(views["untrained image tower", "phantom"][0], data["images"][UNTRAINED])
    _, foreign = views["texts of another encoder", "phantom"]
    assert torch.allclose(foreign.names, banks["phantom-1"]["chest"].names)
    noisy, _ = views["noise in the images", "phantom"]
    assert (noisy * data["images"]["phantom"]).sum(dim=1).mean() < 0.4


def test_every_candidate_scores_every_encoder():
    data, banks = small_world()
    found = candidates([look(data["images"][name], banks[name]["chest"]) for name in ENCODERS])
    assert all(scores.shape == (3,) and np.isfinite(scores).all() for scores in found.values())
    assert found["others + neighbours"] == pytest.approx(found["others"] + found["neighbours"])
    assert found["others"].argmax() == 0 and found["neighbours"].argmin() == 2


def test_the_rank_one_part_is_found_from_the_entries_off_the_diagonal():
    u = np.array([0.9, 0.7, 0.4, -0.2])
    table = np.outer(u, u)
    np.fill_diagonal(table, 1)
    assert rank_one(table) == pytest.approx(u, abs=1e-3)


def test_scores_that_say_nothing_have_no_correlation():
    assert correlation(np.ones(4), np.arange(4.0)) == 0
    assert correlation(np.arange(4.0), np.array([1.0, 2, 4, 3])) == pytest.approx(0.8)


@pytest.mark.slow
def test_rows_compare_each_candidate_with_the_truth():
    data, banks = small_world(120)
    rows = pd.DataFrame(measure("chest", data, banks, 4, np.random.default_rng(0)))
    assert (rows["score"].value_counts() == 4).all() and "rank_encoders" in set(rows["score"])
    assert rows["correlation"].abs().max() <= 1 and rows["lost"].min() >= 0
    means = rows.groupby("score")[["correlation", "damaged last"]].mean()
    assert means.loc["rank_encoders", "correlation"] > 0.5 and means.loc["rank_encoders", "damaged last"] == 1
    other = {**data, "labels": data["labels"].flip(0)}  # the order is of the labels, the scores are not
    turned = pd.DataFrame(measure("chest", other, banks, 4, np.random.default_rng(0)))
    assert (rows["damaged last"] == turned["damaged last"]).all()
    assert not np.allclose(rows["correlation"], turned["correlation"])


def test_the_command_refuses_a_place_it_cannot_write_before_the_work(tmp_path):
    app = typer.Typer()
    app.command()(main)
    with pytest.raises(InputError):
        CliRunner().invoke(app, ["--out", str(tmp_path / "none" / "x" / "t.csv")], catch_exceptions=False)


def test_the_recorded_table_holds_the_bounds():
    table = pd.read_csv(data_dir() / "results" / "encoder_ranking.csv", comment="#")
    ours = table[table["score"] == "rank_encoders"]
    assert set(ours.loc[ours["seed"] == 0, "set"]) == set(PHANTOMS) and set(ours["seed"]) == {0, 1}
    assert (ours.groupby("seed")["correlation"].mean() >= 0.7).all()
    assert (ours.groupby("seed")["damaged last"].mean() >= 0.8).all()
