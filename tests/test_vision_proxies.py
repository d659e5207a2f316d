"""Gradient proxies and their closed form."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from core_world import cosine_of_deviations, world
from published_loop import published_loop

from kpl_lib.common.errors import InputError
from kpl_lib.solvers.gradient import _excess, descend, harden
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.solvers.temperature import softmax_temperature
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies


def made(n=90, d=24, c=3, seed=0, dtype=torch.float64, plan="released"):
    images, texts, labels = world(n, d, c, 1, seed, dtype=dtype)
    text = texts[:, 0]
    if plan == "released":
        return images, text, greenkhorn(images @ text.T, start="released").pseudo_labels, labels
    return images, text, sinkhorn(images @ text.T).pseudo_labels, labels


def test_hard_labels_are_a_copy():
    labels = torch.tensor([[0.7, 0.3], [0.5, 0.5], [0.1, 0.9]])
    copy = labels.clone()
    assert harden(labels, 0.6).tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    assert torch.equal(labels, copy)
    fit_proxies(
        torch.eye(3)[:, :2].abs() + torch.tensor([[0, 0], [0, 0], [0, 1.0]]), torch.eye(2), labels, steps=1
    )
    assert torch.equal(labels, copy)


@pytest.mark.parametrize("plan", ("released", "sinkhorn"))
def test_stopping_early_moves_no_weight_by_a_quarter_digit(plan):
    images, text, labels, _ = made(plan=plan, dtype=torch.float64)
    fit = fit_proxies(images, text, labels)
    full = published_loop(images, text, labels)
    digit = torch.ldexp(torch.ones_like(full), torch.frexp(full).exponent - 24)
    assert ((fit.weights - full).abs() <= digit / 4).all()
    assert fit.steps < 2000


@pytest.mark.parametrize("plan", ("released", "sinkhorn"))
def test_fast_order_is_nearer_to_float64_than_the_published_order(plan):
    """The order that large float32 inputs take, against the loop in both precisions."""
    images, text, labels, _ = made(n=400, d=64, c=4, plan=plan)
    exact = published_loop(images, text, labels)
    single = [x.float() for x in (images, text, labels)]
    hard = harden(single[2], 0.6).T.contiguous()[None]
    end = descend(single[0], single[1][None], hard, torch.tensor([0.04], dtype=torch.float64), 10.0, 2000)
    ours = (end.weights[0] - exact).abs().max()
    assert ours <= 3 * (published_loop(*single) - exact).abs().max()
    assert plan == "sinkhorn" or ours <= 2e-7


def test_a_flat_softmax_is_taken_without_cancellation():
    logits = 0.2 * torch.randn(1, 5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = logits.softmax(dim=1) - 0.2
    torch.testing.assert_close(_excess(logits.clone()), expected, atol=1e-15, rtol=0)
    tiny = 1e-6 * logits.float()
    exact = (1e-6 * logits).softmax(dim=1) - 0.2
    torch.testing.assert_close(_excess(tiny).double(), exact, atol=0, rtol=1e-5)


def test_blocks_do_not_change_the_steps(monkeypatch):
    images, text, labels, _ = made(n=100, dtype=torch.float64)
    given = (
        images,
        text[None],
        labels.T.contiguous()[None],
        torch.tensor([0.04], dtype=torch.float64),
        10.0,
        200,
    )
    whole = descend(*given)
    monkeypatch.setattr("kpl_lib.solvers.gradient.BLOCK_BYTES", 24 * 8 * 7)
    blocks = descend(*given)
    torch.testing.assert_close(blocks.weights, whole.weights, atol=1e-9, rtol=0)


@pytest.mark.parametrize("small", (True, False))
def test_callback_sees_the_published_rule(small, monkeypatch):
    if not small:
        monkeypatch.setattr("kpl_lib.vision_proxies.SMALL", 0)
    images, text, labels, _ = made(dtype=torch.float32)
    seen = []
    fit = fit_proxies(images, text, labels, steps=30, callback=lambda *step: seen.append(step))
    assert [step for step, *_ in seen] == list(range(1, 31))
    rate, last = 10.0, float("inf")
    for _, weights, norm, used in seen:
        rate = rate / 2 if norm > last else rate
        last = norm
        assert used == rate and weights.shape == (3, 24)
        torch.testing.assert_close(weights.norm(dim=1).double(), torch.ones(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[-1][1].float(), fit.weights)


def test_zero_steps_return_the_start():
    images, text, labels, _ = made()
    fit = fit_proxies(images, text, labels, steps=0)
    assert torch.equal(fit.weights, text) and fit.steps == 0 and not fit.converged


def test_steps_that_freeze_before_they_arrive_are_not_called_converged():
    images, text, labels, _ = made(n=300)
    assert fit_proxies(images, text, labels).converged
    frozen = fit_proxies(images, text, labels, learning_rate=1e-3)
    assert not frozen.converged and frozen.residual > 1e-3


def test_new_images_are_scored_by_the_same_rule():
    images, text, labels, _ = made(n=120)
    for proxies in (fit_proxies(images[:90], text, labels[:90]), ridge_proxies(images[:90], labels[:90])):
        new = proxies.scores(images[90:])
        torch.testing.assert_close(proxies.scores(images)[90:], new, atol=1e-9, rtol=1e-9)
        assert proxies.scores(images[90:91]).shape == (1, 3)
        sums = proxies.probabilities(images[90:]).sum(dim=1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_scores_of_steps_are_cosines_up_to_what_classes_share():
    images, text, labels, _ = made()
    fit = fit_proxies(images, text, labels)
    difference = fit.scores(images) - images @ fit.weights.T
    assert (difference - difference[:, :1]).abs().max() <= 1e-12


def explicit_ridge(images, labels, temperature=0.04, intercept=False):
    """The formula of the closed form, written out with every matrix."""
    n, c = labels.shape
    u = images.mean(dim=0)
    axis = u / u.norm()
    x = images - torch.outer(images @ axis, axis)
    a = torch.linalg.inv(x.T @ x / n + temperature * u.norm() * torch.eye(x.shape[1], dtype=x.dtype))
    b = c * labels.T @ x
    if not intercept:
        w = (b - b.mean(dim=0)) @ a
        return w, x @ w.T
    m = labels.T @ x / labels.sum(dim=0)[:, None]
    w = m @ a
    scores = x @ w.T - (m * w).sum(dim=1) / 2
    return w - w.mean(dim=0), scores


@pytest.mark.parametrize("intercept", (False, True))
@pytest.mark.parametrize(("n", "d"), ((90, 24), (40, 64)))
def test_closed_form_equals_its_formula_in_both_shapes(n, d, intercept):
    images, _, labels, _ = made(n, d)
    solved = ridge_proxies(images, labels, intercept=intercept)
    weights, scores = explicit_ridge(images, labels, intercept=intercept)
    assert ridge_system(images, 0.04).factor.shape[0] == min(n, d)
    torch.testing.assert_close(solved.weights, weights, atol=1e-9, rtol=1e-8)
    ours = solved.scores(images)
    torch.testing.assert_close(ours - ours[:, :1], scores - scores[:, :1], atol=1e-9, rtol=1e-8)


@pytest.mark.parametrize(("n", "d"), ((300, 24), (150, 200)))
def test_closed_form_is_where_the_steps_end(n, d):
    images, text, labels, _ = made(n, d)
    steps, solved = fit_proxies(images, text, labels), ridge_proxies(images, labels)
    assert steps.residual <= 1e-3
    assert cosine_of_deviations(steps.weights, solved.weights) >= 0.9999
    assert torch.equal(steps.scores(images).argmax(dim=1), solved.scores(images).argmax(dim=1))
    u = F.normalize(images.mean(dim=0), dim=0)
    predicted = F.normalize(-u + 0.04 / n * solved.weights, dim=1)
    assert (steps.weights - steps.weights.mean(dim=0)).norm() == pytest.approx(
        float((predicted - predicted.mean(dim=0)).norm()), rel=0.02
    )
    assert (steps.weights @ u).max() < -0.99  # all proxies have collapsed on the negative mean image


def test_float32_keeps_the_steps_answer_where_proxies_nearly_coincide():
    """N = 20,000: the plain float32 loop loses digits here, the library does not."""
    images, text, labels, _ = made(n=20_000, d=16, dtype=torch.float32)
    fit = fit_proxies(images, text, labels)
    solved = ridge_proxies(images.double(), labels.double())
    agree = fit.scores(images).argmax(dim=1) == solved.scores(images.double()).argmax(dim=1)
    assert agree.double().mean() >= 0.999
    assert cosine_of_deviations(fit.weights, solved.weights) >= 0.999


def test_a_converged_plan_is_reported_with_its_figures_and_the_cure():
    images, text, _, _ = made()
    plan = sinkhorn(images @ text.T, iterations=5000, tolerance=1e-9).pseudo_labels
    with pytest.warns(UserWarning, match=r"column mass C c/N = 1 .*divide a plan whose rows sum to 1 by N"):
        ridge_proxies(images, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ridge_proxies(images, plan / len(plan))
        ridge_proxies(images, plan, intercept=True)


def test_too_few_images_and_large_leverage_are_reported():
    images, _, labels, _ = made(n=4)
    with pytest.warns(UserWarning, match=r"N ‖u‖ = .*leverage 0\.[6-9].*use more images, or fit_proxies"):
        ridge_proxies(images, labels / 4)


@pytest.mark.parametrize(("n", "d"), ((90, 24), (20, 64)))
def test_leverage_is_the_largest_diagonal_of_the_hat_matrix(n, d):
    images, _, _, _ = made(n, d)
    u = images.mean(dim=0)
    x = images - torch.outer(images @ u, u) / u.norm() ** 2
    hat = x @ torch.linalg.solve(x.T @ x / n + 0.04 * u.norm() * torch.eye(d, dtype=x.dtype), x.T) / n
    system = ridge_system(images, 0.04)
    assert system.leverage() == pytest.approx(float(hat.diagonal().max()), rel=1e-9)
    assert system.leverage(enough=1e9) >= system.leverage()


def test_a_class_without_mass_needs_no_mean_only_without_intercept():
    images, _, labels, _ = made()
    labels = labels.clone()
    labels[:, 1] = 0
    with pytest.raises(InputError, match="class 1 has no mass"):
        ridge_proxies(images, labels, intercept=True)
    assert torch.isfinite(ridge_proxies(images, labels).scores(images)).all()


def test_centred_images_have_no_axis():
    images = torch.cat([torch.eye(4), -torch.eye(4)])
    with pytest.raises(InputError, match="mean zero"):
        ridge_proxies(images, torch.full((8, 2), 0.06))


def test_temperature_balances_the_mean_score():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 4, generator=generator, dtype=torch.float64)
    labels = (2.5 * scores + 0.5 * torch.randn(200, 4, generator=generator, dtype=torch.float64)).softmax(
        dim=1
    )
    t = softmax_temperature(scores, labels)
    fitted = (scores / t).softmax(dim=1)
    assert float((fitted * scores).sum()) == pytest.approx(float((labels * scores).sum()), rel=1e-6)
    assert softmax_temperature(7 * scores, 3 * labels) == pytest.approx(7 * t, rel=1e-6)

    def cross_entropy(s):
        return -float((labels * (scores / s).log_softmax(dim=1)).sum())

    assert cross_entropy(t) < min(cross_entropy(0.9 * t), cross_entropy(1.1 * t))


def test_temperature_has_an_answer_where_scores_say_nothing_or_the_opposite():
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert softmax_temperature(torch.zeros(2, 2), scores) == 1.0
    assert softmax_temperature(scores, 1 - scores) == pytest.approx(50)  # the softest that is allowed
    assert softmax_temperature(scores, scores) < 0.05


def test_probabilities_of_released_proxies_are_as_confident_as_the_text():
    images, text, labels, _ = made(n=300)
    released = fit_proxies(images, text, labels)
    own = (images @ released.weights.T / 0.04).softmax(dim=1).max(dim=1).values.mean()
    confidence = released.probabilities(images).max(dim=1).values.mean()
    assert own < 0.34 and confidence > 0.5


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_half_precision_means_the_same_vectors(dtype):
    images, text, labels, _ = made(dtype=torch.float32)
    half = images.to(dtype)
    for f in (lambda x: fit_proxies(x, text, labels), lambda x: ridge_proxies(x, labels)):
        from_half, from_single = f(half), f(half.float())
        assert from_half.weights.dtype == torch.float32
        torch.testing.assert_close(from_half.weights, from_single.weights, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(
            from_half.scores(half), from_single.scores(half.float()), atol=1e-4, rtol=1e-3
        )


def test_float64_stays_float64():
    images, text, labels, _ = made()
    assert fit_proxies(images, text, labels).weights.dtype == torch.float64
    assert ridge_proxies(images, labels).scores(images).dtype == torch.float64
