"""The tool of a few labels: what is drawn, what is judged, and what the intervals are of."""

import numpy as np
import pandas as pd
import pytest
import torch
from text_world import world

from book.tools.research import few_labels
from book.tools.research.dev_world import Case
from book.tools.research.few_labels import METHODS, PLUS, PROBE, SHOTS, drawn, measure, summary
from kpl_lib.classifiers import create
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank

NAMES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def case():
    images, texts, names = world(n=120, noise=0.6)
    return Case("phantom-1", "toy", images, torch.arange(120) % 3, TextBank(NAMES, texts, names), "top-k")


def test_a_draw_has_as_many_of_each_class_and_those_of_fewer_shots_among_them(case):
    few, many = (drawn(case.labels, shots, draw=3) for shots in (2, 8))
    known = many >= 0
    assert torch.equal(many[known], case.labels[known])
    assert torch.bincount(many[known]).tolist() == [8, 8, 8]
    assert bool(known[few >= 0].all()) and int((few >= 0).sum()) == 6
    assert not torch.equal(drawn(case.labels, 8, draw=4), many)
    with pytest.raises(InputError, match="21 shots of class 0, which has 40 images: at most half"):
        drawn(case.labels, 21, 0)


def test_every_method_is_judged_on_the_images_without_a_label(case, monkeypatch):
    monkeypatch.setattr(few_labels, "SHOTS", (2,))
    (row,) = measure(case, draws=1)
    known = drawn(case.labels, 2, 0)
    said = create("ss-text", text="top-k").fit(case.images, case.bank, labels=known).predict(case.images)
    right = (said.labels == case.labels)[known < 0]
    each = [right[case.labels[known < 0] == c].double().mean() for c in range(3)]
    assert row["ss-text"] == pytest.approx(100 * float(sum(each)) / 3)
    assert {*METHODS, PLUS, PROBE} <= set(row) and row["family"] == "phantom" and row["shots"] == 2
    assert row[PROBE] != row["anchored-probe"] != row["anchored-probe without labels"]


def test_differences_are_paired_and_intervals_are_over_sets_and_draws():
    rng, rows = np.random.default_rng(1), []
    for case in ("a", "b"):
        for draw in range(5):
            base = {name: 50 + 10 * rng.standard_normal() for name in (PROBE, *METHODS, PLUS)}
            base |= {f"{name} without labels": 40.0 for name in METHODS}
            head = {"family": "phantom", "encoder": "phantom", "case": case, "draw": draw, "shots": SHOTS[0]}
            rows.append({**head, **base, "gda": base[PROBE] + 3})
    found = summary(pd.DataFrame(rows))
    line = found[(found["encoder"] == "all") & (found["method"] == "gda")].set_index("less")
    assert line.loc[PROBE, ["mean", "low", "high"]].tolist() == pytest.approx([3, 3, 3])
    assert line.loc["", "low"] < line.loc["", "mean"] < line.loc["", "high"]
    values = [row["gda"] for row in rows]
    assert line.loc["", "mean"] == pytest.approx(np.mean(values))
    assert line.loc["gda without labels", "mean"] == pytest.approx(np.mean(values) - 40)
    with pytest.raises(InputError, match="there is no case"):
        summary(pd.DataFrame())
