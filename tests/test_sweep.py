"""Settings swept together against the same settings one by one."""

import pytest
import torch
from core_world import bank_of, world

from kpl_lib.common.errors import InputError
from kpl_lib.solvers.gradient import descend, harden
from kpl_lib.sweep import sweep
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies


@pytest.fixture(scope="module")
def scene():
    images, texts, _ = world(n=120, dtype=torch.float32)
    return images, bank_of(texts)


def same_predictions(one, other, images):
    return torch.equal(one.scores(images).argmax(dim=1), other.scores(images).argmax(dim=1))


def test_every_k_in_order_with_the_prior(scene):
    images, bank = scene
    points = sweep(bank, images, (4, 1), plan="converged", steps=3, prior=[0.5, 0.3, 0.2])
    assert [point.k for point in points] == [4, 1]
    shares = torch.tensor([0.5, 0.3, 0.2])
    for point in points:
        torch.testing.assert_close(point.pseudo_labels.float().mean(dim=0), shares, atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", (0.04, 0.08))
@pytest.mark.parametrize("plan", ("softmax", "sinkhorn", "converged", "released"))
def test_exact_steps_equal_one_fit_for_each_setting(scene, plan, temperature):
    images, bank = scene
    points = sweep(bank, images, (1, 3, 6), plan=plan, temperature=temperature)
    for point in points:
        text = text_proxies(bank, images, k=point.k)
        assert torch.equal(point.text.weights, text.weights)
        logits = images @ text.weights.T
        labels = {
            "softmax": lambda x: (x / 0.01).softmax(dim=1),
            "sinkhorn": lambda x: sinkhorn(x).pseudo_labels,
            "converged": lambda x: sinkhorn(x, iterations=10_000, tolerance=1e-6).pseudo_labels,
            "released": lambda x: greenkhorn(x, start="released").pseudo_labels,
        }[plan](logits)
        torch.testing.assert_close(point.pseudo_labels, labels)
        alone = fit_proxies(images.double(), text.weights, labels, temperature=temperature)
        assert same_predictions(point.proxies, alone, images)


def test_every_setting_starts_at_its_own_text_with_its_own_numbers(scene):
    images, bank = scene
    points = []
    for temperature in (0.04, 0.1):
        for confidence in (0.4, 0.99):
            rule = {"temperature": temperature, "confidence": confidence, "steps": 2}
            points += sweep(bank, images, (1, 6), plan="sinkhorn", **rule)
            for point in points[-2:]:
                alone = fit_proxies(images, point.text.weights, point.pseudo_labels, **rule)
                torch.testing.assert_close(point.proxies.weights, alone.weights, atol=2e-4, rtol=0)
    for i in range(8):
        for j in range(i):
            assert (points[i].proxies.weights - points[j].proxies.weights).abs().max() > 1e-3


def test_closed_form_factorises_once(scene, monkeypatch):
    images, bank = scene
    counted = []
    import kpl_lib.sweep as module

    factorise = module.ridge_system
    monkeypatch.setattr(module, "ridge_system", lambda *a: counted.append(a[1]) or factorise(*a))
    points = sweep(bank, images, (1, 3, 6), plan="released", closed_form=True, temperature=0.1)
    assert counted == [0.1] and len(points) == 3
    for point in points:
        alone = ridge_proxies(images, point.pseudo_labels, temperature=0.1)
        torch.testing.assert_close(point.proxies.weights, alone.weights)


def test_settings_leave_the_batch_one_by_one(scene):
    """Different temperatures die out at different steps, and each equals its own run."""
    images, bank = scene
    images, taus = images.double(), torch.tensor([0.02, 0.04, 0.2])
    (point,) = sweep(bank, images, (6,), plan="released", steps=0)
    start, labels = point.text.weights, harden(point.pseudo_labels, 0.6).T
    end = descend(images, start.expand(3, -1, -1), labels.expand(3, -1, -1), taus, 10.0, 2000)
    assert len(set(end.steps.tolist())) > 1
    for weights, tau in zip(end.weights, taus.tolist(), strict=True):
        alone = fit_proxies(images, start, point.pseudo_labels, temperature=tau)
        torch.testing.assert_close(weights, alone.weights.double(), atol=1e-6, rtol=0)


def test_settings_that_do_not_fit_in_memory_go_in_batches(scene, monkeypatch):
    images, bank = scene
    whole = sweep(bank, images, (1, 2, 3, 4, 5), plan="released")
    monkeypatch.setattr("kpl_lib.sweep.LABEL_BYTES", 2 * 120 * 3 * 4)
    parts = sweep(bank, images, (1, 2, 3, 4, 5), plan="released")
    for one, other in zip(whole, parts, strict=True):
        assert same_predictions(one.proxies, other.proxies, images)


def test_what_does_not_fit_is_named(scene):
    images, bank = scene
    with pytest.raises(InputError, match="plan must be"):
        sweep(bank, images, (1,), plan="wishful")
    with pytest.raises(InputError, match="ks is empty"):
        sweep(bank, images, ())
    for wrong in ({"temperature": 0}, {"confidence": -1}, {"prior": ()}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            sweep(bank, images, (1,), steps=1, **wrong)
