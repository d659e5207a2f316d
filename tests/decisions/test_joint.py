"""The joint step against its loop, written plainly; and that it reads no label and treats rows alike."""

import math

import pytest
import torch
import torch.nn.functional as F
from guesses import guess

from kpl_lib.common.errors import InputError
from kpl_lib.decisions import joint_step
from kpl_lib.prediction import Prediction


@pytest.mark.parametrize("prior", [None, [0.5, 0.3, 0.2]])
def test_it_is_the_published_loop_on_logits(prior):
    """Rows, then three times columns and rows, of exp(100 x·t / 0.8): the softmax of the logits changes nothing."""
    torch.manual_seed(0)
    images, text = (F.normalize(torch.randn(n, 8, dtype=torch.float64), dim=1) for n in (40, 3))
    logits = 100 * images @ text.T
    q = torch.tensor(prior or [1 / 3] * 3, dtype=torch.float64)
    plan = (logits / 0.8 - logits.max() / 0.8).exp()
    plan /= plan.sum(dim=1, keepdim=True)
    for _ in range(3):
        plan *= 40 * q / plan.sum(dim=0)
        plan /= plan.sum(dim=1, keepdim=True)
    p = logits.softmax(dim=1)
    found = joint_step(Prediction(p, logits, logits.argmax(1), ("a", "b", "c")), prior=prior)
    torch.testing.assert_close(found.probabilities, plan, atol=1e-9, rtol=1e-9)
    assert torch.equal(found.labels, plan.argmax(dim=1)) and found.class_names == ("a", "b", "c")


def test_rows_are_treated_alike():
    """In another order they get the same probabilities: what coverage rests on."""
    prediction, _ = guess(50, 4, seed=0)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    parts = (x[order] for x in (prediction.probabilities, prediction.scores, prediction.labels))
    found, again = joint_step(prediction), joint_step(Prediction(*parts))
    torch.testing.assert_close(again.probabilities, found.probabilities[order], atol=1e-12, rtol=0)


def test_a_probability_of_zero_stays_near_zero():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.4, 0.0], [0.3, 0.2, 0.5], [0.2, 0.5, 0.3]])
    found = joint_step(Prediction(p, p, p.argmax(1))).probabilities
    assert torch.isfinite(found).all() and float(found[0, 1:].max()) < 1e-100
    assert found.sum(dim=1).tolist() == pytest.approx([1] * 4)


def test_what_cannot_be_is_one_line():
    prediction, _ = guess(30, 3, seed=0)
    with pytest.raises(InputError, match="temperature must be a number above 0"):
        joint_step(prediction, temperature=0)
    with pytest.raises(InputError, match="prior"):
        joint_step(prediction, prior=[0.5, 0.5])
    nothing = torch.full((3, 2), math.nan)
    with pytest.raises(InputError, match="NaN"):
        joint_step(Prediction(nothing, nothing, nothing.argmax(1)))
