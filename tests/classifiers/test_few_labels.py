"""Methods that learn from a few labelled images, against their formulas in plain loops."""

import numpy as np
import pytest
import torch
from peer_world import C, D, N, make_world

from kpl_lib.classifiers import Classifier, create

READERS = ("anchored-probe", "gda", "kpl-adaptive", "ss-text")
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


@pytest.mark.parametrize(("strength", "temperature"), [(300.0, 0.01), (0.5, 0.2)])
def test_the_anchored_probe_is_the_bottom_of_its_loss(world, arrays, strength, temperature):
    images, bank, labels = world
    x, t, y = arrays
    given = {"strength": strength, "temperature": temperature}
    fitted = create("anchored-probe", **given).fit(images.double(), bank, prior=Q, labels=labels)
    w = fitted.model.weights.double().numpy()
    slope = strength * (w - t)
    for i in np.flatnonzero(y >= 0):
        p = softmax(x[i : i + 1] @ w.T / temperature)[0]
        for c in range(C):
            slope[c] += (p[c] - (c == y[i])) * x[i] / temperature
    assert np.abs(slope).max() < 1e-3 * strength and np.abs(w - t).max() > 0.1
    same(fitted.predict(images).probabilities, softmax(x @ w.T / temperature + np.log(Q)), 1e-4)


def discriminant(x, texts, y, described=4.0, match=0.02):
    """Means, and lines `Λ μ_c`, of labelled images and of descriptions that were brought to them."""
    shots = {c: [x[i] for i in np.flatnonzero(y == c)] for c in range(C)}
    seen = [c for c in range(C) if shots[c]]
    gap = sum(np.mean(shots[c], axis=0) - texts[c].mean(axis=0) for c in seen) / len(seen)
    means, spread = np.zeros((C, D)), []
    for c in range(C):
        alike = np.exp([t @ np.mean(shots[c], axis=0) / match if shots[c] else 0 for t in texts[c]])
        samples = [(1, s) for s in shots[c]]
        samples += [(described * a / sum(alike), t + gap) for a, t in zip(alike, texts[c], strict=True)]
        means[c] = sum(w * s for w, s in samples) / sum(w for w, _ in samples)
        spread += [np.sqrt(w) * (s - means[c]) for w, s in samples]
    s = np.cov(np.stack(spread), rowvar=False)
    return means, means @ (D * np.linalg.inv((len(spread) - 1) * s + np.trace(s) * np.eye(D)))


@pytest.mark.parametrize("text", ("all", "names"))
def test_gda_takes_descriptions_as_further_samples(world, arrays, text):
    images, bank, labels = world
    x, t, y = arrays
    rows = [r.double().numpy() for r in bank.descriptions]
    texts = rows if text == "all" else t[:, None]
    means, lines = discriminant(x, texts, y)
    proxies = unit(np.stack([r.mean(axis=0) for r in texts]))
    gauss = x @ lines.T - 0.5 * (means * lines).sum(axis=1)
    found = create("gda", text=text).fit_predict(images, bank, prior=Q, labels=labels)
    same(found.probabilities, softmax(x @ proxies.T / 0.01 + 0.3 * gauss + np.log(Q)), 1e-4)


@pytest.mark.parametrize("name", ("anchored-probe", "gda"))
def test_without_labels_it_is_the_text(world, name):
    images, bank, labels = world
    for given in (None, torch.full_like(labels, -1)):
        found = create(name, text="all").fit_predict(images, bank, labels=given)
        assert torch.equal(found.scores, create("clip", text="all").fit_predict(images, bank).scores)


@pytest.mark.parametrize("name", READERS)
def test_images_in_another_order_are_told_the_same(world, name):
    images, bank, labels = world
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    here = create(name, text="all").fit(images.double(), bank, labels=labels).predict(images.double())
    there = (
        create(name, text="all")
        .fit(images[order].double(), bank, labels=labels[order])
        .predict(images.double())
    )
    torch.testing.assert_close(there.probabilities, here.probabilities, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", READERS)
def test_labels_change_what_is_said_of_new_images_and_stay_in_the_file(name, world, tmp_path):
    images, bank, labels = world
    without = create(name, text="all").fit(images[:30], bank).predict(images[30:])
    fitted = create(name, text="all").fit(images[:30], bank, labels=labels[:30])
    found = fitted.predict(images[30:])
    assert (found.probabilities - without.probabilities).abs().max() > 0.01
    fitted.save(tmp_path / "x.safetensors")
    assert torch.equal(Classifier.load(tmp_path / "x.safetensors").predict(images[30:]).scores, found.scores)
