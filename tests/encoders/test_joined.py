"""Several encoders in the place of one: rows side by side, one fingerprint, and one line for what cannot be."""

import pytest
import torch
from test_encoders import noise
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.encoders import Encoder, JoinedEncoder, load_encoder, load_encoders
from kpl_lib.features import join
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge.controls import with_controls


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    base = tmp_path_factory.mktemp("joined")
    return [write_tiny_encoder(base / f"tiny{seed}", seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def joined(names) -> JoinedEncoder:
    return load_encoders(names, "cpu")


def test_one_name_is_that_encoder_and_two_are_joined(names, joined):
    alone = load_encoders(names[:1], "cpu")
    assert isinstance(alone, Encoder) and alone.names == (names[0],)
    assert isinstance(joined, JoinedEncoder) and joined.names == tuple(names)
    assert joined.name == " + ".join(names) and joined.device == torch.device("cpu")
    back = load_encoders(names[::-1], "cpu")
    assert len({alone.fingerprint, joined.fingerprint, back.fingerprint}) == 3


def test_it_encodes_what_its_encoders_encode(names, joined, tmp_path):
    parts, images = [load_encoder(name, "cpu") for name in names], noise(5)
    found = joined.encode_images(images, progress=False, batch_size=2)
    each = [part.encode_images(images, progress=False, batch_size=2) for part in parts]
    assert torch.equal(found.images, join(each).images) and found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.meta["encoder"] == joined.name and found.meta["paths"] == list(images.paths)
    texts = ["a cat", "a dog with ears"]
    each = [part.encode_texts(texts) for part in parts]
    assert torch.allclose(joined.encode_texts(texts), torch.cat(each, dim=1) / 2**0.5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*texts have more than 32 tokens")
def test_it_encodes_knowledge_with_its_controls(names, joined):
    kb = KnowledgeBase.load("phantom-chest")
    bank = with_controls(joined.encode_knowledge(kb, progress=False), kb, joined.encode_texts)
    each = []
    for name in names:
        part = load_encoder(name, "cpu")
        each.append(with_controls(part.encode_knowledge(kb, progress=False), kb, part.encode_texts))
    other = join(each)
    assert bank.views == other.views and bank.texts == other.texts
    torch.testing.assert_close(bank.descriptions[0], other.descriptions[0])
    torch.testing.assert_close(bank.controls["random"][1], other.controls["random"][1])


@pytest.mark.filterwarnings("ignore:.*texts have more than 32 tokens")
def test_temperature_is_that_of_the_mean_logit_scale(names, joined):
    scales = [load_encoder(name, "cpu").logit_scale for name in names]
    assert joined.temperature == pytest.approx(2 / sum(scales), rel=2e-3)
    bank = joined.encode_knowledge(KnowledgeBase.load("phantom-chest"), progress=False)
    assert bank.temperature == joined.temperature
    assert bank.temperatures == tuple(encoder.temperature for encoder in joined.encoders)


@pytest.mark.parametrize(
    ("pick", "said"),
    [
        (lambda names: [], "no encoder is named"),
        (lambda names: names[:1] * 2, "is named twice; name each once"),
    ],
)
def test_no_encoder_and_one_twice_are_refused(names, pick, said):
    with pytest.raises(InputError, match=said):
        load_encoders(pick(names))


def test_patches_are_not_joined(joined):
    with pytest.raises(InputError, match="patches of several encoders cannot be joined; name one encoder"):
        joined.encode_patches(noise(3))
