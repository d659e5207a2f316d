"""Every classifier behind the one interface."""

import re

import pytest
import torch
import torch.nn.functional as F

from kpl_lib.classifiers import Classifier, Prediction, available, create, register
from kpl_lib.classifiers.start import start
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank
from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import fit_proxies

NAMES = available()
FAST = {name: {"steps": 200} for name in ("inmap", "inmap-sinkhorn", "kpl", "kpl-released")}
CONTRACT = {"clip", "cupl", "description-vote", "waffle", "inmap", "inmap-sinkhorn", "sinkhorn", "kpl"}
CONTRACT |= {"kpl-released", "kpl-closed-form", "transclip", "stata", "zlap", "otter", "ss-text"}
CONTRACT |= {"centred-text", "robust-vote", "adapt", "oga", "sota", "anchored-probe", "gda"}


def unit(*shape, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator) + shift, dim=-1)


@pytest.fixture(scope="module")
def world():
    """120 images of 3 classes in a cone, and a bank whose texts point roughly the right way."""
    centres = torch.eye(3, 16) * 2
    labels = torch.arange(120) % 3
    generator = torch.Generator().manual_seed(1)
    images = F.normalize(centres[labels] + 0.35 * torch.randn(120, 16, generator=generator) + 0.5, dim=1)
    texts = [
        F.normalize(centres[c] + 0.6 * torch.randn(4 + c, 16, generator=generator) - 0.3, dim=1)
        for c in range(3)
    ]
    words = F.normalize(centres[:, None] + 0.5 * torch.randn(9, 16, generator=generator) - 0.3, dim=2)
    bank = TextBank(
        ("a", "b", "c"), texts, torch.stack([rows[0] for rows in texts]), controls={"random": list(words)}
    )
    return Features(images, labels, ("a", "b", "c")), bank


def made(name, **parameters) -> Classifier:
    return create(name, **{**FAST.get(name, {}), "k": 3, **parameters})


def test_the_names_of_the_contract_are_known():
    assert set(NAMES) >= CONTRACT


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_each_docstring_tells_source_cost_behaviour_and_chapter(name):
    text = " ".join(type(create(name)).__doc__.split())
    for word in ("Source: ", "Cost: ", "new", "order", "Example:", "Args:", "Chapter: ch-"):
        assert word in text, word
    for parameter in create(name).parameters:
        assert re.search(rf"\b{parameter}\b", text), parameter


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_one_and_labels_are_the_largest_score(name, world):
    features, bank = world
    prediction = made(name).fit_predict(features, bank)
    assert isinstance(prediction, Prediction) and len(prediction) == 120
    torch.testing.assert_close(prediction.probabilities.sum(dim=1), torch.ones(120), atol=1e-5, rtol=0)
    assert torch.equal(prediction.labels, prediction.scores.argmax(dim=1))
    assert torch.equal(prediction.labels, prediction.probabilities.argmax(dim=1))
    assert prediction.class_names == ("a", "b", "c")
    assert (prediction.labels == features.labels).double().mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_classifier_moves_to_another_device(name, world):
    features, bank = world
    fitted = made(name).fit(features, bank)
    moved, here = fitted.to("meta"), fitted.to("cpu")
    tensors = [value for value in vars(moved.model).values() if isinstance(value, torch.Tensor)]
    assert tensors and {value.device.type for value in tensors} == {"meta"}
    assert torch.equal(here.predict(features).scores, fitted.predict(features).scores)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_predictions_are_the_same_also_on_new_images(name, world, tmp_path):
    features, bank = world
    fitted = made(name).fit(features, bank)
    fitted.save(tmp_path / "x.safetensors")
    loaded = Classifier.load(tmp_path / "x.safetensors")
    assert type(loaded) is type(fitted) and loaded.parameters == fitted.parameters
    assert (loaded.chosen, loaded.class_names) == (fitted.chosen, fitted.class_names)
    for images in (features.images, unit(5, 16, seed=9), unit(1, 16, seed=8)):
        before, after = fitted.predict(images), loaded.predict(images)
        assert torch.equal(before.scores, after.scores) and torch.equal(
            before.probabilities, after.probabilities
        )
        assert torch.equal(before.labels, after.labels)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"oga"}))  # a stream is its order: see test_newer_peers
def test_order_of_images_does_not_matter(name, world):
    features, bank = world
    order = torch.randperm(120, generator=torch.Generator().manual_seed(5))
    there = made(name).fit_predict(features.images[order], bank)
    here = made(name).fit_predict(features.images, bank)
    near = 2e-3 if create(name).order_free else 2e-2  # in float32; see test_peer_invariance for float64
    torch.testing.assert_close(there.probabilities, here.probabilities[order], atol=near, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:zlap knows no prior")
def test_a_prior_moves_predictions_its_way_and_must_be_one(name, world):
    features, bank = world
    hard = F.normalize(features.images + 0.4 * unit(120, 16, seed=3), dim=1)
    even = made(name).fit_predict(hard, bank).probabilities[:, 0].mean()
    tilted = made(name).fit_predict(hard, bank, prior=[0.8, 0.1, 0.1]).probabilities[:, 0].mean()
    # one decides as if classes were even, one knows no prior, and 15 sweeps at ε = 0.01 leave that of sota unheard
    if name not in {"kpl-adaptive", "zlap", "sota"}:
        assert tilted > even
    with pytest.raises(InputError, match="sum to 1"):
        made(name).fit(features, bank, prior=[0.5, 0.1, 0.1])


@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_encoder_and_unfitted_methods_are_refused(name, world, tmp_path):
    features, bank = world
    with pytest.raises(InputError, match="not fitted"):
        made(name).predict(features)
    with pytest.raises(InputError, match="not fitted"):
        made(name).save(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="encoder"):
        made(name).fit(unit(9, 8), bank)
    with pytest.raises(InputError, match="encoder"):
        made(name).fit(features, bank).predict(unit(9, 8))


def test_clip_is_the_softmax_of_cosines_with_the_names(world):
    features, bank = world
    expected = (features.images @ bank.names.T / 0.01).softmax(dim=1)
    torch.testing.assert_close(create("clip").fit_predict(features, bank).probabilities, expected)
    q = torch.tensor([0.6, 0.3, 0.1])
    tilted = (features.images @ bank.names.T / 0.01 + q.log()).softmax(dim=1)
    torch.testing.assert_close(create("clip").fit_predict(features, bank, prior=q).probabilities, tilted)
    assert create("clip").fit_predict(features.images[:1], bank).labels.shape == (1,)


def test_cupl_is_the_mean_of_all_descriptions(world):
    features, bank = world
    proxies = torch.stack([F.normalize(rows.mean(dim=0), dim=0) for rows in bank.descriptions])
    found = create("cupl").fit(features, bank)
    torch.testing.assert_close(found.predict(features).scores, features.images @ proxies.T)
    assert found.chosen == ((0, 1, 2, 3), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5))


def test_kpl_is_its_three_steps(world):
    features, bank = world
    fitted = made("kpl").fit(features, bank)
    weights, chosen = start(bank, features.images, "top-k", 3)
    plan = sinkhorn(features.images @ weights.T, iterations=10_000, tolerance=1e-4)
    assert plan.converged
    proxies = fit_proxies(features.images, weights, plan.pseudo_labels, steps=200)
    assert torch.equal(fitted.predict(features).scores, proxies.scores(features.images))
    assert torch.equal(fitted.predict(features).probabilities, proxies.probabilities(features.images))
    assert fitted.chosen == tuple(tuple(found.tolist()) for found in chosen)
    assert all(len(found) == 3 for found in fitted.chosen)


def test_k_above_the_count_is_clipped_with_one_warning(world):
    features, bank = world
    with pytest.warns(UserWarning, match="k = 5 is clipped") as caught:
        fitted = made("kpl", k=5).fit(features, bank)
    assert len(caught) == 1 and [len(found) for found in fitted.chosen] == [4, 5, 5]


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("klp", {}, "unknown classifier 'klp': did you mean 'kpl'"),
        ("kpl", {"stesp": 3}, "takes no 'stesp': did you mean 'steps'"),
        ("kpl", {"k": 0}, "k must be a whole number of at least 1, not 0"),
        ("kpl", {"k": 2.5}, "k must be a whole number"),
        ("kpl", {"steps": "many"}, "steps must be a whole number"),
        ("kpl-closed-form", {"temperature": -1.0}, "temperature must be a number above 0"),
        ("clip", {"temperature": float("nan")}, "temperature must be a number above 0"),
        ("clip", {"text": "nmaes"}, "text 'nmaes' is unknown"),
    ],
)
def test_unknown_names_and_values_are_refused_before_any_work(name, parameters, said):
    with pytest.raises(InputError, match=said):
        create(name, **parameters)


def test_a_reader_adds_a_method_in_one_line(world):
    from kpl_lib.classifiers import base
    from kpl_lib.classifiers.zero_shot import Clip

    kind = register("test-mine")(type("Mine", (Clip,), {}))
    try:
        assert isinstance(create("test-mine"), kind) and "test-mine" in available()
        with pytest.raises(InputError, match="taken"):
            register("clip")(kind)
    finally:
        base._REGISTRY.pop("test-mine")


def test_files_that_hold_no_classifier_are_refused(world, tmp_path):
    world[0].save(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds no Classifier"):
        Classifier.load(tmp_path / "x.safetensors")
