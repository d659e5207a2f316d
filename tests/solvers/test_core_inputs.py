"""Bad input to the method core: one line that names the argument, its shape and the cure."""

import math

import pytest
import torch
import torch.nn.functional as F
from core_world import DoubleBank, world

from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

IMAGES, TEXTS, _ = world(n=30, d=8, m=4, dtype=torch.float32)
PROXIES = TEXTS[:, 0]
LABELS = (IMAGES @ PROXIES.T / 0.1).softmax(dim=1)
LOGITS = IMAGES @ PROXIES.T
BANK = DoubleBank(TEXTS)


def spoiled(rows, value, at=(2, 1)):
    rows = rows.clone()
    rows[at] = value
    return rows


def zero_row(rows):
    return rows * (torch.arange(len(rows)) != 3)[:, None]


BAD_IMAGES = [
    (spoiled(IMAGES, math.nan), r"images \[30, 8\] holds NaN or Inf in 1 rows, first in row 2"),
    (spoiled(IMAGES, math.inf), r"images \[30, 8\] holds NaN or Inf"),
    (zero_row(IMAGES), r"images \[30, 8\] must have unit rows.*row 3: all zeros.*normalize"),
    (2 * IMAGES, r"images \[30, 8\] must have unit rows, 30 have not \(row 0: length 2\)"),
    (IMAGES[:1], r"images \[1, 8\]: 1 image is too few"),
    (IMAGES[0], r"images must be a matrix \[N, D\].*its shape is \[8\]"),
    (IMAGES[:0], r"images must be a matrix .* its shape is \[0, 8\]"),
    (torch.ones(30, 8, dtype=torch.int64), r"images \[30, 8\] holds torch.int64: convert it with .float\(\)"),
    (IMAGES.to(torch.complex64), r"images \[30, 8\] holds torch.complex64"),
    (IMAGES.numpy(), r"images must be a torch tensor \[N, D\], not ndarray: use torch.as_tensor"),
    (F.normalize(torch.ones(30, 9), dim=1), r"differ in D"),
]
BAD_PROXIES = [
    (spoiled(PROXIES, math.nan), r"initial \[3, 8\] holds NaN or Inf"),
    (0.5 * PROXIES, r"initial \[3, 8\] must have unit rows"),
    (PROXIES[:1], r"initial \[1, 8\]: 1 class leaves nothing to tell apart"),
    (PROXIES[:2], r"pseudo_labels \[30, 3\] do not fit 2 proxies"),
    (F.normalize(torch.ones(3, 9), dim=1), r"initial \[3, 9\] and images \[30, 8\] differ in D"),
    (PROXIES.long(), r"initial \[3, 8\] holds torch.int64"),
]
BAD_LABELS = [
    (LABELS[:-1], r"pseudo_labels \[29, 3\] and images \[30, 8\] differ in N"),
    (LABELS[:, :1], r"pseudo_labels \[30, 1\]: 1 class"),
    (LABELS.argmax(dim=1), r"pseudo_labels must be a matrix \[N, C\].*its shape is \[30\]"),
    (
        F.one_hot(LABELS.argmax(dim=1)),
        r"pseudo_labels \[30, 3\] holds torch.int64: convert it with .float\(\)",
    ),
    (spoiled(LABELS, math.nan), r"pseudo_labels \[30, 3\] holds NaN"),
    (spoiled(LABELS, -0.1), r"pseudo_labels \[30, 3\] hold negative values"),
    (0 * LABELS, r"pseudo_labels \[30, 3\] are zero everywhere"),
]
BAD_PRIORS = [
    ([0.5, 0.3, 0.3], r"prior \[3\] must sum to 1, it sums to 1.1: divide it by its sum"),
    ([0.5, 0.5, 0.0], r"prior \[3\] must be positive for every class"),
    ([0.5, 0.6, -0.1], r"prior \[3\] must be positive"),
    ([0.5, 0.5], r"prior \[2\] must hold one number for each class: shape \[3\]"),
    ([0.5, 0.5, math.nan], r"prior \[3\] must be positive"),
    ("uniform", r"prior must hold one number for each of the 3 classes, not 'uniform'"),
]
BAD_LOGITS = [
    (spoiled(LOGITS, math.nan), r"logits \[30, 3\] holds NaN"),
    (LOGITS[:1], r"logits \[1, 3\]: 1 image is too few"),
    (LOGITS[:, :1], r"logits \[30, 1\]: 1 class leaves nothing to tell apart"),
    (LOGITS.long(), r"logits \[30, 3\] holds torch.int64"),
    (LOGITS[:, 0], r"logits must be a matrix \[N, C\]"),
]


def is_one_line(error):
    text = str(error.value)
    return "\n" not in text and len(text) < 200 and (":" in text or "must" in text)


@pytest.mark.parametrize(("images", "message"), BAD_IMAGES)
def test_bad_images(images, message):
    for call in (
        lambda: text_proxies(BANK, images, k=2),
        lambda: fit_proxies(images, PROXIES, LABELS),
        lambda: (
            ridge_proxies(images, LABELS)
            if "differ in D" not in message
            else fit_proxies(images, PROXIES, LABELS)
        ),
    ):
        with pytest.raises(InputError, match=message) as error:
            call()
        assert is_one_line(error)


@pytest.mark.parametrize(("initial", "message"), BAD_PROXIES)
def test_bad_proxies(initial, message):
    with pytest.raises(InputError, match=message) as error:
        fit_proxies(IMAGES, initial, LABELS)
    assert is_one_line(error)


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS)
def test_bad_pseudo_labels(labels, message):
    for call in (lambda: fit_proxies(IMAGES, PROXIES, labels), lambda: ridge_proxies(IMAGES, labels)):
        with pytest.raises(InputError, match=message) as error:
            call()
        assert is_one_line(error)


@pytest.mark.parametrize(("prior", "message"), BAD_PRIORS)
def test_bad_priors(prior, message):
    for call in (sinkhorn, greenkhorn, lambda x, prior: greenkhorn(x, prior=prior, start="released")):
        with pytest.raises(InputError, match=message) as error:
            call(LOGITS, prior=prior)
        assert is_one_line(error)


@pytest.mark.parametrize(("logits", "message"), BAD_LOGITS)
def test_bad_logits(logits, message):
    for call in (sinkhorn, greenkhorn, lambda x: greenkhorn(x, start="released")):
        with pytest.raises(InputError, match=message) as error:
            call(logits)
        assert is_one_line(error)


@pytest.mark.parametrize("value", (0, -1.0, math.nan, math.inf, "0.01", True, None))
def test_bad_temperatures(value):
    for call in (
        lambda: sinkhorn(LOGITS, temperature=value),
        lambda: greenkhorn(LOGITS, temperature=value),
        lambda: fit_proxies(IMAGES, PROXIES, LABELS, temperature=value),
        lambda: ridge_proxies(IMAGES, LABELS, temperature=value),
    ):
        with pytest.raises(InputError, match="temperature must be a number above 0, not"):
            call()


@pytest.mark.parametrize("value", (0, -3, 2.0, True, "8", None))
def test_bad_counts(value):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, not"):
        text_proxies(BANK, IMAGES, k=value)
    with pytest.raises(InputError, match="iterations must be a whole number"):
        sinkhorn(LOGITS, iterations=value)
    if value not in (0, None):
        with pytest.raises(InputError, match="steps must be a whole number of at least 0"):
            fit_proxies(IMAGES, PROXIES, LABELS, steps=value)


def test_a_class_without_descriptions_is_named():
    """A bank is checked when it is made, and no solver has to look again."""
    names = tuple(f"class {i}" for i in range(3))
    rows, first = [t.float() for t in TEXTS], torch.stack([t[0].float() for t in TEXTS])
    with pytest.raises(InputError, match=r"descriptions of 'class 1': there are none; give at least one"):
        TextBank(names, [rows[0], rows[1][:0], rows[2]], first)
    with pytest.raises(InputError, match=r"descriptions of 'class 0' \[4, 8\] holds NaN"):
        TextBank(names, [spoiled(rows[0], math.nan, (2, 1)), *rows[1:]], first)
    with pytest.raises(InputError, match=r"bank: 1 class leaves nothing to tell apart"):
        text_proxies(DoubleBank(TEXTS[:1]), IMAGES, k=2)


def test_new_images_are_checked_too():
    proxies = fit_proxies(IMAGES, PROXIES, LABELS, steps=2)
    with pytest.raises(InputError, match=r"weights \[3, 8\] and images \[4, 9\] differ in D"):
        proxies.scores(F.normalize(torch.ones(4, 9), dim=1))
    with pytest.raises(InputError, match="must have unit rows"):
        proxies.probabilities(3 * IMAGES)
    assert proxies.scores(IMAGES[:1]).shape == (1, 3)


def test_rows_a_little_off_unit_length_are_taken_as_they_are():
    """A float16 cache is off by 1e-3; that is no reason to refuse it."""
    off = IMAGES * 1.005
    assert torch.isfinite(fit_proxies(off, PROXIES, LABELS, steps=5).weights).all()
    with pytest.raises(InputError, match="must have unit rows"):
        fit_proxies(IMAGES * 1.02, PROXIES, LABELS, steps=5)


def test_tensors_on_two_devices_are_named():
    with pytest.raises(InputError, match=r"initial is on meta, images on cpu: move one with .to\(device\)"):
        from kpl_lib.common.checks import check_same_device

        check_same_device(PROXIES.to("meta"), IMAGES, "initial")


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float64))
def test_other_floating_dtypes_keep_their_meaning(dtype):
    images, texts = IMAGES.to(dtype), [rows.to(dtype) for rows in TEXTS]
    bank, exact = DoubleBank(texts), DoubleBank([rows.double() for rows in texts])
    proxies = text_proxies(bank, images, k=2)
    expected = text_proxies(exact, images.double(), k=2)
    assert [c.tolist() for c in proxies.chosen] == [c.tolist() for c in expected.chosen]
    torch.testing.assert_close(proxies.weights.double(), expected.weights, atol=1e-6, rtol=0)
    logits = (images.double() @ expected.weights.T).to(dtype)
    for call in (greenkhorn, sinkhorn):
        plan, wide = call(logits).pseudo_labels, call(logits.double()).pseudo_labels
        torch.testing.assert_close(plan.double(), wide, atol=1e-5, rtol=0)
        assert plan.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    if dtype != torch.float64:  # the released loop breaks ties by rounding: the same numbers in float32
        same = greenkhorn(logits.float(), start="released").pseudo_labels
        assert torch.equal(greenkhorn(logits, start="released").pseudo_labels, same)
