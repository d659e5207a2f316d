"""Sensitivity, specificity, PPV, AUPRC, kappa, confusion and reliability, against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import torch
from guesses import guess
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from kpl_lib.classifiers import Prediction
from kpl_lib.common.errors import InputError
from kpl_lib.metrics import confusion_matrix, evaluate, paired_difference
from kpl_lib.metrics.estimates import reliability_curve
from kpl_lib.metrics.measures import METRICS
from kpl_lib.metrics.tally import bootstrap_weights


def specificity(true, predicted, c):
    return np.mean(predicted[true != c] != c)


@settings(max_examples=30)
@given(st.integers(8, 80), st.integers(0, 99), st.sampled_from([0, 5]), st.sampled_from([None, 0, "c1"]))
def test_two_classes_are_read_from_the_positive_one(count, seed, steps, positive):
    prediction, true = guess(count, 2, seed, steps=steps)
    found = evaluate(prediction, true, intervals=False, positive=positive)
    c = 0 if positive == 0 else 1
    predicted, p = prediction.labels.numpy(), prediction.probabilities.numpy()
    assert found["sensitivity"].value == pytest.approx(oracle.recall_score(true == c, predicted == c))
    assert found["specificity"].value == pytest.approx(specificity(true, predicted, c))
    ppv = oracle.precision_score(true == c, predicted == c, zero_division=np.nan)
    assert found["ppv"].value == pytest.approx(ppv, nan_ok=True)
    assert found["auprc"].value == pytest.approx(oracle.average_precision_score(true == c, p[:, c]))


@settings(max_examples=30)
@given(st.integers(8, 80), st.integers(3, 6), st.integers(0, 99), st.sampled_from([0, 5]))
def test_more_classes_are_means_of_one_against_the_rest(count, classes, seed, steps):
    prediction, true = guess(count, classes, seed, steps=steps)
    found = evaluate(prediction, true, intervals=False, ordered=True)
    predicted, p = prediction.labels.numpy(), prediction.probabilities.numpy()
    each = range(classes)
    assert found["sensitivity"].value == found["balanced_accuracy"].value
    assert found["specificity"].value == pytest.approx(
        np.mean([specificity(true, predicted, c) for c in each])
    )
    ppv = oracle.precision_score(true, predicted, average=None, labels=each, zero_division=np.nan)
    assert found["ppv"].value == pytest.approx(np.nanmean(ppv))
    auprc = [oracle.average_precision_score(true == c, p[:, c]) for c in each]
    assert found["auprc"].value == pytest.approx(np.mean(auprc))
    kappa = oracle.cohen_kappa_score(true, predicted, weights="quadratic", labels=list(each))
    assert found["quadratic_kappa"].value == pytest.approx(kappa)
    assert np.array_equal(
        confusion_matrix(prediction, true), oracle.confusion_matrix(true, predicted, labels=each)
    )


@pytest.mark.parametrize("steps", [0, 5])
def test_their_intervals_are_those_of_a_plain_bootstrap(steps):
    prediction, true = guess(90, 3, seed=4, steps=steps)
    found = evaluate(prediction, true, resamples=200, seed=7, positive="c2", ordered=True)
    drawn = {name: [] for name in ("sensitivity", "specificity", "ppv", "auprc", "quadratic_kappa", "ece")}
    for column in np.concatenate(list(bootstrap_weights(true, None, 200, 7)), axis=1).astype(int).T:
        rows = np.repeat(np.arange(90), column)
        t, q, p = true[rows], prediction.labels.numpy()[rows], prediction.probabilities.numpy()[rows]
        drawn["sensitivity"].append(oracle.recall_score(t == 2, q == 2))
        drawn["specificity"].append(specificity(t, q, 2))
        drawn["ppv"].append(oracle.precision_score(t == 2, q == 2, zero_division=np.nan))
        drawn["auprc"].append(oracle.average_precision_score(t == 2, p[:, 2]))
        drawn["quadratic_kappa"].append(oracle.cohen_kappa_score(t, q, weights="quadratic"))
        again = Prediction(*(torch.from_numpy(x) for x in (p, p, q)))
        drawn["ece"].append(reliability_curve(again, t).ece)
    for name, values in drawn.items():
        bounds = tuple(np.nanquantile(values, [0.025, 0.975]))
        assert (found[name].low, found[name].high) == pytest.approx(bounds), name


def test_what_is_undefined_is_nan_and_left_out_of_means():
    p = torch.tensor([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(Prediction(p, p, p.argmax(1)), [0, 0, 1], ordered=True)
    assert found["ppv"].value == pytest.approx(2 / 3)  # classes 1 and 2 are never said
    assert found["auprc"].value == pytest.approx(1)  # class 2 does not occur
    assert found["specificity"].value == pytest.approx((0 + 1 + 1) / 3)
    one = evaluate(Prediction(p, p, p.argmax(1)), [0, 0, 0], ordered=True)
    assert math.isnan(one["macro_auroc"].value) and math.isnan(one["quadratic_kappa"].value)
    assert math.isnan(one["macro_auroc"].low) and one["accuracy"].low == one["auprc"].value == 1


def test_kappa_is_given_for_grades_alone():
    prediction, true = guess(30, 3, seed=0)
    assert "quadratic_kappa" not in evaluate(prediction, true, intervals=False)
    gain = paired_difference(prediction, prediction, true, "quadratic_kappa", resamples=5)
    assert gain.difference == 0 and "quadratic_kappa" in METRICS
    near = torch.eye(3)[[0, 1, 1]].double()
    far = torch.eye(3)[[0, 1, 0]].double()
    by_distance = [
        evaluate(Prediction(p, p, p.argmax(1)), [0, 1, 2], intervals=False, ordered=True) for p in (near, far)
    ]
    assert by_distance[0]["accuracy"].value == by_distance[1]["accuracy"].value
    assert by_distance[0]["quadratic_kappa"].value > by_distance[1]["quadratic_kappa"].value


@pytest.mark.parametrize("positive", ["c9", 2, -1, True, 1.0])
def test_a_positive_class_that_is_not_there_is_refused(positive):
    prediction, true = guess(9, 2, seed=1)
    with pytest.raises(InputError, match="there is no class"):
        evaluate(prediction, true, positive=positive)


def test_broken_probabilities_and_no_images_are_refused():
    p = torch.tensor([[float("nan"), 1.0]])
    with pytest.raises(InputError, match="hold NaN"):
        evaluate(Prediction(p, p, torch.tensor([0])), [0])
    none = torch.zeros(0, 2)
    with pytest.raises(InputError, match="there are none"):
        evaluate(Prediction(none, none, none.argmax(1)), torch.zeros(0, dtype=torch.int64))


def test_the_reliability_curve_is_that_of_scikit_learn():
    prediction, true = guess(500, 2, seed=3, steps=0)
    curve = reliability_curve(prediction, true)
    confidence = prediction.probabilities.max(dim=1).values.numpy()
    right = prediction.labels.numpy() == true
    share, mean = calibration_curve(right, confidence, n_bins=15)
    full = curve.count > 0
    assert curve.accuracy[full] == pytest.approx(share) and curve.confidence[full] == pytest.approx(mean)
    assert curve.count.sum() == 500 and len(curve.edges) == 16
    assert curve.ece == pytest.approx(evaluate(prediction, true, intervals=False)["ece"].value)
    assert curve.ece == pytest.approx((curve.count[full] * abs(share - mean)).sum() / 500)
    assert np.isnan(curve.accuracy[~full]).all() and (~full).any()


def test_an_interval_covers_the_auprc_of_the_world_it_was_drawn_from():
    inside, truth = 0, guess_auprc(40_000, 999)
    for seed in range(60):
        prediction, true = two_bells(300, seed)
        found = evaluate(prediction, true, resamples=200, seed=seed)["auprc"]
        inside += found.low <= truth <= found.high
    assert 50 <= inside <= 60


def two_bells(count, seed):
    """Balanced classes with scores from two bells: fixed class sizes, as the stratified resamples have."""
    rng = np.random.default_rng(seed)
    true = np.arange(count) % 2
    p = torch.from_numpy(1 / (1 + np.exp(-rng.normal(size=count) - true)))
    p = torch.stack([1 - p, p], dim=1)
    return Prediction(p, p, p.argmax(1)), true


def guess_auprc(count, seed):
    prediction, true = two_bells(count, seed)
    return oracle.average_precision_score(true, prediction.probabilities[:, 1].numpy())
