"""Sinkhorn and Greenkhorn: against POT, against each other, at their limits, and their reports."""

import math

import numpy as np
import ot
import pytest
import torch
from core_world import world
from scipy.optimize import linear_sum_assignment

from kpl_lib.common.errors import InputError
from kpl_lib.solvers import scaling
from kpl_lib.transport import greenkhorn, sinkhorn

PRIOR = [0.5, 0.3, 0.2]


def logits_of(n=90, d=24, c=3, seed=0, dtype=torch.float64):
    images, texts, _ = world(n, d, c, 1, seed, dtype=dtype)
    return images @ texts[:, 0].T


@pytest.mark.parametrize("prior", (None, PRIOR))
@pytest.mark.parametrize("seed", (0, 1))
def test_sinkhorn_equals_pot(seed, prior):
    logits = logits_of(seed=seed)
    ours = sinkhorn(logits, temperature=0.05, prior=prior, iterations=10_000, tolerance=1e-13)
    q = np.full(3, 1 / 3) if prior is None else np.array(prior)
    rows = np.full(90, 1 / 90)
    options = {"stopThr": 1e-12, "numItermax": 10_000}
    theirs = ot.bregman.sinkhorn_log(rows, q, -logits.numpy(), 0.05, **options)
    assert np.abs(ours.pseudo_labels.numpy() - 90 * theirs).max() <= 1e-6


@pytest.mark.parametrize("prior", (None, PRIOR))
def test_greenkhorn_equals_pot(prior):
    logits = logits_of(n=40)
    ours = greenkhorn(logits, temperature=0.05, prior=prior, tolerance=1e-12)
    q = np.full(3, 1 / 3) if prior is None else np.array(prior)
    rows = np.full(40, 1 / 40)
    options = {"stopThr": 1e-12, "numItermax": 100_000}
    theirs = ot.bregman.greenkhorn(rows, q, -logits.numpy(), 0.05, **options)
    assert ours.converged
    assert np.abs(ours.pseudo_labels.numpy() - 40 * theirs).max() <= 1e-6


@pytest.mark.parametrize("prior", (None, PRIOR))
@pytest.mark.parametrize("temperature", (0.1, 0.03, 0.01))
def test_greenkhorn_ends_at_sinkhorns_fixed_point(temperature, prior):
    logits = logits_of()
    swept = sinkhorn(logits, temperature=temperature, prior=prior, iterations=50_000, tolerance=1e-11)
    greedily = greenkhorn(logits, temperature=temperature, prior=prior)
    assert swept.converged and greedily.converged and greedily.row_error + greedily.column_error <= 2e-9
    assert (swept.pseudo_labels - greedily.pseudo_labels).abs().max() <= 1e-5


def test_small_temperature_is_linear_assignment():
    costs = torch.rand(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, columns = linear_sum_assignment(costs.numpy(), maximize=True)
    for plan in (
        sinkhorn(costs, temperature=2e-3, iterations=20_000, tolerance=1e-3),
        greenkhorn(costs, temperature=2e-3, tolerance=1e-3),
    ):
        assert torch.equal(plan.pseudo_labels.argmax(dim=1), torch.from_numpy(columns))
        assert plan.pseudo_labels[rows, columns].min() > 0.9


def sweeps_in_logarithms(logits, temperature, iterations, prior=None):
    """Sinkhorn by its definition, from the row softmax."""
    n, c = logits.shape
    q = torch.full((c,), 1 / c, dtype=torch.float64) if prior is None else torch.tensor(prior).double()
    log = (logits / temperature).log_softmax(dim=1)
    for _ in range(iterations):
        log = log - log.logsumexp(dim=0) + q.log()
        log = log - log.logsumexp(dim=1, keepdim=True) - math.log(n)
    return n * log.exp()


@pytest.mark.parametrize("prior", (None, PRIOR))
@pytest.mark.parametrize("iterations", (1, 2, 20))
def test_sweeps_equal_their_definition(iterations, prior):
    logits = logits_of()
    plan = sinkhorn(logits, prior=prior, iterations=iterations)
    expected = sweeps_in_logarithms(logits, 0.01, iterations, prior)
    torch.testing.assert_close(plan.pseudo_labels, expected, atol=1e-6, rtol=1e-6)
    assert plan.iterations == iterations and not plan.converged
    assert sinkhorn(logits).iterations == 20


@pytest.mark.parametrize(("n", "c", "temperature"), ((30, 3, 1e-3), (40, 4, 1e-4)))
def test_scalings_that_leave_plain_numbers_stay_exact(n, c, temperature):
    """exp(L/τ) spans thousands of powers of ten, and the scalings drift through them: sweeps must take logarithms."""
    generator = torch.Generator().manual_seed(2)
    logits = torch.rand(n, c, generator=generator, dtype=torch.float64)
    plan = sinkhorn(logits, temperature=temperature, iterations=3000)
    expected = sweeps_in_logarithms(logits, temperature, 3000)
    torch.testing.assert_close(plan.pseudo_labels, expected, atol=1e-9, rtol=1e-6)


def greedy_state(logits, temperature=0.05):
    """Arrays as the compiled updates take them: z, f, g, plan `[C, N]`, rows, columns."""
    n, c = logits.shape
    z = np.ascontiguousarray((logits / temperature).T.numpy())
    f = -(logits / temperature).logsumexp(dim=1).numpy() - math.log(n)
    g = np.zeros(c)
    plan = np.exp(z + f + g[:, None])
    return z, f, g, plan, plan.sum(axis=0), plan.sum(axis=1)


@pytest.mark.parametrize("updates", (1, 2, 7, 40))
def test_greedy_marginals_kept_by_differences_are_those_of_the_plan(updates):
    z, f, g, plan, rows, columns = state = greedy_state(logits_of(n=12))
    done = scaling._greedy(*state, 1 / 12, np.full(3, 1 / 3), 1e-15, updates)
    assert done == updates
    np.testing.assert_allclose(plan, np.exp(z + f + g[:, None]), rtol=1e-12)
    np.testing.assert_allclose(rows, plan.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(columns, plan.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("by_row", (True, False))
def test_greedy_updates_revive_what_died_out(by_row):
    """A row or column of zeros, too small for a number, is rebuilt from its potentials."""
    z, f, g, *_ = greedy_state(logits_of(n=12))
    if by_row:
        f[4] -= 2000
    else:
        g[1] -= 2000
    plan = np.exp(z + f + g[:, None])
    state = (z, f, g, plan, plan.sum(axis=0), plan.sum(axis=1))
    q = np.array([1e-9, 0.99, 1e-9]) if not by_row else plan.sum(axis=1)
    assert scaling._greedy(*state, 1 / 12, q, 1e-15, 1) == 1
    if by_row:
        assert plan[:, 4].sum() == pytest.approx(1 / 12) and state[4][4] == 1 / 12
    else:
        assert plan[1].sum() == pytest.approx(0.99) and state[5][1] == 0.99
    np.testing.assert_allclose(plan, np.exp(z + f + g[:, None]), rtol=1e-9)
    np.testing.assert_allclose(state[4], plan.sum(axis=0), rtol=1e-9)


def test_errors_are_those_of_a_plan_of_mass_one():
    plan = sinkhorn(logits_of(), iterations=3)
    mass = plan.pseudo_labels.sum(dim=0) / 90
    assert plan.column_error == pytest.approx(float((mass - 1 / 3).abs().sum()), rel=1e-9)
    assert plan.row_error <= 1e-12 and plan.column_error > 1e-4
    raw = greenkhorn(logits_of(), start="released")
    rows = (raw.pseudo_labels.sum(dim=1) - 1 / 90).abs().sum()
    assert raw.row_error == pytest.approx(float(rows), rel=1e-9) and raw.row_error > 0.01


def test_a_missed_tolerance_warns_and_a_met_one_does_not():
    with pytest.warns(UserWarning, match="sinkhorn missed the tolerance 1e-12 in 2 iterations"):
        assert not sinkhorn(logits_of(), iterations=2, tolerance=1e-12).converged
    with pytest.warns(UserWarning, match="greenkhorn missed the tolerance 1e-09 in 5 iterations"):
        assert not greenkhorn(logits_of(), iterations=5).converged
    met = sinkhorn(logits_of(), iterations=5000, tolerance=1e-6)
    assert met.converged and met.iterations < 5000 and met.column_error <= 1e-6


def test_rows_sum_to_one_and_columns_to_the_prior():
    plan = sinkhorn(logits_of(), prior=torch.tensor(PRIOR), iterations=5000, tolerance=1e-10)
    torch.testing.assert_close(plan.pseudo_labels.sum(dim=1), torch.ones(90, dtype=torch.float64))
    expected = 90 * torch.tensor(PRIOR, dtype=torch.float64)
    torch.testing.assert_close(plan.pseudo_labels.sum(dim=0), expected, atol=1e-6, rtol=0)
    with pytest.warns(UserWarning):
        short = greenkhorn(logits_of(), iterations=7)
    torch.testing.assert_close(short.pseudo_labels.sum(dim=1), torch.ones(90, dtype=torch.float64))


def test_released_counts_single_updates():
    """One update from the row softmax touches one column: the heaviest."""
    logits = logits_of(n=60)
    softmax = (logits / 0.01).softmax(dim=1)
    once = greenkhorn(logits, start="released", iterations=1)
    heaviest = (softmax.sum(dim=0) - 1 / 3).abs().argmax()
    expected = softmax.clone()
    expected[:, heaviest] /= 3 * softmax[:, heaviest].sum()
    torch.testing.assert_close(once.pseudo_labels, expected)
    assert once.iterations == 1 and not once.converged


def test_released_leaves_columns_beyond_twenty_untouched():
    logits = logits_of(n=1500, c=30, d=40)
    plan = greenkhorn(logits, start="released").pseudo_labels
    softmax = (logits / 0.01).softmax(dim=1)
    untouched = torch.isclose(plan.sum(dim=0), softmax.sum(dim=0)).sum()
    assert untouched == 10


@pytest.mark.parametrize("start", ("plan", "released"))
def test_inputs_are_left_alone_and_need_not_be_contiguous(start):
    logits = logits_of()
    copy, strided = logits.clone(), logits.T.contiguous().T
    plan = greenkhorn(logits, start=start)
    assert torch.equal(logits, copy)
    torch.testing.assert_close(greenkhorn(strided, start=start).pseudo_labels, plan.pseudo_labels)


def test_a_temperature_beyond_numbers_is_an_input_error():
    for start in ("plan", "released"):
        with pytest.raises(InputError, match="temperature 1e-310 is too small"):
            greenkhorn(logits_of(), temperature=1e-310, start=start)
    with pytest.raises(InputError, match="start must be 'plan' or 'released'"):
        greenkhorn(logits_of(), start="sideways")
