"""Options of the methods: texts that should not help, priors, few images, bad values and the advice on a plan."""

import pytest
import torch
import torch.nn.functional as F
from peer_world import N, make_world

from kpl_lib.classifiers import available, create, neighbours
from kpl_lib.classifiers.start import CONTROLS, start
from kpl_lib.common.errors import InputError
from kpl_lib.datasets import load_dataset
from kpl_lib.features import TextBank
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.controls import with_controls
from kpl_lib.metrics import accuracy
from kpl_lib.own_images.classify import classify_folder
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import ridge_proxies


@pytest.fixture(scope="module")
def world():
    return make_world((20, 12, 8))


@pytest.mark.parametrize("text", CONTROLS)
@pytest.mark.filterwarnings("ignore:.*stays with the text proxies")
def test_controls_are_starts_of_every_method(world, text):
    images, bank, _ = world
    proxies, chosen = start(bank, images, text, 8)
    expected = [F.normalize(rows.mean(dim=0), dim=0) for rows in bank.controls[text]]
    torch.testing.assert_close(proxies, torch.stack(expected))
    assert chosen == ((),) * 3
    for name in available():
        few = {"steps": 20} if "steps" in create(name).parameters else {}
        assert len(create(name, text=text, **few).fit_predict(images, bank)) == N


def test_controls_that_are_absent_are_one_error_with_the_cure(world):
    images, bank, _ = world
    bare = TextBank(bank.class_names, bank.descriptions, bank.names)
    for name, text in (("waffle", "random"), ("kpl", "swapped")):
        with pytest.raises(InputError, match=r"holds no such texts; encode them with .*with_controls\("):
            create(name, text=text).fit(images, bare)


class Letters:
    """Stands in for an encoder: a text becomes the counts of its letters."""

    def encode_texts(self, texts):
        counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return F.normalize(torch.tensor(counts, dtype=torch.float32), dim=1)


def test_with_controls_encodes_random_words_and_swapped_descriptions(tmp_path):
    records = {"cat": [Description("fur"), Description("claws")], "owl": [Description("quills")]}
    kb, letters = KnowledgeBase("pets", records), Letters()
    rows = [letters.encode_texts(group) for group in kb.sentences().values()]
    bank = TextBank(kb.class_names, rows, letters.encode_texts(kb.prompts()))
    full = with_controls(bank, kb, letters.encode_texts, seeds=4)
    assert [len(rows) for rows in full.controls["random"]] == [8, 8]  # 4 seeds, 2 texts a class on average
    assert len(torch.unique(full.controls["random"][0], dim=0)) == 8
    swapped = letters.encode_texts(["a photo of a cat, which has quills"])
    torch.testing.assert_close(full.controls["swapped"][0], swapped)
    assert len(full.controls["swapped"][1]) == 2
    full.save(tmp_path / "bank.safetensors")
    loaded = TextBank.load(tmp_path / "bank.safetensors").to("cpu")
    for key in CONTROLS:
        assert all(map(torch.equal, loaded.controls[key], full.controls[key]))
    with pytest.raises(InputError, match="random texts: 1 for 2 classes"):
        TextBank(bank.class_names, bank.descriptions, bank.names, controls={"random": [bank.names]})
    with pytest.raises(InputError, match="encode that one"):
        with_controls(bank, KnowledgeBase("one", {"cat": records["cat"]}), letters.encode_texts)


def test_a_folder_is_classified_with_random_words_without_further_ado(tmp_path):
    for i, (picture, _) in enumerate(load_dataset("phantom-malaria", n=4)):
        picture.save(tmp_path / f"{i}.png")
    options = {"encoder": "phantom", "classifier": "waffle", "progress": False}
    found = classify_folder(tmp_path, "phantom-malaria", **options).result
    assert len(found.labels) == 4 and found.descriptions == ("",) * 4


def test_neighbours_are_the_same_in_blocks(world, monkeypatch):
    images = world[0]
    whole = neighbours.nearest_rows(images, images, 3, themselves=True)
    monkeypatch.setattr(neighbours, "BLOCK", 7 * N)
    parts = neighbours.nearest_rows(images, images, 3, themselves=True)
    assert torch.equal(whole.index, parts.index) and (whole.index != torch.arange(N)[:, None]).all()
    torch.testing.assert_close(whole.weights, parts.weights)


@pytest.mark.parametrize("name", ("sinkhorn", "otter", "inmap-sinkhorn", "kpl"))
def test_the_true_prior_helps_under_skew(name):
    images, bank, labels = make_world((160, 30, 10), noise=0.6)
    even = accuracy(create(name, text="names").fit_predict(images, bank), labels)
    true = accuracy(create(name, text="names").fit_predict(images, bank, prior=[0.8, 0.15, 0.05]), labels)
    assert true > even + 0.1


@pytest.mark.parametrize("name", available())
@pytest.mark.parametrize("count", (2, 3, 5))
@pytest.mark.filterwarnings(
    "ignore:.*is clipped to",
    "ignore:the closed form is not where",
    "ignore:.*stays with the text proxies",
)
def test_few_images_still_give_probabilities(name, count):
    images, bank, _ = make_world((2, 2, 1))
    found = create(name, k=2).fit_predict(images[:count], bank)
    assert torch.isfinite(found.probabilities).all() and torch.isfinite(found.scores).all()
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(count))


@pytest.mark.parametrize(
    ("name", "said"),
    (("zlap", "neighbours = 5 is clipped to 4"), ("transclip", "confident = 8 is clipped to 4")),
)
def test_neighbourhoods_larger_than_the_set_are_clipped_with_a_warning(name, said):
    images, bank, _ = make_world((2, 1, 1))
    with pytest.warns(UserWarning, match=said):
        create(name).fit(images, bank)


@pytest.mark.parametrize("name", available())
def test_one_image_is_classified_or_refused_in_one_line(name, world):
    images, bank, _ = world
    method = create(name)
    if method.transductive:
        with pytest.raises(InputError, match="too few for a method that reads the whole set"):
            method.fit(images[:1], bank)
    else:
        whole = create(name).fit_predict(images, bank)
        one = method.fit_predict(images[:1], bank)
        torch.testing.assert_close(one.probabilities, whole.probabilities[:1])


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("oga", {"seed": -1}, "seed must be a whole number of at least 0"),
        ("zlap", {"damping": 1.0}, "damping must be below 1"),
        ("zlap", {"neighbours": 0}, "neighbours must be a whole number of at least 1"),
        ("transclip", {"softness": 0.0}, "softness must be a number above 0"),
        ("kpl-closed-form", {"plan": "released2"}, "plan 'released2' is unknown: did you mean 'released'"),
        ("kpl-closed-form", {"intercept": "yes"}, "intercept must be True or False"),
        ("waffle", {"text": "randm"}, "text 'randm' is unknown: did you mean 'random'"),
        ("inmap-sinkhorn", {"sweeps": 2.5}, "sweeps must be a whole number"),
    ],
)
def test_options_are_checked(name, parameters, said):
    with pytest.raises(InputError, match=said):
        create(name, **parameters)


def test_a_released_plan_of_many_classes_gets_the_right_advice():
    images, bank, _ = make_world((40,) * 3)
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(30, 40, generator=generator)
    x = F.normalize(centres.repeat(20, 1) + 0.5 * torch.randn(600, 40, generator=generator) + 0.5, dim=1)
    t = F.normalize(centres + 0.5 * torch.randn(30, 40, generator=generator), dim=1)
    plan = greenkhorn(x @ t.T, start="released").pseudo_labels
    with pytest.warns(UserWarning, match="some columns were not scaled: give greenkhorn at least C updates"):
        ridge_proxies(x, plan)
    ridge_proxies(x, greenkhorn(x @ t.T, start="released", iterations=40).pseudo_labels)
    with pytest.warns(UserWarning, match="divide a plan whose rows sum to 1 by N") as caught:
        ridge_proxies(images, sinkhorn(images @ bank.names.T).pseudo_labels)
    assert f"leverage {ridge_system(images, 0.04).leverage():.3g} " in str(caught[0].message)
