"""The permutation test: its statistic by hand, false alarms at the level, what it finds, and whole patients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kpl_lib.common.errors import InputError
from kpl_lib.decisions import same_source


def drawn(n, seed, shift=0.0, d=6):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x * torch.tensor([3.0] + [1.0] * (d - 1), dtype=torch.float64) + 4
    x[:, 1] += shift
    return F.normalize(x, dim=1)


def test_the_statistic_is_its_formula():
    first, second = drawn(20, 0), drawn(30, 1, shift=0.5)
    x = torch.cat([first, second]).numpy()
    s = np.cov(x.T, bias=True)
    m = first.numpy().mean(0) - second.numpy().mean(0)
    wanted = m @ np.linalg.inv(s + np.trace(s) / 6 * np.eye(6)) @ m
    assert same_source(first, second).statistic == pytest.approx(wanted)


def test_p_values_count_permutations():
    """Two images on each side have six partings, of which two are the given one: p is near a third."""
    x = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]), dim=1)
    assert same_source(x[:2], x[2:]).p_value == pytest.approx(1 / 3, abs=0.05)
    far = same_source(drawn(40, 0), drawn(40, 1, shift=5.0), permutations=199)
    assert far.p_value == 1 / 200 and far.permutations == 199 and far.statistic > 10 * far.expected


def test_false_alarms_keep_the_level_and_a_shift_is_found():
    p = [
        same_source(drawn(40, 2 * s), drawn(60, 2 * s + 1), permutations=99, seed=s).p_value
        for s in range(250)
    ]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08
    found = [
        same_source(drawn(40, 2 * s), drawn(60, 2 * s + 1, shift=1.5), permutations=99).p_value
        for s in range(50)
    ]
    assert np.mean(np.array(found) <= 0.05) >= 0.9


def test_images_of_a_patient_change_sides_together():
    """Each patient looks like itself: by images nearly every parting looks like two sources, by patients none does."""
    alarms = {"images": 0, "patients": 0}
    for s in range(100):
        patients = drawn(24, s).repeat_interleave(8, dim=0)
        x = F.normalize(patients + 0.05 * drawn(192, 1000 + s), dim=1)
        groups = [f"p{i // 8}" for i in range(192)]
        alarms["images"] += same_source(x[:96], x[96:], permutations=99, seed=s).p_value <= 0.05
        test = same_source(
            x[:96],
            x[96:],
            first_groups=groups[:96],
            second_groups=groups[96:],
            permutations=99,
            seed=s,
        )
        alarms["patients"] += test.p_value <= 0.05
    assert alarms["images"] >= 60 and alarms["patients"] <= 11


def test_the_seed_draws_the_permutations():
    first, second = drawn(40, 0), drawn(40, 1, shift=0.3)
    found = [same_source(first, second, seed=s) for s in (0, 0, 1)]
    assert found[0] == found[1] and found[0].expected != found[2].expected


def test_what_cannot_be_is_one_line():
    x = drawn(20, 0)
    for call, message in (
        (lambda: same_source(x, drawn(20, 1, d=5)), "differ in D: use one encoder"),
        (lambda: same_source(x, x[:1]), "second .* too few"),
        (lambda: same_source(x, 2 * x), "second .* unit rows"),
        (lambda: same_source(x, x, first_groups=[1] * 20), "of one side only"),
        (
            lambda: same_source(x, x, first_groups=[*range(20)], second_groups=[*range(19, 39)]),
            "'19' has images on",
        ),
        (lambda: same_source(x, x, first_groups=[1] * 20, second_groups=[2]), "groups: 1 for 20 images"),
        (lambda: same_source(x, x, permutations=0), "permutations must be a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            call()
