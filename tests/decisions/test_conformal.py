"""Prediction sets against their definition: thresholds by hand, patients, answers, and what is refused."""

import math

import numpy as np
import pytest
import torch
from guesses import guess

from kpl_lib.common.errors import InputError
from kpl_lib.decisions import SCORES, calibrate, cross_coverage, evaluate_sets
from kpl_lib.prediction import Prediction


def made(p, names=()):
    p = torch.as_tensor(p, dtype=torch.float64)
    return Prediction(p, p, p.argmax(dim=1), names)


def plain_score(p, c, score, penalty, rank):
    """The score of class c in one row, by its definition."""
    if score == "lac":
        return 1 - p[c]
    place = sorted(range(len(p)), key=lambda j: -p[j]).index(c) + 1
    return sum(x for x in p if x >= p[c]) - 1e-7 * p[c] + (score == "raps") * penalty * max(0, place - rank)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_thresholds_and_sets_are_those_of_the_definition(score, by_class):
    prediction, true = guess(120, 4, seed=3)
    given = np.where(np.arange(120) < 90, true, -1)
    found = calibrate(prediction, given, coverage=0.6, score=score, by_class=by_class, penalty=0.07, rank=3)
    p = prediction.probabilities.tolist()
    scores = [[plain_score(row, c, score, 0.07, 3) for c in range(4)] for row in p]
    for c in range(4):
        own = sorted(scores[i][true[i]] for i in range(90) if not by_class or true[i] == c)
        wanted = own[math.ceil((len(own) + 1) * 0.6) - 1]
        assert float(found.thresholds[c]) == pytest.approx(wanted, abs=1e-12)
    wanted = torch.tensor(scores, dtype=torch.float64) <= found.thresholds + 1e-9
    assert torch.equal(found.sets(prediction).sets, wanted)
    assert (found.images, found.groups) == (90, 90)


def test_a_level_that_floats_cannot_hold_asks_for_no_further_image():
    prediction = made([[1 - i / 200, i / 200] for i in range(99)])
    found = calibrate(prediction, [0] * 99, coverage=0.55)  # 0.55 * 100 is 55.00000000000001
    assert float(found.thresholds[0]) == pytest.approx(54 / 200)


def test_patients_weigh_the_same_however_many_images_they_have():
    """Three patients have one score each; the fourth, with ten images, has the two largest scores of all."""
    own = [0.1, 0.2, 0.3, *[0.4] * 5, *[0.5] * 5]
    patients = ["a", "b", "c", *["d"] * 10]
    prediction = made([[1 - s, s] for s in own])
    thresholds = {
        coverage: float(calibrate(prediction, [0] * 13, coverage=coverage, groups=patients).thresholds[0])
        for coverage in (0.6, 0.7, 0.8)
    }
    assert thresholds == pytest.approx({0.6: 0.3, 0.7: 0.4, 0.8: 0.5})
    assert float(calibrate(prediction, [0] * 13, coverage=0.6).thresholds[0]) == pytest.approx(0.5)


def test_coverage_of_new_patients_is_what_was_asked():
    """200 draws of 25 patients; counted by images, those with many images would weigh too much."""
    rng = np.random.default_rng(0)
    reached = {"patients": [], "images": []}
    for _ in range(200):
        level = rng.uniform(0.5, 1, 60)
        size = np.where(level < 0.75, 12, 2)
        own = np.repeat(level, size) - rng.uniform(0, 0.05, size.sum())
        patient = np.repeat(np.arange(60), size)
        prediction = made(np.stack([own, 1 - own], axis=1))
        labels = np.where(patient < 25, 0, -1)
        for name, groups in (("patients", patient), ("images", None)):
            hit = (
                calibrate(prediction, labels, coverage=0.8, groups=groups).sets(prediction).sets[:, 0].numpy()
            )
            reached[name].append(np.mean([hit[patient == g].mean() for g in range(25, 60)]))
    assert np.mean(reached["patients"]) == pytest.approx(0.8, abs=0.02)
    assert np.mean(reached["images"]) > 0.85


def test_tiny_probabilities_keep_their_order():
    """1 - 1e-30 is 1: a score that is rounded so would let every class in."""
    p = [[1.0, 10.0**-i, 0.5 * 10.0**-i] for i in range(20, 30)]
    for score in ("lac", "aps"):
        sets = calibrate(made(p), [1] * 10, coverage=0.8, score=score).sets(made(p))
        assert sets.sets[:, 1].tolist() == [True] * 9 + [False]
    p = [[1.0, 10.0**-i, 0.0] for i in range(12, 22)]  # what is left beside the first class is not 1 - 1
    sets = calibrate(made(p), [0] * 10, coverage=0.8, score="aps").sets(made(p))
    assert sets.sets[:, 0].tolist() == [True] * 9 + [False]


@pytest.mark.parametrize(
    ("classes", "answers"),
    [
        (2, ("cannot say", "c0", "c1", "cannot say")),
        (3, ("cannot say", "c0", "c1", "c0 or c1", "c2", "c0 or c2", "c1 or c2", "cannot say")),
    ],
)
def test_answers_name_one_class_or_two_or_abstain(classes, answers):
    rows = [[1.0 if k >> c & 1 else 0.0 for c in range(classes)] for k in range(2**classes)]
    prediction = made(rows, tuple(f"c{c}" for c in range(classes)))
    sets = calibrate(prediction, [-1] * (2**classes - 1) + [0], coverage=0.5).sets(prediction)
    assert sets.answers == answers
    assert (sets.empty, sets.full) == (2**-classes, 2**-classes) and sets.single == classes * 2**-classes
    assert sets.mean_size == classes / 2


@pytest.mark.parametrize("score", ["aps", "raps"])
def test_the_least_likely_classes_are_told_apart(score):
    """The true class is the least likely one: without an order among these, each set would hold all classes."""
    p = made([[0.6, 0.39 - i / 1000, 0.01 + i / 1000] for i in range(99)])
    found = calibrate(p, [2] * 99, coverage=0.9, score=score)
    assert found.sets(p).sets[:, 2].sum() == 90 and found.ties == pytest.approx(1 / 99)


def test_figures_by_hand():
    """Class 0 is covered in 2 of 4, class 1 in 3 of 3; class 2 has no labels; the last image is unknown."""
    p = [[0.6, 0.3, 0.1]] * 2 + [[0.1, 0.8, 0.1]] * 5 + [[0.5, 0.5, 0.0]]
    true = [0, 0, 0, 0, 1, 1, 1, -1]
    sets = calibrate(made([[0.5, 0.5, 0.0]] * 9), [0] * 9, coverage=0.9).sets(made(p))
    found = evaluate_sets(sets, true)
    assert found.coverage.value == pytest.approx(5 / 7) and found.asked == 0.9 and found.ties == 1
    assert found.coverage.low == pytest.approx(
        0.2904, abs=1e-4
    )  # of 5 in 7, from the tables of Clopper and Pearson
    assert found.coverage.high == pytest.approx(0.9633, abs=1e-4)
    assert found.class_coverage[:2] == (0.5, 1.0) and math.isnan(found.class_coverage[2])
    assert found.class_gap == pytest.approx((0.4 + 0.1) / 2) and found.worst_class == "0"
    assert (found.mean_size, found.single, found.empty, found.full) == (1, 1, 0, 0)


def test_each_patient_weighs_the_same_in_the_figures():
    """Five images of one patient, all wrong, and one of another, right: a half of the patients."""
    sets = calibrate(made([[0.6, 0.4]] * 9), [0] * 9).sets(made([[0.1, 0.9]] * 5 + [[0.9, 0.1]]))
    found = evaluate_sets(sets, [0] * 6, groups=["a"] * 5 + ["b"])
    assert found.coverage.value == 0.5 and evaluate_sets(sets, [0] * 6).coverage.value == pytest.approx(1 / 6)


def test_ties_push_the_coverage_and_are_told():
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64)[torch.arange(1000) % 2]
    prediction = Prediction(p, p, p.argmax(1))
    labels = [0] * 1000
    found = evaluate_sets(calibrate(prediction, labels, coverage=0.7).sets(prediction), labels)
    assert found.coverage.value == 1 and found.ties == 0.5


def test_an_interval_of_patients_is_that_of_fewer_images():
    """One image each: exact. Copies of each image: the interval of the images alone. All right: not of length 0."""
    prediction, true = guess(40, 3, seed=1)
    sets = calibrate(prediction, true, coverage=0.7).sets(prediction)
    alone = evaluate_sets(sets, true).coverage
    assert evaluate_sets(sets, true, groups=[*range(40)]).coverage == alone
    copies = torch.arange(40).repeat(5)
    many = Prediction(*(x[copies] for x in (prediction.probabilities, prediction.scores, prediction.labels)))
    again = calibrate(prediction, true, coverage=0.7).sets(
        Prediction(many.probabilities, *(many.scores, many.labels), prediction.class_names)
    )
    found = evaluate_sets(again, true[copies], groups=copies.tolist()).coverage
    assert found.value == pytest.approx(alone.value)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    naive = evaluate_sets(again, true[copies]).coverage
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)
    right = calibrate(made([[0.9, 0.1]] * 40), [0] * 40).sets(made([[0.9, 0.1]] * 40))
    assert evaluate_sets(right, [0] * 40, groups=[i // 4 for i in range(40)]).coverage.low == pytest.approx(
        0.025 ** (1 / 10)
    )


def test_the_interval_of_patients_holds_the_truth():
    """300 draws of 40 patients; how well a patient is covered is uniform between 0.6 and 1, 0.8 on average."""
    rng, held = np.random.default_rng(1), 0
    always = calibrate(made([[0.5, 0.5]] * 9), [0] * 9)
    patient = np.repeat(np.arange(40), 10)
    for _ in range(300):
        hit = rng.random(400) < np.repeat(rng.uniform(0.6, 1, 40), 10)
        sets = always.sets(made(np.where(hit[:, None], [[0.9, 0.1]], [[0.1, 0.9]])))
        found = evaluate_sets(sets, [0] * 400, groups=patient).coverage
        held += found.low <= 0.8 <= found.high
    assert 0.93 <= held / 300 <= 0.985


def test_folds_reach_what_was_asked_and_keep_patients_whole():
    prediction, true = guess(400, 3, seed=2)
    found = cross_coverage(prediction, true, coverage=0.8, score="aps")
    assert found.coverage.low < 0.8 < found.coverage.high and found.asked == 0.8
    again = cross_coverage(prediction, true, coverage=0.8, score="aps", seed=1)
    assert again.coverage != found.coverage
    own = np.repeat(
        np.linspace(0.5, 1, 20), 5
    )  # five images of a patient are the same: split, they would be known
    same = made(np.stack([own, 1 - own], axis=1))
    patients = np.repeat(np.arange(20), 5)
    for seed in range(5):
        whole = cross_coverage(same, [0] * 100, coverage=0.75, groups=patients, folds=20, seed=seed)
        assert whole.coverage.value == pytest.approx(0.75, abs=0.051) and whole.ties == pytest.approx(5 / 95)


def test_folds_are_alike_in_classes():
    """The rare class has 18 of 400 images: each half needs 9 of them for a threshold."""
    prediction, true = guess(400, 2, seed=5)
    true[:] = 0
    true[:18] = 1
    found = cross_coverage(prediction, true, coverage=0.9, by_class=True, folds=2)
    assert not math.isnan(found.class_coverage[1])


def test_unknown_labels_are_never_read():
    prediction, true = guess(60, 3, seed=0)
    half = np.where(np.arange(60) % 2, true, -1)
    rows = torch.arange(60) % 2 == 1
    few = Prediction(
        prediction.probabilities[rows],
        prediction.scores[rows],
        prediction.labels[rows],
        prediction.class_names,
    )
    assert torch.equal(calibrate(prediction, half).excess, calibrate(few, true[rows.numpy()]).excess)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage": 0}, "more than 0 and less than 1, such as 0.9, not 0"),
        ({"coverage": 1.0}, "less than 1"),
        ({"coverage": 90}, "not 90"),
        ({"coverage": float("nan")}, "not nan"),
        ({"coverage": True}, "not True"),
        ({"score": "apss"}, "unknown score 'apss': did you mean 'aps'"),
        ({"coverage": 0.99}, "labels: 30 labelled images are too few, coverage 0.99 needs at least 99"),
        (
            {"by_class": True},
            "class 'c2': 2 labelled images are too few, coverage 0.9 needs at least 9 of each class",
        ),
        (
            {"groups": [i // 5 for i in range(30)]},
            "6 labelled patients are too few, coverage 0.9 needs at least 9",
        ),
        ({"groups": [1, 2]}, "groups: 2 for 30 images"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    prediction, _ = guess(30, 3, seed=0)
    labels = [0] * 14 + [1] * 14 + [2] * 2
    with pytest.raises(InputError) as caught:
        calibrate(prediction, labels, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_other_faults_are_one_line():
    prediction, true = guess(30, 3, seed=0)
    with pytest.raises(InputError, match="class 'c1': 0 labelled images are too few"):
        calibrate(prediction, [0] * 15 + [2] * 15, by_class=True)
    with pytest.raises(InputError, match="labels: 0 labelled images are too few"):
        calibrate(prediction, [-1] * 30)
    with pytest.raises(InputError, match="give a whole number for each, -1 where unknown"):
        calibrate(prediction, true[:10])
    with pytest.raises(InputError, match="NaN or Inf"):
        calibrate(made([[float("nan"), 0.5]] * 20), [0] * 20)
    found = calibrate(prediction, true)
    with pytest.raises(InputError, match="calibrate with the same classes"):
        found.sets(made([[0.5, 0.5]]))
    with pytest.raises(InputError, match="no image has one"):
        evaluate_sets(found.sets(prediction), [-1] * 30)
    with pytest.raises(InputError, match="level must lie between 0 and 1"):
        evaluate_sets(found.sets(prediction), true, level=95)
    with pytest.raises(InputError, match="without one of 2 folds, labels: 5 labelled images are too few"):
        cross_coverage(prediction, [0] * 10 + [-1] * 20, folds=2)
