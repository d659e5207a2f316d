"""The lines that use labels: the linear probe, and the class means."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from kpl_lib.classifiers.references import class_means, linear_probe
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features
from kpl_lib.metrics import accuracy

NAMES = ("a", "b", "c")


def world(count, seed, noise=0.8):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.eye(8)[labels] + noise * torch.randn(count, 8, generator=generator)
    return Features(F.normalize(images, dim=1), labels, NAMES)


def test_the_probe_with_all_shots_is_the_logistic_regression_of_the_pool():
    pool, test = world(60, 0), world(90, 1)
    (found,) = linear_probe(test, pool, shots=20, draws=1, strength=3.0)
    plain = LogisticRegression(C=3.0, max_iter=5000).fit(pool.images.numpy(), pool.labels.numpy())
    expected = torch.from_numpy(plain.predict_proba(test.images.numpy()))
    torch.testing.assert_close(found.probabilities, expected, atol=1e-3, rtol=0, check_dtype=False)


def test_more_shots_help_draws_differ_and_seeds_repeat():
    pool, test = world(150, 0), world(300, 1)
    few, many = (linear_probe(test, pool, shots=shots) for shots in (1, 16))
    mean = [sum(accuracy(p, test.labels) for p in found) / 5 for found in (few, many)]
    assert len(few) == 5 and mean[1] > mean[0] + 0.05
    assert len({tuple(p.labels.tolist()) for p in few}) == 5
    again = linear_probe(test, pool, shots=1)
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(few, again, strict=True))
    other = linear_probe(test, pool, shots=1, seed=1)
    assert not torch.equal(few[0].labels, other[0].labels)


def test_the_probe_does_not_read_the_labels_of_the_images():
    pool, test = world(60, 0), world(90, 1)
    blind = Features(test.images, None, NAMES)
    pair = [linear_probe(images, pool)[0].scores for images in (test, blind)]
    torch.testing.assert_close(*pair, atol=1e-6, rtol=0)


def test_class_means_are_the_nearest_centroid_on_the_sphere():
    test = world(120, 2)
    (found,) = class_means(test)
    centroids = NearestCentroid().fit(test.images.numpy(), test.labels.numpy()).centroids_
    expected = (test.images @ F.normalize(torch.from_numpy(centroids).float(), dim=1).T).argmax(dim=1)
    assert torch.equal(found.labels, expected)
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(120))


def test_what_they_need_is_said():
    test = world(30, 0)
    for pool in (None, Features(test.images, None, NAMES)):
        with pytest.raises(InputError, match="needs labelled images"):
            linear_probe(test, pool)
    with pytest.raises(InputError, match="other classes"):
        linear_probe(test, Features(test.images, test.labels, ("a", "b", "d")))
    with pytest.raises(InputError, match="16 shots, but 'a' has 10"):
        linear_probe(test, test, shots=16)
    with pytest.raises(InputError, match="shots must be"):
        linear_probe(test, test, shots=0)
    with pytest.raises(InputError, match="labels are missing"):
        class_means(Features(test.images, None, NAMES))
    with pytest.raises(InputError, match="class 'c' has no image"):
        class_means(Features(test.images[:2], [0, 1], NAMES))
