"""The compiled gradient of a step against the same in float64."""

import pytest
import torch

from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.solvers import gradient, one_pass
from kpl_lib.solvers.gradient import _gradient
from kpl_lib.solvers.one_pass import FEW, GAP, ROWS, WIDE, widened

SHAPES = [(4, 5, 2, 1), (ROWS, 64, 4, 1), (ROWS + 1, 65, 5, 1), (ROWS + 3, 30, 33, 1), (ROWS + 4, 100, 7, 3)]


def scene(n, d, c, b, size):
    generator = torch.Generator().manual_seed(n + d)
    images = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    differences = size * torch.randn(b, c, d, generator=generator)
    labels = torch.rand(b, c, n, generator=generator)
    return images, differences, labels - labels.mean(dim=1, keepdim=True)


def exact(images, differences, labels):
    x = images.double()
    p = (differences.double() @ x.T).softmax(dim=1)
    return ((p - 1 / p.shape[1] - labels.double()) @ x).flatten(0, 1)


def steps(images, labels, kind=one_pass.CompiledSteps, tau=1.0, sums=ALONE):
    numbers = torch.full((len(labels), 1, 1), tau, dtype=torch.float64)
    mean = 0.1 * images.double().mean(dim=0).expand(len(labels), 1, -1).contiguous()
    if kind is one_pass.CompiledSteps:
        images = widened(images, GAP)
    return kind(images, labels, mean, numbers, len(images) * numbers, sums)


def passed(images, differences, labels):
    """The gradient of every class; the one that is implied is what the others lack to 0."""
    b, c, d = differences.shape
    found = torch.from_numpy(steps(images, labels).gradient(differences.double().numpy())).view(
        b, -1, d + -d % WIDE
    )
    assert not found[:, :, d:].any() and found.shape[1] == (c - 1 if 1 < c <= FEW else c)
    found = found[:, :, :d]
    return torch.cat([found, -found.sum(dim=1, keepdim=True)], dim=1)[:, :c].flatten(0, 1)


@pytest.mark.parametrize("size", (1e-6, 0.1, 5, 400))
@pytest.mark.parametrize(
    "shape", [*SHAPES, (5, 3, 1, 2), (3 * ROWS + 2, 192, 2, 2), (90, 70, FEW, 2), (90, 70, FEW + 1, 2)]
)
def test_any_shape_and_any_steepness(shape, size):
    images, differences, labels = scene(*shape, size)
    found = passed(images, differences, labels)
    expected = exact(images, differences, labels)
    error = 1e-6 if size < 400 else 1e-4  # logits of 400 are rounded by 3e-5
    assert (found - expected).norm() <= error * expected.norm()


def test_logits_that_nearly_coincide_keep_their_digits():
    images, differences, labels = scene(200, 64, 5, 1, 1e-6)
    found = passed(images, differences, 0 * labels)
    torch.testing.assert_close(found, exact(images, differences, 0 * labels), atol=1e-13, rtol=1e-5)


def test_they_keep_them_too_where_many_classes_take_plain_products():
    images, differences, labels = scene(200, 64, 300, 1, 1e-6)
    found = _gradient(images, differences.flatten(0, 1), 0 * labels)
    expected = exact(images, differences, 0 * labels)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.fixture
def three_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(one_pass, "THREAD", 1)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_threads_share_the_rows(three_threads):
    given = scene(1000, 64, 6, 1, 3)
    found = [passed(*given) for _ in range(3)]
    assert steps(given[0], given[2]).threads == 3
    torch.set_num_threads(1)
    one = passed(*given)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert (found[0] - one).norm() <= 1e-6 * one.norm()


@pytest.mark.parametrize("n", (4, 5, 7, 9, 11, 13))
def test_no_thread_gets_fewer_rows_than_a_product_takes(three_threads, n):
    given = scene(n, 8192, 256, 1, 3)
    found, expected = passed(*given), exact(*given)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def start(b, c, d):
    weights = torch.nn.functional.normalize(
        torch.randn(b, c, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64), dim=2
    )
    ones = torch.ones(b, 1, 1, dtype=torch.float64)
    return weights, 5.0 * ones, torch.inf * ones


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_in_one_call_are_those_one_by_one_and_near_the_plain_ones(shape):
    (_, d, c, b), several = shape, 12
    images, _, labels = scene(*shape, 1)
    compiled, plain = (
        steps(images, labels, tau=0.1),
        steps(images.double(), labels.double(), gradient.Steps, 0.1),
    )
    given = start(b, c, d)
    ends = compiled.run(*given, several)
    by_one = given
    for _ in range(several):
        weights, previous, slope, rate, last = compiled.run(*by_one, 1)
        by_one = weights, rate, last
    for one, other in zip(ends, (weights, previous, slope, rate, last), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(given[0], start(b, c, d)[0])
    few, truth = compiled.run(*given, 2), plain.run(*given, 2)
    for one, other in zip(few, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_a_group_of_processes_adds_its_gradients_up():
    class Twice(Sums):
        def total(self, part):
            return 2 * part

    images, _, labels = scene(200, 30, 5, 1, 1)
    given, group = start(1, 5, 30), Twice()
    found = steps(images, labels, sums=group).run(*given, 3)
    expected = steps(images.double(), labels.double(), gradient.Steps, sums=group).run(*given, 3)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-6)


def test_the_rate_is_halved_where_the_gradient_grew():
    images, _, labels = scene(100, 30, 5, 2, 1)
    weights, rate, never = start(2, 5, 30)
    last = torch.stack([never[0], 0 * never[0].nan_to_num()])
    found = steps(images, labels).run(weights, rate, last, 1)[3]
    assert found.flatten().tolist() == [5.0, 2.5]


def test_a_group_of_one_takes_the_same_steps_to_the_bit():
    class One(Sums):
        pass

    images, _, labels = scene(300, 24, 5, 1, 1)
    alone, group = (
        steps(images, labels, tau=0.1, sums=sums).run(*start(1, 5, 24), 20) for sums in (ALONE, One())
    )
    assert all(torch.equal(one, other) for one, other in zip(alone, group, strict=True))
