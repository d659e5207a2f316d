"""Properties that hold for any features: what an order, a copy or a scale may and may not change."""

import warnings

import pytest
import torch
from core_world import DoubleBank, world
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

FEW = settings(max_examples=12)
SCENES = st.builds(
    lambda n, d, c, m, seed: (*world(n, d, c, m, seed)[:2], seed),
    st.integers(12, 60),
    st.integers(3, 20),
    st.integers(2, 4),
    st.integers(1, 6),
    st.integers(0, 10_000),
)
RELEASED = {"start": "released"}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shuffled(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed + 1))


def balanced(images, text):
    """Pseudo labels of a transport that has converged; scenes where it has not are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = sinkhorn(images @ text.T, temperature=0.05, iterations=5000, tolerance=1e-12)
    assume(plan.converged)
    return plan.pseudo_labels


def close(a, b, atol=1e-7):
    torch.testing.assert_close(a, b, atol=atol, rtol=1e-6)


@FEW
@given(SCENES)
def test_order_of_images(scene):
    images, texts, seed = scene
    order = shuffled(len(images), seed)
    bank = DoubleBank(texts)
    text = text_proxies(bank, images, k=2 if texts.shape[1] > 1 else 1).weights
    close(text_proxies(bank, images[order], k=2 if texts.shape[1] > 1 else 1).weights, text, 1e-12)
    labels = balanced(images, text)
    close(balanced(images[order], text), labels[order])
    fit, moved = (
        fit_proxies(images, text, labels, steps=60),
        fit_proxies(images[order], text, labels[order], steps=60),
    )
    close(moved.weights, fit.weights, 1e-6)
    close(
        ridge_proxies(images[order], labels[order], intercept=True).scores(images),
        ridge_proxies(images, labels, intercept=True).scores(images),
    )


@FEW
@given(SCENES)
def test_order_of_classes(scene):
    images, texts, seed = scene
    order = shuffled(len(texts), seed)
    text = text_proxies(DoubleBank(texts), images, k=1).weights
    close(text_proxies(DoubleBank(texts[order]), images, k=1).weights, text[order], 1e-12)
    labels = balanced(images, text)
    close(balanced(images, text[order]), labels[:, order])
    fit = fit_proxies(images, text, labels, steps=60)
    close(fit_proxies(images, text[order], labels[:, order], steps=60).weights, fit.weights[order], 1e-6)
    solved = ridge_proxies(images, labels, intercept=True).scores(images)
    close(ridge_proxies(images, labels[:, order], intercept=True).scores(images), solved[:, order])


@FEW
@given(SCENES)
def test_order_of_descriptions(scene):
    images, texts, seed = scene
    order = shuffled(texts.shape[1], seed)
    k = max(1, texts.shape[1] - 1)
    here, there = (text_proxies(DoubleBank(t), images, k=k) for t in (texts, texts[:, order]))
    close(there.weights, here.weights, 1e-12)
    for chosen, moved in zip(here.chosen, there.chosen, strict=True):
        assert chosen.tolist() == order[moved].tolist()


@FEW
@given(SCENES)
def test_duplicating_all_images_changes_nothing_as_published(scene):
    images, texts, _ = scene
    twice = torch.cat([images, images])
    bank = DoubleBank(texts)
    text = text_proxies(bank, images, k=1).weights
    close(text_proxies(bank, twice, k=1).weights, text, 1e-12)
    labels, doubled = balanced(images, text), balanced(twice, text)
    close(doubled, torch.cat([labels, labels]))
    close(
        fit_proxies(twice, text, doubled, steps=60).weights,
        fit_proxies(images, text, labels, steps=60).weights,
        1e-6,
    )


@FEW
@given(SCENES, st.floats(0.1, 10))
def test_scale_of_logits_and_temperature_cancel(scene, scale):
    images, texts, _ = scene
    logits = images @ texts[:, 0].T
    prior = torch.arange(1.0, len(texts) + 1) / sum(range(1, len(texts) + 1))
    for plan in (sinkhorn, lambda x, temperature: sinkhorn(x, temperature=temperature, prior=prior)):
        close(
            plan(scale * logits, temperature=scale * 0.05).pseudo_labels,
            plan(logits, temperature=0.05).pseudo_labels,
        )


@FEW
@given(SCENES)
def test_a_constant_for_each_image_changes_no_plan(scene):
    images, texts, seed = scene
    logits = images @ texts[:, 0].T
    shift = torch.randn(len(images), 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    close(sinkhorn(logits + shift).pseudo_labels, sinkhorn(logits).pseudo_labels)


@FEW
@given(SCENES)
def test_scale_of_labels_scales_only_the_closed_form(scene):
    images, texts, _ = scene
    labels = greenkhorn(images @ texts[:, 0].T, **RELEASED).pseudo_labels / 10
    with_intercept = ridge_proxies(images, labels, intercept=True).scores(images)
    close(ridge_proxies(images, 3 * labels, intercept=True).scores(images), with_intercept)
    probabilities = ridge_proxies(images, labels, intercept=True).probabilities(images)
    close(probabilities.sum(dim=1), torch.ones(len(images), dtype=torch.float64))


def test_order_does_not_matter_to_the_released_plan_where_nothing_ties():
    """Its ties go to the first index; with many images all columns come first, and no two rows tie."""
    images, texts, _ = world(n=300)
    rows, columns = shuffled(300, 0), shuffled(3, 1)
    plan = greenkhorn(images @ texts[:, 0].T, **RELEASED).pseudo_labels
    moved = greenkhorn(images[rows] @ texts[columns, 0].T, **RELEASED).pseudo_labels
    close(moved, plan[rows][:, columns], 1e-12)
