"""Loops that the host does not watch on another device end where those end that it watches at each step."""

import pytest
import torch
from core_world import world
from pretended_device import DEVICE, pretended

from kpl_lib.solvers.looks import LOOK
from kpl_lib.solvers.temperature import softmax_temperature
from kpl_lib.transport import greenkhorn, sinkhorn

pytestmark = pytest.mark.filterwarnings("ignore:.*missed the tolerance")
IMAGES, TEXTS, _ = world(n=80, d=12, c=5, m=1)
LOGITS = IMAGES @ TEXTS[:, 0].T
PRIOR = [0.6, 0.2, 0.1, 0.07, 0.03]


@pytest.fixture(autouse=True)
def reads():
    with pretended() as found:
        yield found


@pytest.mark.parametrize(
    "temperature", (0.1, 0.01, 0.0005)
)  # at the last, scalings go back to the logarithms
@pytest.mark.parametrize("rule", ({}, {"tolerance": 1e-3}, {"tolerance": 1e-9}))
@pytest.mark.parametrize("iterations", (1, LOOK, LOOK + 1, 400))
def test_sweeps_stop_where_they_stop_on_the_cpu(reads, temperature, rule, iterations):
    rule = {**rule, "temperature": temperature, "iterations": iterations, "prior": PRIOR}
    expected, logits = sinkhorn(LOGITS, **rule), LOGITS.to(DEVICE)
    reads.clear()
    found = sinkhorn(logits, **rule)
    watched = reads["solvers.scaling._sweeps_elsewhere"]
    assert (found.iterations, found.converged) == (expected.iterations, expected.converged)
    assert torch.equal(found.pseudo_labels.cpu(), expected.pseudo_labels)
    assert found.column_error == expected.column_error
    assert watched <= found.iterations / LOOK + 1 or temperature == 0.0005


@pytest.mark.parametrize("updates", (1, 20, 60))
def test_greedy_updates_do_not_wait_for_the_host(reads, updates):
    rule = {"start": "released", "iterations": updates, "temperature": 0.05, "prior": PRIOR}
    expected, logits = greenkhorn(LOGITS, **rule), LOGITS.to(DEVICE)
    reads.clear()
    found = greenkhorn(logits, **rule).pseudo_labels
    assert reads.total() == 3
    assert torch.equal(found.cpu(), expected.pseudo_labels)


@pytest.mark.parametrize("scale", (0.0, 0.01, 1.0, 100.0))
@pytest.mark.parametrize("sharp", (0.0, 3.0, 1000.0))
def test_the_temperature_of_proxies_is_found_in_one_read(reads, scale, sharp):
    scores, labels = (scale * LOGITS).to(DEVICE), (sharp * LOGITS).softmax(dim=1)
    expected = softmax_temperature(scale * LOGITS, labels)
    labels = labels.to(DEVICE)
    reads.clear()
    assert softmax_temperature(scores, labels) == pytest.approx(expected, rel=1e-9)
    assert reads.total() <= 3
