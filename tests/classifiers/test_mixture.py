"""The mixture behind kpl-adaptive: against plain loops, its objective, and its support."""

import math
from itertools import pairwise

import pytest
import torch

from kpl_lib.classifiers.mixture import FLOOR, fit_mixture, text_evidence


def blobs(distance, n=400, c=3, d=4, seed=0):
    """Images of C Gaussian classes `distance` standard deviations apart, and how sure a text is of each."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % c
    f = torch.randn(n, d, generator=g, dtype=torch.float64)
    f[torch.arange(n), labels] += distance
    evidence = torch.nn.functional.one_hot(labels, c) + torch.randn(n, c, generator=g, dtype=torch.float64)
    return f, evidence, labels


def whitened(f):
    f = f - f.mean(dim=0)
    values, vectors = torch.linalg.eigh(f.T @ f / len(f))
    return f @ vectors / values.sqrt()


def one_step(f, evidence, z, strength):
    """Both steps with loops over the classes; and the objective at the new parameters."""
    n, c = z.shape
    means = [sum(z[i, j] * f[i] for i in range(n)) / z[:, j].sum() for j in range(c)]
    within = sum(z[i, j] * torch.outer(f[i] - means[j], f[i] - means[j]) for i in range(n) for j in range(c))
    within = within / n + FLOOR * torch.eye(f.shape[1], dtype=f.dtype)
    normal = [torch.distributions.MultivariateNormal(mean, within).log_prob(f) for mean in means]
    shares = (z.sum(dim=0) + 1) / (n + c)
    joint = torch.stack(normal, dim=1) + shares.log() + strength * evidence
    penalty = 0.5 * n * FLOOR * torch.linalg.inv(within).trace()
    return joint.softmax(dim=1), float(joint.logsumexp(dim=1).sum() + shares.log().sum() - penalty)


def test_evidence_is_bayes_rule():
    logits = torch.tensor([[0.31, 0.12], [0.28, 0.20], [0.22, 0.27]], dtype=torch.float64)
    evidence, log_mass = text_evidence(logits, 0.05)
    p = (logits / 0.05).softmax(dim=1)
    assert torch.allclose(evidence.exp(), p / p.mean(dim=0))
    assert torch.allclose(log_mass.exp(), p.mean(dim=0))


def test_iterations_equal_plain_loops():
    f, evidence, _ = blobs(2.0, n=60)
    z = evidence.softmax(dim=1)
    found = fit_mixture(f, evidence, z, strength=0.7, iterations=3)
    for _ in range(3):
        z, _ = one_step(whitened(f), evidence, z, 0.7)
    assert torch.allclose(found.responsibilities, z, atol=1e-9)


def test_the_objective_never_falls():
    f, evidence, _ = blobs(1.0, n=60)
    z, values = evidence.softmax(dim=1), []
    for _ in range(15):
        z, value = one_step(whitened(f), evidence, z, 1.0)
        values.append(value)
    assert all(b >= a - 1e-9 for a, b in pairwise(values))
    assert values[-1] > values[0] + 1e-3


def test_scores_are_log_densities_up_to_a_shared_term():
    f, evidence, _ = blobs(2.0)
    found = fit_mixture(f, evidence, evidence.softmax(dim=1), iterations=10)
    scores = f @ found.weights.T + found.offsets
    again = (scores + found.log_shares + evidence).softmax(dim=1)
    assert torch.allclose(again, found.responsibilities, atol=1e-9)


@pytest.mark.parametrize(("distance", "supported"), [(0.0, False), (0.5, False), (6.0, True)])
def test_support_tells_classes_from_one_cloud(distance, supported):
    f, evidence, labels = blobs(distance)
    found = fit_mixture(f, evidence, evidence.softmax(dim=1))
    assert (found.support > 0) is supported
    if supported:
        assert (found.responsibilities.argmax(dim=1) == labels).double().mean() > 0.99


def test_support_is_the_icl_of_plain_densities():
    f, evidence, _ = blobs(3.0, n=200)
    found = fit_mixture(f, evidence, evidence.softmax(dim=1), iterations=400)
    w, z = whitened(f), found.responsibilities
    n, c = z.shape
    means = z.T @ w / z.sum(dim=0)[:, None]
    within = sum((z[:, j, None] * (w - means[j])).T @ (w - means[j]) for j in range(c)) / n
    within = within + FLOOR * torch.eye(w.shape[1], dtype=w.dtype)
    joint = (
        torch.stack(
            [torch.distributions.MultivariateNormal(mean, within).log_prob(w) for mean in means], dim=1
        )
        + ((z.sum(dim=0) + 1) / (n + c)).log()
    )
    one = torch.distributions.MultivariateNormal(
        torch.zeros(w.shape[1]).double(), torch.eye(w.shape[1]).double()
    )
    entropy = torch.distributions.Categorical(logits=joint).entropy()
    expected = (joint.logsumexp(dim=1) - one.log_prob(w) - entropy).mean()
    penalty = 0.5 * (c - 1) * (w.shape[1] + 1) * math.log(n) / n
    assert found.support == pytest.approx(float(expected) - penalty, abs=1e-6)


def test_scale_and_rotation_of_the_features_change_nothing():
    f, evidence, _ = blobs(2.0)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double()).Q
    first = fit_mixture(f, evidence, evidence.softmax(dim=1))
    second = fit_mixture(100 * f @ turn + 7, evidence, evidence.softmax(dim=1))
    assert torch.allclose(first.responsibilities, second.responsibilities, atol=1e-7)
    assert second.support == pytest.approx(first.support, abs=1e-7)


def test_directions_without_variance_are_left_out():
    f, evidence, _ = blobs(2.0)
    doubled = torch.cat([f, f[:, :2], torch.ones(len(f), 1).double()], dim=1)
    first = fit_mixture(f, evidence, evidence.softmax(dim=1))
    second = fit_mixture(doubled, evidence, evidence.softmax(dim=1))
    assert torch.allclose(first.responsibilities, second.responsibilities, atol=1e-6)


def test_a_given_prior_stays():
    f, evidence, _ = blobs(2.0)
    prior = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert torch.allclose(
        fit_mixture(f, evidence, evidence.softmax(dim=1), prior=prior).log_shares.exp(), prior
    )


def test_shares_are_found():
    f, evidence, labels = blobs(6.0, n=900)
    kept = (labels != 2) | (torch.arange(900) % 5 == 0)
    found = fit_mixture(f[kept], evidence[kept], evidence[kept].softmax(dim=1))
    true = torch.bincount(labels[kept]).double() / kept.sum()
    assert torch.allclose(found.log_shares.exp(), true, atol=0.02)
