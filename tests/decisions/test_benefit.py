"""Net benefit and predictive values, by counting."""

import math

import numpy as np
import pytest
import torch
from guesses import guess

from kpl_lib.common.errors import InputError
from kpl_lib.decisions import net_benefit, predictive_values
from kpl_lib.prediction import Prediction


def test_net_benefit_is_true_positives_less_weighted_false_ones():
    prediction, true = guess(300, 3, seed=0)
    found = net_benefit(prediction, true, [0.1, 0.35, 0.8], positive="c2")
    p = prediction.probabilities[:, 2].numpy()
    for t, value, everyone in zip(found.thresholds, found.model, found.treat_all, strict=True):
        right, wrong = ((p >= t) & (true == 2)).sum(), ((p >= t) & (true != 2)).sum()
        assert value == pytest.approx(right / 300 - wrong / 300 * t / (1 - t))
        assert everyone == pytest.approx((true == 2).mean() - (true != 2).mean() * t / (1 - t))
    again = net_benefit(p, true == 2, [0.1, 0.35, 0.8])
    assert np.allclose(again.model, found.model) and again.prevalence == found.prevalence


def test_another_prevalence_is_that_of_images_counted_more_often():
    """Each positive four times: the net benefit is that of the prevalence which this makes."""
    prediction, true = guess(200, 2, seed=1)
    p = prediction.probabilities[:, 1].numpy()
    often = np.concatenate([np.flatnonzero(true == 0), np.repeat(np.flatnonzero(true == 1), 4)])
    wanted = net_benefit(p[often], true[often], [0.2, 0.5])
    found = net_benefit(prediction, true, [0.2, 0.5], prevalence=wanted.prevalence)
    assert np.allclose(found.model, wanted.model) and np.allclose(found.treat_all, wanted.treat_all)


def test_who_cannot_be_known_is_left_out_and_a_threshold_of_zero_treats_everyone():
    prediction, true = guess(100, 2, seed=2)
    some = np.where(np.arange(100) < 60, true, -1)
    rows = [x[:60] for x in (prediction.probabilities, prediction.scores, prediction.labels)]
    wanted = net_benefit(Prediction(*rows, prediction.class_names), true[:60], 0.4)
    assert net_benefit(prediction, some, 0.4).model == wanted.model
    assert net_benefit([0.5, 0.2], [1, 0], 0.5).model == 0.5  # who reaches the threshold is treated
    assert net_benefit(prediction, true, 0.0).model == net_benefit(prediction, true, 0.0).treat_all


def test_predictive_values_by_counting():
    """Of 1000 people 20 are ill; 18 are found; 49 of 980 healthy ones are alarmed."""
    found = predictive_values(0.9, 0.95, 0.02)
    assert found.ppv == pytest.approx(18 / (18 + 49)) and found.npv == pytest.approx(931 / (931 + 2))
    assert math.isnan(predictive_values(0.0, 1.0, 0.5).ppv) and predictive_values(0.0, 1.0, 0.5).npv == 0.5


def test_what_cannot_be_is_one_line():
    prediction, true = guess(30, 3, seed=0)
    for call, message in (
        (lambda: net_benefit(prediction, true, 0.5), "there are 3 classes; say which one"),
        (lambda: net_benefit(prediction, true, 0.5, positive="c9"), "no class 'c9'"),
        (lambda: net_benefit(prediction, true, 1.0, positive=0), "thresholds must lie in 0..1, below 1"),
        (lambda: net_benefit(prediction, true, [-0.1], positive=0), "thresholds must lie"),
        (lambda: net_benefit(prediction, true, 0.5, positive=0, prevalence=2), "prevalence must lie in 0..1"),
        (lambda: net_benefit(prediction, [0] * 30, 0.5, positive=0), "there is one kind"),
        (lambda: net_benefit([0.2, 1.2], [0, 1], 0.5), "one number in 0..1 for each image"),
        (lambda: net_benefit(torch.eye(2), [0, 1], 0.5), "one number in 0..1 for each image"),
        (lambda: net_benefit([0.2, 0.3], [0, 1], 0.5, positive=1), "positive: probabilities of one class"),
        (lambda: predictive_values(1.2, 0.5, 0.5), "sensitivity must lie in 0..1, not 1.2"),
    ):
        with pytest.raises(InputError, match=message):
            call()
