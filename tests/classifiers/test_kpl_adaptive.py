"""kpl-adaptive against its equations in plain numpy: four starts, the likeliest, and what opens the gate."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from text_world import world

from kpl_lib.classifiers import create, gaussians
from kpl_lib.classifiers.kpl_adaptive import TIE
from kpl_lib.classifiers.start import start
from kpl_lib.features import TextBank

LAMBDA, TAU, RIDGE = 3.0, 0.1, 0.04


def log_softmax(scores):
    top = scores.max(axis=1, keepdims=True)
    return scores - top - np.log(np.exp(scores - top).sum(axis=1, keepdims=True))


def log_sum(scores):
    top = scores.max(axis=1)
    return top + np.log(np.exp(scores - top[:, None]).sum(axis=1))


def mixture(f, ell, z):
    """Gaussians of one covariance over whitened features: log N, shares, Z, support, likelihood."""
    n, c = z.shape
    f = f - f.mean(axis=0)
    values, vectors = np.linalg.eigh(f.T @ f / n)
    used = values > 1e-8 * values.max()
    f = f @ vectors[:, used] / np.sqrt(values[used])
    d = f.shape[1]
    for _ in range(50):
        q = (z.sum(axis=0) + 1) / (n + c)
        means = [z[:, k] @ f / z[:, k].sum() for k in range(c)]
        within = 0.01 * np.eye(d) + f.T @ f / n
        for k in range(c):
            within -= z[:, k].sum() / n * np.outer(means[k], means[k])
        inverse = np.linalg.inv(within)
        log_n = (
            np.stack([-0.5 * (((f - m) @ inverse) * (f - m)).sum(axis=1) for m in means], axis=1)
            - 0.5 * np.linalg.slogdet(within)[1]
        )
        z = np.exp(log_softmax(log_n + np.log(q) + LAMBDA * ell))
    one = -0.5 * (f**2).sum(axis=1)
    alone = np.exp(log_softmax(log_n + np.log(q)))
    entropy = -(alone * np.log(alone.clip(1e-300))).sum(axis=1)
    price = 0.5 * (c - 1) * (d + 1) * np.log(n) / n
    support = (log_sum(log_n + np.log(q)) - one - entropy).mean() - price
    return log_n, q, z, support, (log_sum(log_n + np.log(q) + LAMBDA * ell) - one).mean()


def ridge_rounds(x, ell, z, rounds):
    n, c = z.shape
    u = x.mean(axis=0)
    axis = u / np.linalg.norm(u)
    x = x - u
    x = x - np.outer(x @ axis, axis)
    ridge, within = RIDGE * np.linalg.norm(u) * np.eye(len(u)), x.T @ x / n
    for step in range(rounds):
        means = [z[:, k] @ x / z[:, k].sum() for k in range(c)]
        if step and step % 5 == 0:
            within = x.T @ x / n - sum(z[:, k].sum() / n * np.outer(means[k], means[k]) for k in range(c))
        inverse, q = np.linalg.inv(within + ridge), (z.sum(axis=0) + 1) / (n + c)
        g = np.stack([5 * (x @ inverse @ m - 0.5 * m @ inverse @ m) for m in means], axis=1)
        z = np.exp(log_softmax(g + np.log(q) + ell))
    return z


def diagonal_rounds(x, told):
    sure = [np.argsort(-told[:, k])[:8] for k in range(told.shape[1])]
    means, variance = [x[rows].mean(axis=0) for rows in sure], np.full(x.shape[1], 1 / x.shape[1])
    for _ in range(10):
        log_n = np.stack([-0.5 * ((x - m) ** 2 / variance).sum(axis=1) for m in means], axis=1)
        z = np.exp(log_softmax(told + log_n))
        means = [z[:, k] @ x / z[:, k].sum() for k in range(len(means))]
        variance = sum((z[:, k][:, None] * (x - m) ** 2).sum(axis=0) for k, m in enumerate(means)) / len(x)
    return z


def plain(x, t):
    """Fits from the four starts, `(log N, q, Z, support, likelihood)` each; the support of the text; ℓ; h."""
    told = log_softmax(x @ t.T / TAU)
    ell = told - np.log(np.exp(told).mean(axis=0))
    first = mixture(x @ t.T, ell, np.exp(told))
    debiased = np.exp(log_softmax(ell))
    starts = (
        first[2],
        ridge_rounds(x, ell, debiased, 6),
        ridge_rounds(x, ell, np.exp(told), 2),
        diagonal_rounds(x, told),
    )
    u, fits = x.mean(axis=0), []
    for z in starts:
        for _ in range(2):
            means = np.stack([z[:, k] @ x / z[:, k].sum() - u for k in range(len(t))])
            within = (x - u).T @ (x - u) / len(x)
            within = within - sum(z[:, k].sum() / len(x) * np.outer(m, m) for k, m in enumerate(means))
            ridge = RIDGE * np.linalg.norm(u) * np.eye(len(u))
            v = (means - means.mean(axis=0)) @ np.linalg.inv(within + ridge)
            found = mixture(np.hstack([x @ t.T, x @ v.T]), ell, z)
            z = found[2]
        fits.append(found)
    counts = np.bincount((x @ t.T).argmax(axis=1), minlength=len(t))
    return fits, first[3], ell, (counts + 1) / (len(x) + len(t))


def compared(classes, noise, raised, seed):
    """The library's fit, and the oracle's, on a world whose first class is raised along the mean image."""
    images, texts, names = world(n=150, c=classes, noise=noise, seed=seed)
    axis = F.normalize(images.mean(dim=0), dim=0)
    texts[0] = F.normalize(texts[0] + raised * axis, dim=1)
    bank = TextBank(tuple(map(str, range(classes))), texts, names)
    found = create("kpl-adaptive", text_temperature=TAU).fit(images, bank)
    t = start(bank, images, "top-k", 8)[0].double().numpy()
    return found.predict(images), found.model, plain(images.double().numpy(), t)


@pytest.mark.parametrize(
    ("classes", "noise", "raised", "seed", "kept"),
    [
        (3, 0.3, 0.7, 2, 0),  # the third is likelier, by less than a tie
        (5, 0.25, 2.0, 3, 1),
        (5, 0.45, 1.0, 2, 2),  # moved by the contradiction alone
        (8, 0.35, 1.0, 2, 2),
        (10, 0.4, 3.0, 1, 3),
    ],
)
def test_it_keeps_the_likeliest_of_four_fits_and_the_first_of_equals(classes, noise, raised, seed, kept):
    predicted, model, (fits, support, ell, h) = compared(classes, noise, raised, seed)
    likely = [fit[4] for fit in fits]
    assert kept == next(i for i, value in enumerate(likely) if value >= max(likely) - TIE)
    log_n, q, *_ = fits[kept]
    contradiction = (q * np.log(q / h)).sum()
    assert model.moved and support + contradiction > 0
    assert model.support == pytest.approx(support, abs=1e-6)
    assert model.contradiction == pytest.approx(contradiction, abs=1e-6)
    assert np.allclose(model.shares, q, atol=1e-6) and np.allclose(model.text_shares, h)
    expected = np.exp(log_softmax(log_n + LAMBDA * ell))
    assert np.abs(predicted.probabilities.numpy() - expected).max() < 1e-5


def test_it_stays_where_support_and_contradiction_are_below_zero_together():
    _, model, (_, support, _, _) = compared(3, 0.6, 0.7, 0)
    assert not model.moved and support < 0 < model.contradiction < -support


def test_the_start_from_sure_images_is_its_equations():
    images, texts, _ = world(n=90, noise=0.4)
    told = log_softmax(images.double().numpy() @ torch.stack([t[0] for t in texts]).double().numpy().T / TAU)
    found = gaussians.diagonal_rounds(images.double(), torch.from_numpy(told))
    assert np.abs(found.numpy() - diagonal_rounds(images.double().numpy(), told)).max() < 1e-9
