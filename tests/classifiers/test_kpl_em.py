"""KPL-EM and kpl-adaptive: against plain loops, on real features, and where they must not move."""

import re
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from text_world import world

from kpl_lib.classifiers import Classifier, create, mixture
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.features import TextBank
from kpl_lib.metrics import accuracy, balanced_accuracy

NAMES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def clear():
    """Images of three classes that lie far apart, a bank that knows them, and the labels."""
    images, texts, names = world(n=240)
    return images, TextBank(NAMES, texts, names), torch.arange(240) % 3


@pytest.fixture(scope="module")
def fuzzy():
    """The same with much noise: no probability is near 0 or 1."""
    images, texts, names = world(n=120, noise=0.6)
    return images, TextBank(NAMES, texts, names)


@pytest.fixture(scope="module")
def cloud():
    """One cloud of images: nothing in it supports three classes."""
    images, texts, names = world(n=240)
    g = torch.Generator().manual_seed(5)
    axis = F.normalize(images.mean(dim=0), dim=0)
    images = F.normalize(axis + 0.2 * torch.randn(240, len(axis), generator=g), dim=1)
    return images, TextBank(NAMES, texts, names)


def plain_em(x, text, kappa=5.0, lam=1.0, tau=0.04, iterations=30, every=5):
    """The equations of the docstring; also the MAP objective after each iteration."""
    x, text = x.double(), text.double()
    u = x.mean(dim=0)
    axis, ridge = u / u.norm(), tau * u.norm() * torch.eye(x.shape[1]).double()
    log_p = (x @ text.T / 0.01).log_softmax(dim=1)
    ell = log_p - log_p.exp().mean(dim=0).log()
    x = x - torch.outer(x @ axis, axis)
    n, c = len(x), len(text)
    a = torch.linalg.inv(x.T @ x / n + ridge)
    weight = log_p.exp() / log_p.exp().sum(dim=0)
    m, objective = weight.T @ x, []
    for t in range(iterations):
        g = torch.stack([x @ a @ m[j] - 0.5 * m[j] @ a @ m[j] for j in range(c)], dim=1)
        z = (kappa * g + lam * ell - torch.tensor(float(c)).log()).softmax(dim=1)
        m = (z / z.sum(dim=0)).T @ x
        if t % every == every - 1:
            a = torch.linalg.inv(
                sum((z[:, j, None] * (x - m[j])).T @ (x - m[j]) for j in range(c)) / n + ridge
            )
        precision = kappa * a
        near = torch.stack([((x - m[j]) @ precision * (x - m[j])).sum(dim=1) for j in range(c)], dim=1)
        logdet = torch.linalg.slogdet(precision).logabsdet
        value = (lam * ell - 0.5 * near + 0.5 * logdet).logsumexp(dim=1).sum()
        value = value + 0.5 * (kappa - 1) * n * logdet - 0.5 * n * (ridge @ precision).trace()
        objective.append(float(value))
    return (x @ a @ m.T - 0.5 * ((m @ a) * m).sum(dim=1)) * kappa + lam * ell, objective


def test_kpl_em_equals_plain_loops(fuzzy):
    images, bank = fuzzy
    text = create("clip", text="top-k").fit(images, bank).model.weights
    settings = {"sharpness": 0.05, "strength": 0.1, "iterations": 7}
    expected, _ = plain_em(images, text, kappa=0.05, lam=0.1, iterations=7)
    found = create("kpl-em", **settings).fit_predict(images, bank).probabilities
    assert (found.amax(dim=1) < 0.98).double().mean() > 0.8  # not saturated: every term shows
    assert torch.allclose(found.double(), expected.softmax(dim=1), atol=1e-5)


def test_its_objective_never_falls_with_the_covariance_updated_each_time(fuzzy, monkeypatch):
    images, bank = fuzzy
    text = create("clip", text="top-k").fit(images, bank).model.weights
    expected, objective = plain_em(images, text, every=1, iterations=12)
    assert all(b >= a - 1e-6 for a, b in pairwise(objective))
    monkeypatch.setattr(mixture, "EVERY", 1)
    found = create("kpl-em", iterations=12).fit_predict(images, bank).probabilities
    assert torch.allclose(found.double(), expected.softmax(dim=1), atol=1e-5)


@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_natural7_reaches_99_percent(name, natural7, shared):
    images, text = natural7
    bank = TextBank(tuple("abcdefg"), list(text[:, None]), text)
    with np.load(shared("real/natural7_clip_vitb32.npz")) as file:
        labels = file["labels"]
    prediction = create(name, text="names").fit_predict(images, bank)
    assert accuracy(prediction, labels) >= 0.99
    assert balanced_accuracy(prediction, labels) >= 0.99
    listed = pd.read_csv(data_dir() / "results" / "peers_real.csv", comment="#")
    stored = listed.set_index(["set", "text", "classifier"]).loc["natural7", "names", name]
    assert stored["accuracy"] == pytest.approx(100 * accuracy(prediction, labels), abs=0.1)
    assert stored["balanced_accuracy"] == pytest.approx(100 * balanced_accuracy(prediction, labels), abs=0.1)


def test_adaptive_moves_where_classes_show(clear):
    images, bank, labels = clear
    found = create("kpl-adaptive").fit(images, bank)
    assert found.model.moved and found.model.support > 0
    assert accuracy(found.predict(images), labels) > 0.98


def test_adaptive_stays_with_the_text_in_one_cloud(cloud):
    images, bank = cloud
    found = create("kpl-adaptive").fit(images, bank)
    (said,) = found.findings
    assert "3 groups describe the images no better than one" in said and "the text stays" in said
    text = create("clip", text="top-k").fit_predict(images, bank)
    assert not found.model.moved and found.model.support < 0
    assert torch.equal(found.predict(images).labels, text.labels)
    assert torch.allclose(found.predict(images).probabilities, text.probabilities, atol=1e-5)


def test_adaptive_warns_and_stays_where_the_text_contradicts_the_names(clear):
    images, bank, _ = clear
    swapped = TextBank(NAMES, [*bank.descriptions[1:], bank.descriptions[0]], bank.names)
    with pytest.warns(UserWarning, match="wrong way"):
        found = create("kpl-adaptive").fit(images, swapped)
    assert not found.model.moved and found.model.support > 0
    assert "hardly agree" in found.findings[0]


def test_adaptive_follows_the_images_where_the_text_gives_nearly_all_to_one_class():
    images, texts, names = world(n=240, noise=0.3)
    axis = F.normalize(images.mean(dim=0), dim=0)
    texts[0] = F.normalize(texts[0] + 0.7 * axis, dim=1)
    method = create("kpl-adaptive", text_temperature=0.1)
    assert method.findings == ()
    method.fit(images, TextBank(NAMES, texts, names))
    assert method.model.moved and method.model.text_shares[0] > 0.9 and method.model.shares[0] < 0.5
    assert re.fullmatch(
        r"the text gives \d+ % of the images to 'cat'; the images say \d+ %", method.findings[0]
    )
    assert accuracy(method.predict(images), torch.arange(240) % 3) > 0.9


def test_shares_of_rare_classes_are_found_and_left_out_of_the_decision(clear):
    images, bank, labels = clear
    kept = (labels != 2) | (torch.arange(240) % 4 == 0)
    found = create("kpl-adaptive").fit(images[kept], bank)
    true = torch.bincount(labels[kept]).double() / kept.sum()
    assert torch.allclose(found.model.shares, true, atol=0.03)
    posterior = create("kpl-adaptive", decision="posterior").fit_predict(images[kept], bank)
    balanced = found.predict(images[kept])
    expected = balanced.scores.double() + found.model.shares.log()
    assert torch.allclose(posterior.scores.double(), expected, atol=1e-3)


def test_a_given_prior_is_kept(clear):
    images, bank, _ = clear
    prior = [0.5, 0.3, 0.2]
    for name in ("kpl-em", "kpl-adaptive"):
        found = create(name).fit(images, bank, prior=prior)
        assert torch.allclose(found.model.shares, torch.tensor(prior).double())
    with pytest.raises(InputError, match="estimate_shares"):
        create("kpl-em", estimate_shares=True).fit(images, bank, prior=prior)


def test_kpl_em_estimates_shares(clear):
    images, bank, labels = clear
    kept = (labels != 2) | (torch.arange(240) % 4 == 0)
    found = create("kpl-em", estimate_shares=True).fit(images[kept], bank)
    assert torch.allclose(found.model.shares, torch.bincount(labels[kept]).double() / kept.sum(), atol=0.03)


def test_scores_are_those_of_the_last_step(fuzzy):
    images, bank = fuzzy
    found = create("kpl-em", sharpness=0.05, strength=0.1, iterations=200).fit(images, bank)
    z = found.predict(images).probabilities.double()
    x = images.double() - torch.outer(
        images.double() @ F.normalize(images.double().mean(0), dim=0),
        F.normalize(images.double().mean(0), dim=0),
    )
    means = z.T @ x / z.sum(dim=0)[:, None]
    offsets = -0.5 * (found.model.weights * means).sum(dim=1) - torch.tensor(3.0).log()
    assert torch.allclose(offsets, found.model.offsets, atol=1e-5)


@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_order_of_images_and_classes_does_not_matter(name, clear):
    images, bank, _ = clear
    order = torch.randperm(240, generator=torch.Generator().manual_seed(3))
    one = create(name).fit_predict(images, bank).probabilities
    two = create(name).fit_predict(images[order], bank).probabilities
    assert torch.allclose(one[order], two, atol=1e-5)
    turned = TextBank(NAMES[::-1], bank.descriptions[::-1], bank.names.flip(0))
    three = create(name).fit_predict(images, turned).probabilities
    assert torch.allclose(one, three.flip(1), atol=1e-5)


@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_new_images_save_and_load(name, clear, tmp_path):
    images, bank, labels = clear
    found = create(name).fit(images[:180], bank)
    assert accuracy(found.predict(images[180:]), labels[180:]) > 0.95
    alone = torch.cat([found.predict(x[None]).probabilities for x in images[180:184]])
    assert torch.allclose(alone, found.predict(images[180:184]).probabilities, atol=1e-6)
    found.save(tmp_path / "fitted.safetensors")
    again = Classifier.load(tmp_path / "fitted.safetensors")
    assert torch.equal(again.predict(images).probabilities, found.predict(images).probabilities)
    assert again.model.moved == found.model.moved


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_a_handful_of_images_works(name, count, clear):
    images, bank, _ = clear
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = create(name).fit_predict(images[:count], bank).probabilities
    assert torch.isfinite(found).all()
    assert torch.allclose(found.sum(dim=1), torch.ones(count), atol=1e-5)


@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_half_precision_features_give_nearly_the_same(name, clear):
    images, bank, _ = clear
    half = create(name).fit_predict(images.half(), bank)
    assert (half.labels == create(name).fit_predict(images, bank).labels).double().mean() > 0.99


@pytest.mark.parametrize("name", ["kpl-em", "kpl-adaptive"])
def test_bad_input_is_one_line(name, clear):
    images, bank, _ = clear
    with pytest.raises(InputError, match="at least 2"):
        create(name).fit(images[:1], bank)
    with pytest.raises(InputError, match="prior"):
        create(name).fit(images, bank, prior=[0.5, 0.5])
    with pytest.raises(InputError, match="strength"):
        create(name, strength=-1.0)
    with pytest.raises(InputError, match="posterior"):
        create("kpl-adaptive", decision="post")
