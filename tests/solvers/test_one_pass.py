"""The compiled gradient of a step against the same in float64."""

import pytest
import torch

from kpl_lib.solvers.gradient import _gradient
from kpl_lib.solvers.one_pass import ROWS, in_one_pass, widened

SHAPES = [(4, 5, 2, 1), (ROWS, 64, 4, 1), (ROWS + 1, 65, 5, 1), (ROWS + 3, 30, 33, 1), (ROWS + 4, 100, 7, 3)]


def scene(n, d, c, b, size):
    generator = torch.Generator().manual_seed(n + d)
    images = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    differences = size * torch.randn(b, c, d, generator=generator)
    return images, differences, torch.rand(b, c, n, generator=generator)


def exact(images, differences, labels):
    x = images.double()
    p = (differences.double() @ x.T).softmax(dim=1)
    return ((p - 1 / p.shape[1] - labels.double()) @ x).flatten(0, 1)


@pytest.mark.parametrize("size", (1e-6, 0.1, 5, 400))
@pytest.mark.parametrize("shape", [*SHAPES, (5, 3, 1, 2), (3 * ROWS + 2, 192, 2, 2)])
def test_any_shape_and_any_steepness(shape, size):
    images, differences, labels = scene(*shape, size)
    found = in_one_pass(widened(images), differences.flatten(0, 1), labels)
    expected = exact(images, differences, labels)
    error = 1e-6 if size < 400 else 1e-4  # logits of 400 are rounded by 3e-5
    assert (found - expected).norm() <= error * expected.norm()


def test_logits_that_nearly_coincide_keep_their_digits():
    images, differences, labels = scene(200, 64, 5, 1, 1e-6)
    found = in_one_pass(widened(images), differences.flatten(0, 1), 0 * labels)
    torch.testing.assert_close(found, exact(images, differences, 0 * labels), atol=1e-13, rtol=1e-5)


def test_they_keep_them_too_where_many_classes_take_plain_products():
    images, differences, labels = scene(200, 64, 300, 1, 1e-6)
    found = _gradient(images, differences.flatten(0, 1), 0 * labels)
    expected = exact(images, differences, 0 * labels)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_threads_share_the_rows(monkeypatch):
    images, differences, labels = scene(1000, 64, 6, 1, 3)
    given = widened(images), differences.flatten(0, 1), labels
    one, before = in_one_pass(*given), torch.get_num_threads()
    monkeypatch.setattr("kpl_lib.solvers.one_pass.THREAD", 1)
    try:
        torch.set_num_threads(3)
        found = [in_one_pass(*given) for _ in range(3)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert (found[0] - one).norm() <= 1e-6 * one.norm()
