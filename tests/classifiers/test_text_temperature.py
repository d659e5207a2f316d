"""The temperature of the text: that of the encoder which made the bank, in every method, unless it is given."""

from dataclasses import fields, replace

import pytest
import torch
from peer_world import make_world

from kpl_lib.classifiers import Classifier, available, create
from kpl_lib.classifiers.base import Classifier as Base
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank, join, one_by_one

IMAGES, BANK, TRUTH = make_world((14, 12, 10), noise=0.9)
TOKENS = IMAGES[:, None].expand(-1, 3, -1)
OTHER, MORE, _ = make_world((14, 12, 10), noise=0.9, seed=5)
TAU = 0.07


def name_of(method: Base) -> str:
    """The parameter that holds the temperature of the text; empty where a method has none."""
    return next((f.name for f in fields(method) if f.init and f.default is None), "")


NAMES = [name for name in available(patches=True) if name_of(create(name))]
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # transport that misses its tolerance, at some τ


def at(temperature):
    return replace(BANK, temperature=temperature)


def said(name, images=IMAGES, bank=None, **given):
    bank = at(0.01) if bank is None else bank
    method = create(name, **given)
    labels = torch.where(torch.arange(len(images)) % 5 == 0, TRUTH, -1) if method.reads_labels else None
    patches = {"patches": TOKENS} if method.needs_patches else {}
    fitted = method.fit_predict(images, bank, labels=labels, **patches)
    return method, torch.cat([fitted.probabilities, method.predict(images, **patches).probabilities])


def test_only_zlap_reads_no_temperature():
    assert set(available(patches=True)) - set(NAMES) == {"zlap"}
    kinds = {name: name_of(create(name)) for name in NAMES}
    assert {name for name, key in kinds.items() if key == "text_temperature"} == {
        *("inmap", "inmap-sinkhorn", "kpl", "kpl-adaptive", "kpl-closed-form", "kpl-em", "kpl-released")
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_method_takes_the_temperature_of_the_bank(name, tmp_path):
    method, by_bank = said(name, bank=at(TAU))
    _, given = said(name, **{name_of(method): TAU})
    _, usual = said(name)
    assert torch.equal(by_bank, given) and float((by_bank - usual).abs().max()) > 1e-4
    assert torch.equal(said(name, bank=at(TAU), **{name_of(method): 0.01})[1], usual)
    assert getattr(method, name_of(method)) is None  # another fit takes that of another bank
    assert method.parameters_with(at(TAU))[name_of(method)] == TAU
    method.save(tmp_path / "model")
    patches = {"patches": TOKENS} if method.needs_patches else {}
    loaded = Classifier.load(tmp_path / "model").predict(IMAGES, **patches)
    assert torch.equal(loaded.probabilities, method.predict(IMAGES, **patches).probabilities)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", (0, -0.01, "0.01", True, float("inf")))
def test_a_temperature_is_positive_or_none(name, wrong):
    key = name_of(create(name))
    with pytest.raises(InputError, match=f"{key} must be a number above 0"):
        create(name, **{key: wrong})


LINEAR = ("clip", "cupl", "description-vote", "waffle", "robust-vote", "centred-text", "sinkhorn", "otter")


@pytest.mark.parametrize("name", LINEAR)
def test_cosines_and_temperature_scaled_alike_change_no_probability(name):
    """Two more columns, in which images and texts are across each other, scale all cosines by a quarter."""

    def wide(rows, column):
        more = torch.zeros(*rows.shape[:-1], 2)
        more[..., column] = 0.75**0.5
        return torch.cat([rows / 2, more], dim=-1)

    texts = [wide(rows, 1) for rows in BANK.descriptions]
    controls = {key: [wide(rows, 1) for rows in group] for key, group in BANK.controls.items()}
    flat = TextBank(BANK.class_names, texts, wide(BANK.names, 1), controls=controls, temperature=TAU / 4)
    _, expected = said(name, bank=at(TAU), text="names")
    _, found = said(name, wide(IMAGES, 0), flat, text="names")
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def two(weights=None):
    return join([replace(BANK, temperature=0.02), replace(MORE, temperature=0.06)], weights)


def test_joined_banks_carry_the_temperature_of_the_mean_logits(tmp_path):
    bank = two([1, 3])
    assert bank.temperature == pytest.approx(1 / (0.25 / 0.02 + 0.75 / 0.06)) and bank.temperatures == (
        0.02,
        0.06,
    )
    assert join([BANK] * 3).temperature == 0.01
    images = join_rows(IMAGES, OTHER)
    assert [own.temperature for _, own in one_by_one(images, bank)] == [0.02, 0.06]
    bank.save(tmp_path / "bank")
    again = TextBank.load(tmp_path / "bank")
    assert (again.temperature, again.temperatures) == (bank.temperature, bank.temperatures)
    nested = join([bank, BANK], [2, 1])
    assert nested.temperatures == (0.02, 0.06, 0.01)
    assert nested.temperature == pytest.approx(1 / (2 / 3 * 25 + 100 / 3), rel=2e-3)
    with pytest.raises(InputError, match="give one each"):
        replace(bank, temperatures=(0.02,))
    with pytest.raises(InputError, match="temperature must be a number above 0"):
        replace(BANK, temperature=0)


def join_rows(one, other):
    return torch.cat([one, other], dim=1) / 2**0.5


@pytest.mark.parametrize("name", ("sota", "kpl-adaptive"))
def test_methods_that_ask_each_encoder_take_the_temperature_of_each(name):
    images = join_rows(IMAGES, OTHER)
    method, each = said(name, images, two())
    _, mean = said(name, images, two(), **{name_of(method): two().temperature})
    assert float((each - mean).abs().max()) > 1e-4 and tuple(method.model.temperature) == (0.02, 0.06)
    _, told = said(name, images, join([BANK, MORE]))
    _, alike = said(name, images, two(), **{name_of(method): 0.01})
    assert torch.equal(told, alike)


@pytest.mark.parametrize("name", ("sota", "kpl-adaptive"))
def test_a_model_saved_with_one_temperature_for_all_is_read(name):
    images = join_rows(IMAGES, OTHER)
    method, _ = said(name, images, join([BANK, MORE]))
    tensors, header = method.state()
    header["parameters"][name_of(method)], header["model"]["temperature"] = 0.01, 0.01  # what 0.2 wrote
    again = Classifier.from_state(tensors, header)
    assert tuple(method.model.temperature) == (0.01, 0.01)
    assert torch.equal(again.predict(images).probabilities, method.predict(images).probabilities)


def test_a_bank_saved_without_a_temperature_has_that_of_clip(tmp_path, monkeypatch):
    import kpl_lib.features as module

    write = module.write_tensors
    bare = {"temperature", "temperatures"}
    monkeypatch.setattr(
        module,
        "write_tensors",
        lambda *given: write(*given[:-1], {k: v for k, v in given[-1].items() if k not in bare}),
    )
    at(TAU).save(tmp_path / "old")
    assert TextBank.load(tmp_path / "old").temperature == 0.01
