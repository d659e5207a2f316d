"""What is asked is reached: every classifier on random halves, the joint step on real features; another scanner."""

import numpy as np
import pytest
import torch
from peer_world import make_world

from kpl_lib.classifiers import available, create
from kpl_lib.decisions import SCORES, calibrate, joint_step, same_source
from kpl_lib.features import TextBank, unit_rows


def halves(prediction, labels, splits, coverage, score):
    """Coverage, set size and ties, each a mean over random halves: one calibrates, the other is counted."""
    rows = []
    for seed in range(splits):
        half = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)) < len(labels) // 2
        found = calibrate(prediction, torch.where(half, labels, -1), coverage=coverage, score=score)
        sets = found.sets(prediction)
        hit = sets.sets.gather(1, labels[:, None])[~half]
        rows.append((float(hit.double().mean()), float(sets.sizes[~half].double().mean()), found.ties))
    return np.mean(rows, axis=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", [*available(), "clip and the joint step"])
def test_every_classifier_covers_as_often_as_asked(name, score):
    """Fitted once to all images without labels; 200 halves. Ties beyond one image in fifty push it up, and are told."""
    images, bank, labels = make_world([150, 120, 90, 40], noise=1.2, seed=0)
    prediction = create(name.split()[0]).fit_predict(images, bank)
    prediction = joint_step(prediction) if name.endswith("step") else prediction
    for coverage in (0.95, 0.9, 0.8):
        reached, _, ties = halves(prediction, labels, 200, coverage, score)
        assert reached > coverage - 0.01, (coverage, reached)
        assert reached < coverage + 0.01 + (ties if ties > 0.02 else 0), (coverage, reached, ties)


def test_the_joint_step_shrinks_the_sets_of_real_images(shared):
    """PathMNIST-1000, nearly even classes: about 7.3 classes in a set of plain text, about 5.9 after the step."""
    with np.load(shared("real/pathmnist1000_clip_vitb16.npz")) as file:
        images = unit_rows(torch.from_numpy(file["image_features"]), "images", normalize=True)
        texts = torch.from_numpy(file["text_features"])
        labels = torch.from_numpy(file["labels"]).flatten().long()
        bank = TextBank(tuple(map(str, file["class_names"])), list(texts[:, None]), texts, normalize=True)
    text = create("clip").fit_predict(images, bank)
    for score, gain in (("lac", 1.0), ("aps", 0.8), ("raps", 0.8)):
        plain = halves(text, labels, 20, 0.9, score)
        joint = halves(joint_step(text), labels, 20, 0.9, score)
        assert (plain[0], joint[0]) == pytest.approx((0.9, 0.9), abs=0.015)
        assert joint[1] < plain[1] - gain


def test_what_is_not_exchangeable_is_not_covered_and_the_test_says_so():
    """As from another scanner: the images to classify are moved towards one class, the calibration images are not."""
    images, bank, labels = make_world([200, 200], noise=0.9, seed=1)
    new = torch.randperm(400, generator=torch.Generator().manual_seed(0)) < 200
    moved = images + new[:, None] * 0.6 * (torch.eye(8)[0] - torch.eye(8)[1])
    moved = unit_rows(moved, "images", normalize=True)
    reached = {}
    for name, x in (("same", images), ("moved", moved)):
        prediction = create("clip").fit_predict(x, bank)
        sets = calibrate(prediction, torch.where(new, -1, labels)).sets(prediction).sets
        reached[name] = float(sets.gather(1, labels[:, None])[new].double().mean())
    assert reached["same"] > 0.85 and reached["moved"] < 0.8
    assert same_source(images[~new], images[new]).p_value > 0.05
    assert same_source(moved[~new], moved[new]).p_value == 0.001
