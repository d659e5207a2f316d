"""Centred text, ADAPT, the robust vote and OGA against their formulas, in plain loops; and how a stream behaves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peer_world import C, D, N, make_world

from kpl_lib.classifiers import Classifier, create
from kpl_lib.classifiers.oga import expected_tail
from kpl_lib.classifiers.robust_vote import trimmed_mean
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.metrics import accuracy

Q = np.array([0.5, 0.3, 0.2])


@pytest.fixture(scope="module", params=[(20, 12, 8), (15, 15, 10)], ids=("skewed", "even"))
def world(request):
    return make_world(request.param, noise=0.9)


def arrays(world):
    return world[0].double().numpy(), world[1].names.double().numpy()


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def same(probabilities, expected, atol=1e-5):
    np.testing.assert_allclose(probabilities.double().numpy(), expected, atol=atol, rtol=0)


def entropy(p):
    return -sum(v * np.log(v) for v in p)


def precision(rows):
    """`D ((n − 1) S + tr(S) I)⁻¹`, by the inverse."""
    s = np.cov(np.stack(rows), rowvar=False)
    return D * np.linalg.inv((len(rows) - 1) * s + np.trace(s) * np.eye(D))


def test_centred_text_takes_the_mean_image_away(world):
    x, t = arrays(world)
    u = sum(x) / N
    expected = [[(x[i] - u) @ t[c] / 0.01 + np.log(Q[c]) for c in range(C)] for i in range(N)]
    found = create("centred-text").fit_predict(*world[:2], prior=Q)
    same(found.probabilities, softmax(np.array(expected)), 1e-4)
    plain = create("clip").fit_predict(*world[:2], prior=Q)
    assert (found.probabilities - plain.probabilities).abs().max() > 0.1


@pytest.mark.parametrize("temperature", (0.01, 0.3))
def test_adapt_is_one_step_of_a_shrunk_discriminant(world, temperature):
    x, t = arrays(world)
    p = softmax(x @ t.T / temperature + np.log(Q))
    bank = {}
    for c in range(C):
        mine = [i for i in range(N) if p[i].argmax() == c]
        bank[c] = sorted(mine, key=lambda i: entropy(p[i]))[:6]
    mu = np.zeros((C, D))
    for c in range(C):
        above = sum(p[i, c] * x[i] for i in range(N)) + sum((p[i, c] * x[i] for i in bank[c]), np.zeros(D))
        mu[c] = 0.9 * above / (p[:, c].sum() + p[bank[c], c].sum()) + 0.1 * t[c]
    rows = [x[i] - mu[c] for c in range(C) for i in bank[c]]
    lam = precision(rows)
    logits = np.zeros((N, C))
    for i in range(N):
        for c in range(C):
            gauss = x[i] @ lam @ mu[c] - 0.5 * mu[c] @ lam @ mu[c]
            alike = sum(x[i] @ x[j] for j in bank[c]) / (2 * len(rows))
            logits[i, c] = np.log(p[i, c]) + gauss + alike
    fitted = create("adapt", temperature=temperature)
    same(fitted.fit_predict(*world[:2], prior=Q).probabilities, softmax(logits), 1e-4)


def test_the_precision_is_the_same_by_images_and_by_dimensions():
    from kpl_lib.classifiers.adapt import shrunk_directions

    generator = torch.Generator().manual_seed(0)
    rows, means = (torch.randn(n, D, generator=generator).double() for n in (30, C))
    for n in (2, 5, D, 30):
        expected = means.numpy() @ precision(list(rows[:n].numpy()))
        np.testing.assert_allclose(shrunk_directions(rows[:n], means), expected, rtol=1e-9, atol=1e-9)
    alike = shrunk_directions(rows[:1].expand(4, D), means)
    assert torch.isfinite(alike).all()


def robust(values, delta=0.05, rho=0.5):
    middle = np.median(values)
    width = np.median(np.abs(values - middle)) * max(1, np.sqrt(2 * np.log(2 / delta) / (len(values) * rho)))
    total = 0.0
    for value in values:
        total += width * max(-1, min(1, (value - middle) / width))
    return middle + total / len(values)


@pytest.mark.parametrize("options", ({}, {"rho": 1.0}, {"delta": 0.5, "rho": 3.0}))
def test_the_robust_vote_is_pulled_in_to_the_median(world, options):
    images, bank, _ = world
    x = images.double().numpy()
    uneven = [rows[: 4 - c] for c, rows in enumerate(bank.descriptions)]  # 4, 3 and 2 of them
    bank = TextBank(bank.class_names, uneven, bank.names)
    expected = [[robust(x[i] @ rows.double().numpy().T, **options) for rows in uneven] for i in range(N)]
    fitted = create("robust-vote", **options)
    np.testing.assert_allclose(fitted.fit_predict(images, bank).scores, expected, atol=1e-6)
    same(
        fitted.fit_predict(images, bank, prior=Q).probabilities,
        softmax(np.array(expected) / 0.01 + np.log(Q)),
        1e-4,
    )
    by_name = create("robust-vote", text="names").fit_predict(images, bank)
    torch.testing.assert_close(by_name.scores, create("clip").fit_predict(images, bank).scores)


def test_one_odd_description_moves_the_mean_and_hardly_the_robust_vote(world):
    images, names = world[0], world[1].names
    alike = F.normalize(
        names[:, None] + 0.01 * torch.randn(C, 9, D, generator=torch.Generator().manual_seed(0)), dim=2
    )
    odd = torch.cat([alike, -names[:, None]], dim=1)
    moved = {}
    for name in ("robust-vote", "description-vote"):
        with_it, without = (
            create(name).fit_predict(images, TextBank("abc", list(rows), names)) for rows in (odd, alike)
        )
        moved[name] = (with_it.scores - without.scores).abs().mean()
    assert moved["robust-vote"] < 0.05 * moved["description-vote"]


def naive_stream(x, t, order, temperature):
    """What OGA says of each image at its turn, in the order of the images, and the vectors that it ends with."""
    y = softmax(x @ t.T / temperature + np.log(Q))
    cache, said = {c: [] for c in range(C)}, np.zeros((N, C))
    exponent = lambda v: np.zeros(C)  # noqa: E731
    for i in order:
        c = y[i].argmax()
        cache[c] = sorted([*cache[c], i], key=lambda j: entropy(y[j]))[:8]
        known = [c for c in range(C) if len(cache[c]) >= 2]
        if known:
            mu = {c: sum(x[j] for j in cache[c]) / len(cache[c]) for c in known}
            lam = precision([x[j] - mu[c] for c in known for j in cache[c]])

            def exponent(v, known=known, mu=mu, lam=lam):
                values = {c: v @ lam @ mu[c] - 0.5 * mu[c] @ lam @ mu[c] for c in known}
                return np.array([values.get(c, sum(values.values()) / len(values)) for c in range(C)])

        said[i] = softmax(np.log(y[i]) + 0.05 * exponent(x[i]))
    return said, lambda v: softmax(v @ t.T / temperature + np.log(Q) + 0.05 * exponent(v))


@pytest.mark.parametrize(("seed", "temperature"), [(0, 0.01), (7, 0.3)])
def test_oga_is_its_loop_and_goes_on_with_new_images(world, seed, temperature):
    images, bank, _ = world
    x, t = arrays(world)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed)).tolist()
    said, final = naive_stream(x, t, order, temperature)
    stream = create("oga", seed=seed, temperature=temperature)
    same(stream.fit_predict(images.double(), bank, prior=Q).probabilities, said)
    new = F.normalize(images[:3].double() + 0.2, dim=1)
    same(stream.predict(new).probabilities, np.stack([final(v) for v in new.numpy()]))


def test_a_stream_in_parts_is_the_whole_stream(world, tmp_path):
    images, bank, _ = world
    images = images.double()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    whole = create("oga").fit_predict(images, bank)
    turns = torch.randperm(2, generator=torch.Generator().manual_seed(0))
    first = create("oga").fit(
        images[order[:2]][turns.argsort()], bank
    )  # the same first two, in the same turn
    said = [first.update(row) for row in images[order[2:20]].split(1)]
    first.save(tmp_path / "stream.safetensors")
    later = Classifier.load(tmp_path / "stream.safetensors").update(images[order[20:]])
    found = torch.cat([*(one.probabilities for one in said), later.probabilities])
    torch.testing.assert_close(found, whole.probabilities[order[2:]], atol=1e-9, rtol=0)
    assert later.class_names == bank.class_names and torch.equal(later.labels, later.scores.argmax(dim=1))
    before = first.predict(images[:5]).probabilities
    first.predict(images)
    assert torch.equal(first.predict(images[:5]).probabilities, before)  # to look changes nothing


def test_the_order_of_a_stream_matters_and_the_tail_of_many_orders_says_how_much():
    images, bank, labels = make_world((60, 30, 10), noise=0.9)
    orders = [create("oga", temperature=0.2, seed=seed).fit_predict(images, bank) for seed in range(10)]
    again = create("oga", temperature=0.2, seed=2).fit_predict(images, bank)
    assert torch.equal(again.labels, orders[2].labels)
    results = [float(accuracy(found, labels)) for found in orders]
    assert len(set(results)) > 1 and not create("oga").order_free
    assert expected_tail(results) == pytest.approx(min(results))
    assert expected_tail(results) < sum(results) / len(results)


def test_the_tail_is_a_share_of_the_runs():
    assert expected_tail(list(range(30))) == 1.0  # the worst 3, though 0.1 * 30 is above 3
    assert expected_tail([3.0]) == 3.0 and expected_tail([1, 2], share=1) == 1.5
    for results, share in (([], 0.1), ([1.0], 0.0), ([1.0], 1.1)):
        with pytest.raises(InputError, match="at least one result, and a share above 0"):
            expected_tail(results, share)


def test_a_stream_is_fitted_before_it_goes_on(world):
    with pytest.raises(InputError, match="'oga' is not fitted: call fit"):
        create("oga").update(world[0][:1])
    with pytest.raises(InputError, match="encoder"):
        create("oga").fit(*world[:2]).update(F.normalize(torch.ones(1, D + 1), dim=1))


def test_many_votes_are_pulled_in_to_the_median_distance_and_no_further():
    votes = np.random.default_rng(0).standard_normal((3, 41))
    middle = np.median(votes, axis=1, keepdims=True)
    width = np.median(np.abs(votes - middle), axis=1, keepdims=True)  # kappa is 1 from 15 votes on
    expected = (middle + np.clip(votes - middle, -width, width)).mean(axis=1)
    assert np.allclose(trimmed_mean(torch.from_numpy(votes), delta=0.05, rho=0.5).numpy(), expected)
