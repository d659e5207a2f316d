"""Metrics against scikit-learn, intervals against their definition."""

import math

import numpy as np
import pytest
import torch
from guesses import guess
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from kpl_lib.classifiers import Prediction
from kpl_lib.common.errors import InputError
from kpl_lib.metrics import accuracy, balanced_accuracy, evaluate, paired_difference
from kpl_lib.metrics.tally import bootstrap_weights


@settings(max_examples=30)
@given(st.integers(8, 80), st.integers(2, 5), st.integers(0, 99), st.sampled_from([0, 5]))
def test_values_are_those_of_scikit_learn(count, classes, seed, steps):
    prediction, true = guess(count, classes, seed, steps=steps)
    found = evaluate(prediction, true, intervals=False)
    predicted, p = prediction.labels.numpy(), prediction.probabilities.numpy()
    each = [oracle.roc_auc_score(true == c, p[:, c]) for c in range(classes)]
    assert found["accuracy"].value == pytest.approx(oracle.accuracy_score(true, predicted))
    assert found["balanced_accuracy"].value == pytest.approx(oracle.balanced_accuracy_score(true, predicted))
    assert found["macro_f1"].value == pytest.approx(oracle.f1_score(true, predicted, average="macro"))
    assert found["macro_auroc"].value == pytest.approx(np.mean(each))
    recalls = oracle.recall_score(true, predicted, average=None, labels=range(classes))
    assert [found[f"recall/c{c}"].value for c in range(classes)] == pytest.approx(list(recalls))
    assert math.isnan(found["accuracy"].low)


def test_calibration_error_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.45, 0.55]])
    found = evaluate(Prediction(p, p, p.argmax(1)), [0, 1, 1, 1], intervals=False)
    assert found["ece"].value == pytest.approx((abs(3 * 0.9 - 2) + abs(0.55 - 1)) / 4)  # two bins


def test_a_class_without_images_is_left_out_of_means():
    p = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1]])
    found = evaluate(Prediction(p, p, p.argmax(1), ("a", "b", "c")), [0, 1])
    assert found["balanced_accuracy"].value == found["macro_f1"].value == 1
    assert math.isnan(found["recall/c"].value) and math.isnan(found["recall/c"].low)


@pytest.mark.parametrize("groups", [None, [i // 3 for i in range(90)]])
def test_fast_intervals_are_those_of_a_plain_bootstrap(groups):
    prediction, true = guess(90, 3, seed=4)
    found = evaluate(prediction, true, groups=groups, resamples=300, seed=7)
    weights = np.concatenate(list(bootstrap_weights(true, groups, 300, 7)), axis=1).astype(int)
    drawn = {"accuracy": [], "macro_auroc": [], "macro_f1": []}
    for column in weights.T:
        rows = np.repeat(np.arange(90), column)
        t, q, p = true[rows], prediction.labels.numpy()[rows], prediction.probabilities.numpy()[rows]
        drawn["accuracy"].append(oracle.accuracy_score(t, q))
        drawn["macro_f1"].append(oracle.f1_score(t, q, average="macro"))
        drawn["macro_auroc"].append(np.mean([oracle.roc_auc_score(t == c, p[:, c]) for c in range(3)]))
    for name, values in drawn.items():
        assert (found[name].low, found[name].high) == pytest.approx(
            tuple(np.quantile(values, [0.025, 0.975]))
        )


def test_resamples_keep_the_class_sizes_and_follow_the_seed():
    true = np.array([0] * 30 + [1] * 5)
    weights = np.concatenate(list(bootstrap_weights(true, resamples=250, seed=1)), axis=1)
    assert weights.shape == (35, 250)
    assert (weights[:30].sum(axis=0) == 30).all() and (weights[30:].sum(axis=0) == 5).all()
    again = np.concatenate(list(bootstrap_weights(true, resamples=250, seed=1)), axis=1)
    assert np.array_equal(weights, again)
    assert not np.array_equal(
        weights, np.concatenate(list(bootstrap_weights(true, resamples=250, seed=2)), axis=1)
    )
    assert weights.var() == pytest.approx(1, abs=0.1)


def test_images_of_a_patient_are_drawn_together():
    true = np.array([0, 0, 0, 1, 1, 1])
    weights = next(bootstrap_weights(true, ["p", "p", "q", "r", "r", "s"], 50))
    assert np.array_equal(weights[0], weights[1]) and np.array_equal(weights[3], weights[4])
    assert (weights[[0, 2]].sum(axis=0) == 2).all()
    one = evaluate(*_one_patient_a_class())
    assert one["accuracy"].low == one["accuracy"].high  # nothing to draw from


def _one_patient_a_class():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    return Prediction(p, p, p.argmax(1)), [0, 1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        right = torch.from_numpy(rng.random(200) < 0.8).long()
        p = torch.nn.functional.one_hot(right, 2).double()
        found = evaluate(Prediction(p, p, p.argmax(1)), np.ones(200, int), resamples=200, seed=seed)[
            "accuracy"
        ]
        inside += found.low <= 0.8 <= found.high
    assert 88 <= inside <= 100


def test_paired_differences_are_narrower_than_unpaired_ones_and_signed():
    better, true = guess(400, 3, seed=2, skill=2.0)
    p = better.probabilities + 0.4 * torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    worse = Prediction(p, p, p.argmax(1))
    gain = paired_difference(better, worse, true)
    assert gain.difference == pytest.approx(accuracy(better, true) - accuracy(worse, true))
    assert gain.low <= gain.difference <= gain.high and gain.metric == "accuracy"
    a, b = (evaluate(x, true)["accuracy"] for x in (better, worse))
    assert gain.high - gain.low < (a.high - a.low) + (b.high - b.low)
    back = paired_difference(worse, better, true)
    assert (back.low, back.high) == pytest.approx((-gain.high, -gain.low))
    same = paired_difference(better, better, true, metric="macro_auroc")
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_shortcuts_agree_with_evaluate():
    prediction, true = guess(50, 3, seed=1)
    found = evaluate(prediction, torch.from_numpy(true), intervals=False)
    assert accuracy(prediction, true) == found["accuracy"].value
    assert balanced_accuracy(prediction, true.tolist()) == found["balanced_accuracy"].value


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "labels are missing"),
        ([0, 1], "one label an image"),
        ([0, 1, 2], r"in 0\.\.1"),
        ([0.0, 1.0, 1.0], "class numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, said):
    p = torch.full((3, 2), 0.5)
    with pytest.raises(InputError, match=said):
        evaluate(Prediction(p, p, p.argmax(1)), labels)


def test_unknown_metrics_levels_and_groups_are_refused():
    prediction, true = guess(9, 3, seed=1)
    with pytest.raises(InputError, match="did you mean 'accuracy'"):
        paired_difference(prediction, prediction, true, metric="acuracy")
    with pytest.raises(InputError, match="level"):
        evaluate(prediction, true, level=95)
    with pytest.raises(InputError, match="groups: 2 for 9"):
        evaluate(prediction, true, groups=["a", "b"])
    with pytest.raises(InputError, match="resamples"):
        evaluate(prediction, true, resamples=0)
