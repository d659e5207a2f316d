"""SOTA against its formulas in plain loops, on one encoder and on several; and what joining does to every method."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peer_world import C, N, make_world

from kpl_lib.classifiers import available, create
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank, join

#: They know the number of dimensions D, so that an encoder twice is not that encoder once.
KNOW_D = {"transclip", "stata", "adapt", "sota", "oga"}
FAST = {name: {"steps": 100} for name in ("inmap", "inmap-sinkhorn", "kpl", "kpl-released")}


@pytest.fixture(scope="module")
def views():
    """The same images as two encoders see them, the second with more noise, and the texts of each."""
    one, two = make_world((20, 12, 8), noise=0.9), make_world((20, 12, 8), noise=1.6)
    return (one[0], two[0]), (one[1], two[1])


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def unit(v):
    return v / np.linalg.norm(v)


def plain(xs, ts, q, rounds=10, sweeps=15, epsilon=0.01, temperature=0.1):
    """z, F and the trust, written out over images, classes and views."""
    V = len(xs)
    y = [softmax(x @ t.T / temperature + np.log(q)) for x, t in zip(xs, ts, strict=True)]
    z = sum(y) / V
    mu, sigma = [], []
    for x in xs:
        sure = [sorted(range(N), key=lambda i, c=c: -z[i, c])[:8] for c in range(C)]
        mu.append(np.stack([unit(sum(z[i, c] * x[i] for i in sure[c])) for c in range(C)]))
        sigma.append(np.full(x.shape[1], 1 / x.shape[1]))
    alpha = beta = np.full(V, 1 / V)
    for _ in range(rounds):
        p = []
        for x, m, s in zip(xs, mu, sigma, strict=True):
            far = [[-0.5 * (((x[i] - m[c]) ** 2) / s).sum() / 50 for c in range(C)] for i in range(N)]
            p.append(softmax(np.array(far)))
        f = sum(alpha[v] * p[v] + beta[v] * y[v] for v in range(V))
        z = np.exp((f - f.max(axis=1, keepdims=True)) / epsilon)
        for _ in range(sweeps):
            z = z / z.sum(axis=0) * q
            z = z / z.sum(axis=1, keepdims=True)
        agree = [[(w.argmax(1) == z.argmax(1)).sum() for w in votes] for votes in (p, y)]
        alpha, beta = (np.array(a) / sum(a) for a in agree)
        for v, x in enumerate(xs):
            mu[v] = np.stack([unit(sum(z[i, c] * x[i] for i in range(N))) for c in range(C)])
            sigma[v] = sum(z[i, c] * (x[i] - mu[v][c]) ** 2 for i in range(N) for c in range(C)) / N
    return z, alpha, beta, mu, sigma


@pytest.mark.parametrize("q", ([1 / 3] * 3, [0.5, 0.3, 0.2]))
@pytest.mark.parametrize("count", (1, 2))
def test_sota_is_its_loop(views, count, q):
    xs, banks = views[0][:count], views[1][:count]
    images = F.normalize(torch.cat(xs, dim=1), dim=1)
    bank = join(banks) if count > 1 else banks[0]
    method = create("sota", temperature=0.1)  # at 0.01 many are as sure as another
    found = method.fit_predict(images, bank, prior=q)
    doubles = [
        [F.normalize(m.double(), dim=1).numpy() for m in part] for part in (xs, [b.names for b in banks])
    ]
    z, alpha, beta, mu, sigma = plain(*doubles, np.array(q))
    np.testing.assert_allclose(found.probabilities.double().numpy(), z, atol=1e-4)
    np.testing.assert_allclose(method.model.trust.numpy(), [alpha, beta], atol=1e-6)
    np.testing.assert_allclose(method.model.means.numpy(), np.concatenate(mu, axis=1), atol=1e-5)
    np.testing.assert_allclose(method.model.variances.numpy(), np.concatenate(sigma), atol=1e-6)


def test_a_new_image_is_placed_by_the_votes_without_transport(views):
    xs, banks = views
    images, bank = F.normalize(torch.cat(xs, dim=1), dim=1), join(banks)
    method = create("sota", rounds=3, temperature=0.1).fit(images, bank)
    x, t = ([F.normalize(m.double(), dim=1).numpy() for m in p] for p in (xs, [b.names for b in banks]))
    _, alpha, beta, mu, sigma = plain(x, t, np.full(3, 1 / 3), rounds=3)
    f = 0
    for v in range(2):
        far = -0.5 * (((x[v][:5, None] - mu[v]) ** 2) / sigma[v]).sum(axis=2) / 50
        f = f + alpha[v] * softmax(far) + beta[v] * softmax(x[v][:5] @ t[v].T / 0.1)
    found = method.predict(images[:5])
    np.testing.assert_allclose(found.probabilities.double().numpy(), f / 2, atol=1e-5)
    assert torch.equal(found.labels, method.predict(images).labels[:5])  # one by one
    alone = create("sota", rounds=3, temperature=0.1).fit(images, bank)
    assert torch.equal(alone.predict(images[:1]).probabilities, found.probabilities[:1])


def test_of_three_encoders_the_one_that_sees_nothing_counts_least(views):
    """With two, the surer one wins, right or wrong: agreement is with a sum that it leads."""
    (one, two), banks = views
    noise = F.normalize(torch.randn(one.shape, generator=torch.Generator().manual_seed(0)), dim=1)
    images = F.normalize(torch.cat((one, two, noise), dim=1), dim=1)
    trust = create("sota", temperature=0.1).fit(images, join([*banks, banks[0]])).model.trust
    assert bool((trust.argmin(dim=1) == 2).all()) and torch.allclose(trust.sum(dim=1), torch.ones(2).double())


@pytest.mark.parametrize("name", sorted(set(available()) - {"waffle"}))
def test_an_encoder_joined_with_itself_is_that_encoder(views, name):
    """Cosines stay, so labels do, for all that read images through inner products alone."""
    x, bank = views[0][0], views[1][0]
    twice = join([bank, bank])
    alone = create(name, k=3, **FAST.get(name, {})).fit_predict(x, bank)
    joined = create(name, k=3, **FAST.get(name, {})).fit_predict(torch.cat((x, x), dim=1) / 2**0.5, twice)
    share = float((alone.labels == joined.labels).double().mean())
    assert share == 1 or (name in KNOW_D and share > 0.8), share


def test_a_joined_model_refuses_images_of_one_encoder(views):
    images, bank = F.normalize(torch.cat(views[0], dim=1), dim=1), join(views[1])
    fitted = create("sota").fit(images, bank)
    with pytest.raises(InputError, match="differ in D: use one encoder for both"):
        fitted.predict(views[0][0])
    with pytest.raises(InputError, match="differ in D"):
        create("sota").fit(views[0][0], bank)


def test_views_survive_saving(views, tmp_path):
    images, bank = F.normalize(torch.cat(views[0], dim=1), dim=1), join(views[1])
    fitted = create("sota").fit(images, bank)
    fitted.save(tmp_path / "m.safetensors")
    again = type(fitted).load(tmp_path / "m.safetensors")
    assert torch.equal(again.predict(images).probabilities, fitted.predict(images).probabilities)
    assert isinstance(bank, TextBank) and list(again.model.views) == list(bank.views)
