"""Text Proxy Optimization and its controls."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from core_world import DoubleBank, bank_of, world

from kpl_lib.common.errors import InputError
from kpl_lib.features import mean_image
from kpl_lib.knowledge.controls import (
    derangement,
    scramble,
    swap_texts,
    waffle_texts,
)
from kpl_lib.text_proxies import text_proxies, text_proxies_sweep


@pytest.fixture(scope="module")
def small():
    images, texts, _ = world()
    return images, texts


def by_hand(images, rows, k):
    """Top k by the mean of all cosines, one description at a time."""
    means = torch.stack([(images @ row).mean() for row in rows])
    chosen = sorted(range(len(rows)), key=lambda m: -float(means[m]))[:k]
    return F.normalize(rows[chosen].sum(dim=0), dim=0), chosen, means[chosen]


@pytest.mark.parametrize("k", (1, 2, 5, 6))
def test_top_k_equals_the_definition(small, k):
    images, texts = small
    found = text_proxies(DoubleBank(texts), images, k=k)
    for c in range(3):
        weight, chosen, similarity = by_hand(images, texts[c], k)
        assert found.chosen[c].tolist() == chosen
        torch.testing.assert_close(found.weights[c], weight, atol=1e-12, rtol=0)
        torch.testing.assert_close(found.similarity[c], similarity, atol=1e-12, rtol=0)
    assert found.k == (k, k, k)


def test_a_short_class_is_clipped_alone_and_reported_once(small):
    images, texts = small
    with pytest.warns(UserWarning) as caught:
        found = text_proxies(DoubleBank(texts, counts=(6, 2, 6)), images, k=4)
    assert len(caught) == 1
    assert "k = 4" in str(caught[0].message) and "'class 1' has 2" in str(caught[0].message)
    assert found.k == (4, 2, 4) and [len(c) for c in found.chosen] == [4, 2, 4]
    full = text_proxies(DoubleBank(texts), images, k=4)
    assert torch.equal(found.weights[2], full.weights[2]) and torch.equal(found.weights[0], full.weights[0])


def test_no_warning_when_nothing_is_clipped(small):
    images, texts = small
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_proxies(DoubleBank(texts), images, k=6)


def test_sweep_equals_one_run_for_each_k(small):
    images, texts = small
    ks = (3, 1, 6)
    for k, swept in zip(ks, text_proxies_sweep(DoubleBank(texts), images, ks), strict=True):
        alone = text_proxies(DoubleBank(texts), images, k=k)
        torch.testing.assert_close(swept.weights, alone.weights, atol=1e-14, rtol=0)
        assert [c.tolist() for c in swept.chosen] == [c.tolist() for c in alone.chosen]


def test_first_of_equal_descriptions_wins():
    images = torch.eye(3)[:2]
    many = torch.eye(3)[torch.arange(200) % 2]
    found = text_proxies(DoubleBank([many, many]), images, k=150)
    assert [c.tolist() for c in found.chosen] == [list(range(150))] * 2


def test_descriptions_that_cancel_are_an_error():
    rows = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    with pytest.raises(InputError, match="'class 0' cancel"):
        text_proxies(bank_of(rows), torch.eye(2), k=2)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_mean_image_of_half_precision_is_summed_exactly(dtype):
    images = F.normalize(torch.rand(3000, 4, generator=torch.Generator().manual_seed(0)), dim=1).to(dtype)
    exact = images.double().mean(dim=0)
    torch.testing.assert_close(mean_image(images, block=128), exact, atol=1e-12, rtol=0)


def test_waffle_texts_are_random_shared_and_repeatable():
    texts = waffle_texts(("a", "b"), n=20, seed=3)
    assert texts["a"] == texts["b"] and len(set(texts["a"])) == 20
    assert texts == waffle_texts(("a", "b"), n=20, seed=3) != waffle_texts(("a", "b"), n=20, seed=4)
    assert all(len(text.split()) == 2 and text.replace(" ", "").isalpha() for text in texts["a"])


def test_scrambled_texts_keep_their_words_in_another_order():
    texts = ["one two three four five six seven", "small dark spots on a pale round disc"]
    scrambled = scramble(texts, seed=0)
    assert [sorted(t.split()) for t in scrambled] == [sorted(t.split()) for t in texts]
    assert all(a != b for a, b in zip(scrambled, texts, strict=True))


@pytest.mark.parametrize("n", (2, 3, 7))
def test_derangement_leaves_none_in_place(n):
    for seed in range(20):
        order = derangement(n, seed)
        assert sorted(order) == list(range(n)) and all(i != j for i, j in enumerate(order))


def test_swapped_texts_belong_to_another_class():
    swapped = swap_texts({"a": ["1"], "b": ["2"], "c": ["3"]}, seed=0)
    assert list(swapped) == ["a", "b", "c"] and sorted(t[0] for t in swapped.values()) == ["1", "2", "3"]
    assert swapped["a"] != ["1"] and swapped["b"] != ["2"] and swapped["c"] != ["3"]
