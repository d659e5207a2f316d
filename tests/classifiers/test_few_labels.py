"""Methods that learn from a few labelled images, against their formulas in plain loops."""

import numpy as np
import pytest
import torch
from peer_world import C, N, make_world

from kpl_lib.classifiers import create

Q = np.array([0.5, 0.3, 0.2])


@pytest.fixture(scope="module")
def world():
    """40 images, and labels of 3, 1 and none of the classes."""
    images, bank, truth = make_world((20, 12, 8), noise=0.9)
    labels = torch.full((N,), -1)
    labels[[0, 5, 11, 22]] = truth[[0, 5, 11, 22]]
    return images, bank, labels


@pytest.fixture(scope="module")
def arrays(world):
    return world[0].double().numpy(), world[1].names.double().numpy(), world[2].numpy()


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same(probabilities, expected, atol=1e-5):
    np.testing.assert_allclose(probabilities.double().numpy(), expected, atol=atol, rtol=0)


def moved_by_shots(x, t, labels):
    """`T_c + (1/τ)(1/L)(n_c/2) Σ_c x_i`, before it is scaled to length 1."""
    found, known = t.copy(), [i for i in range(len(x)) if labels[i] >= 0]
    for c in range(C):
        mine = [i for i in known if labels[i] == c]
        for i in mine:
            found[c] += x[i] * len(mine) / 2 / len(known) / 0.01
    return found


def test_ss_text_adds_the_shots_and_transports_the_rest(world, arrays):
    images, bank, labels = world
    x, t, y = arrays
    rest, anchor, w = x[y < 0], moved_by_shots(x, t, y), t
    for _ in range(3):
        z = np.exp(rest @ w.T / 0.01)
        for _ in range(10):
            z = z / z.sum(axis=0) * Q
            z = z / z.sum(axis=1, keepdims=True)
        pull = [sum(z[i, c] * rest[i] for i in range(len(rest))) / len(rest) for c in range(C)]
        w = unit(anchor + np.stack(pull) / 0.01)
    found = create("ss-text").fit_predict(images, bank, prior=Q, labels=labels)
    same(found.probabilities, softmax(x @ w.T / 0.01), 1e-4)


def test_ss_text_of_labelled_images_alone_is_the_closed_form(world, arrays):
    images, bank, labels = world
    x, t, y = arrays
    fitted = create("ss-text").fit(images[labels >= 0], bank, labels=labels[labels >= 0])
    w = unit(moved_by_shots(x, t, y))
    np.testing.assert_allclose(fitted.model.weights, w, atol=1e-6)
    np.testing.assert_allclose(w[2], t[2])  # no image of it is labelled
    same(fitted.predict(images).probabilities, softmax(x @ w.T / 0.01), 1e-4)
