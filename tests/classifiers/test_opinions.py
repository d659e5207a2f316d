"""kpl-adaptive with several encoders: each is asked alone, and their log probabilities are averaged."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from peer_world import make_world

from kpl_lib.classifiers import Classifier, create
from kpl_lib.features import TextBank, join
from kpl_lib.text_proxies import text_proxies

NAME = "kpl-adaptive"


@pytest.fixture(scope="module")
def views():
    """90 images as two encoders see them, and the texts of each."""
    worlds = [make_world((40, 30, 20), noise=noise, d=12) for noise in (0.7, 1.0)]
    return [world[0] for world in worlds], [world[1] for world in worlds]


def side_by_side(xs, weights=(0.5, 0.5)):
    return torch.cat([x * w**0.5 for x, w in zip(xs, weights, strict=True)], dim=1)


@pytest.mark.parametrize("weights", ((0.5, 0.5), (0.8, 0.2)))
@pytest.mark.parametrize("prior", (None, [0.5, 0.3, 0.2]))
def test_the_pool_is_the_weighted_mean_of_log_probabilities(views, weights, prior):
    xs, banks = views
    method = create(NAME, k=2)
    found = method.fit_predict(side_by_side(xs, weights), join(banks, weights), prior)
    alone = [create(NAME, k=2).fit_predict(x, bank, prior) for x, bank in zip(xs, banks, strict=True)]
    logs = [one.scores.double().log_softmax(dim=1) for one in alone]
    expected = sum(w * log for w, log in zip(weights, logs, strict=True)).softmax(dim=1)
    torch.testing.assert_close(found.probabilities.double(), expected, atol=1e-4, rtol=0)
    own = [create(NAME, k=2).fit(x, bank) for x, bank in zip(xs, banks, strict=True)]
    assert [set(c) for c in method.chosen] == [
        set(a) | set(b) for a, b in zip(own[0].chosen, own[1].chosen, strict=True)
    ]


def test_new_images_files_and_devices_are_as_for_one_encoder(views, tmp_path):
    xs, banks = views
    images, bank = side_by_side(xs), join(banks)
    method = create(NAME, k=2).fit(images, bank)
    whole = method.predict(images)
    torch.testing.assert_close(method.predict(images[3:4]).scores, whole.scores[3:4], atol=1e-5, rtol=1e-5)
    method.save(tmp_path / "m.safetensors")
    again = Classifier.load(tmp_path / "m.safetensors")
    assert torch.equal(again.predict(images).probabilities, whole.probabilities)
    assert again.findings == method.findings and again.model.moved is method.model.moved
    meta = method.to("meta").model
    tensors = [getattr(meta, f.name) for f in dataclasses.fields(meta)]
    assert all(x.device.type == "meta" for x in tensors if isinstance(x, torch.Tensor))


@pytest.mark.filterwarnings("ignore:.*kpl-adaptive stays with the text proxies")
def test_an_encoder_whose_text_is_turned_round_has_no_voice(views):
    xs, banks = views
    wrong = wrong_of(banks[1])
    images = side_by_side(xs)
    method = create(NAME, k=2)
    found = method.fit_predict(images, join([banks[0], wrong]))
    alone = create(NAME, k=2).fit_predict(xs[0], banks[0])
    torch.testing.assert_close(found.probabilities, alone.probabilities, atol=1e-4, rtol=0)
    assert method.model.trust.tolist() == pytest.approx([1, 0], abs=1e-6)
    assert any(
        said.startswith("encoder 2: text proxies and class names hardly agree") for said in method.findings
    )
    both = create(NAME, k=2).fit(images, join([wrong_of(banks[0]), wrong]))
    assert both.model.trust.tolist() == pytest.approx([0.5, 0.5], abs=1e-6)  # nobody is better


def wrong_of(bank: TextBank) -> TextBank:
    return dataclasses.replace(bank, descriptions=[*bank.descriptions[1:], bank.descriptions[0]])


def test_what_the_pool_says_of_the_fit_comes_from_its_parts(views):
    xs, banks = views
    model = create(NAME, k=2).fit(side_by_side(xs), join(banks)).model
    parts = [create(NAME, k=2).fit(x, bank).model for x, bank in zip(xs, banks, strict=True)]
    assert model.support == pytest.approx(sum(part.support for part in parts) / 2, abs=1e-4)
    assert model.contradiction == pytest.approx(sum(part.contradiction for part in parts) / 2, abs=1e-4)
    assert model.names == pytest.approx(min(part.names for part in parts), abs=1e-4)
    assert model.halves == pytest.approx(min(part.halves for part in parts), abs=1e-4)
    torch.testing.assert_close(model.shares, (parts[0].shares + parts[1].shares) / 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.text_shares, (parts[0].text_shares + parts[1].text_shares) / 2, atol=1e-4, rtol=0
    )
    assert model.moved == (parts[0].moved or parts[1].moved)


def test_labels_reach_every_encoder(views):
    xs, banks = views
    labels = torch.full((90,), -1)
    labels[[0, 1, 45, 46, 75, 76]] = torch.tensor([0, 0, 1, 1, 2, 2])
    found = create(NAME, k=2).fit_predict(side_by_side(xs), join(banks), labels=labels)
    logs = [
        create(NAME, k=2).fit_predict(x, bank, labels=labels).scores.double().log_softmax(dim=1)
        for x, bank in zip(xs, banks, strict=True)
    ]
    torch.testing.assert_close(
        found.probabilities.double(), (sum(logs) / 2).softmax(dim=1), atol=1e-3, rtol=0
    )


def test_text_proxies_of_several_encoders_are_chosen_by_each(views):
    xs, banks = (
        [part[0], other] for part, other in zip(views, make_world((40, 30, 20), d=12, seed=9), strict=False)
    )
    found = text_proxies(join(banks), side_by_side(xs), k=2)
    own = [text_proxies(bank, x, k=2) for x, bank in zip(xs, banks, strict=True)]
    assert any(set(a.tolist()) != set(b.tolist()) for a, b in zip(own[0].chosen, own[1].chosen, strict=True))
    expected = torch.cat([one.weights for one in own], dim=1) / 2**0.5
    torch.testing.assert_close(found.weights, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(F.normalize(found.weights, dim=1), found.weights, atol=1e-6, rtol=0)
    for c in range(3):
        assert set(found.chosen[c].tolist()) == {*own[0].chosen[c].tolist(), *own[1].chosen[c].tolist()}
        assert found.chosen[c][0] == own[0].chosen[c][0] and found.k[c] == len(found.chosen[c])
