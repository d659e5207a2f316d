"""Costs follow from the stated assumptions alone, and say that they are estimates."""

import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.distributed.cost import ORIGIN, assumptions, estimate


def test_each_assumption_says_where_it_comes_from():
    known = assumptions()
    assert ORIGIN in known["origin"]
    for kind in ("machines", "encoders", "datasets"):
        assert known[kind] and all(entry["source"] for entry in known[kind].values())


@pytest.mark.parametrize("name", ("ViT-B-16", "ViT-L-14", "ViT-L-14-336"))
def test_operations_of_an_encoder_are_those_of_its_layers(name):
    m = assumptions()["encoders"][name]
    patches, w = (m["side"] // m["patch"]) ** 2, m["width"]
    n = patches + 1
    layers = m["layers"] * (
        12 * n * w**2 + 2 * n**2 * w
    )  # 4 projections and 8 of the perceptron; the attention
    assert (layers + patches * 3 * m["patch"] ** 2 * w) / 1e9 == pytest.approx(m["gmacs"], rel=0.01)


def test_hours_money_and_gigabytes_of_a_case_by_hand():
    one = estimate("places365", "ViT-L-14", "T4")
    rate = 0.35 * 65e12 / (2 * 81e9)
    assert one.images_per_second == pytest.approx(rate) and one.limit == "encoder"
    assert one.hours == pytest.approx(1_803_460 / rate / 3600)
    assert one.dollars == pytest.approx(one.hours * 0.4)
    assert one.feature_gb == pytest.approx(5.54, abs=0.01)
    assert estimate("places365", "ViT-B-16", "T4").limit == "decoding"


def test_eight_machines_take_an_eighth_of_the_time_for_the_same_money():
    one, eight = (estimate("imagenet-train", "ViT-L-14", "H100", count) for count in (1, 8))
    assert one.hours == pytest.approx(8 * eight.hours) and one.dollars == pytest.approx(eight.dollars)


def test_a_measured_rate_replaces_the_estimate_and_says_so():
    cost = estimate("imagenet-val", "ViT-L-14", "H100", images_per_second=100)
    assert cost.hours == pytest.approx(500 / 3600) and cost.origin != ORIGIN
    assert estimate("imagenet-val", "ViT-L-14", "H100").origin == ORIGIN


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("places", "ViT-L-14", "T4"), {}, "dataset 'places' has no assumptions; known: imagenet-train"),
        (("places365", "RN50", "T4"), {}, "encoder 'RN50'"),
        (("places365", "ViT-L-14", "T4"), {"count": 0}, "count"),
        (("places365", "ViT-L-14", "T4"), {"images_per_second": 0.0}, "images_per_second"),
    ],
)
def test_what_is_unknown_is_told(arguments, options, said):
    with pytest.raises(InputError, match=said):
        estimate(*arguments, **options)
