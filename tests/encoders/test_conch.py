"""CONCH by the loader of its authors, here a stand-in of it; and what is said where it is not installed."""

import sys

import pytest
import torch
import torch.nn.functional as F
from open_clip import pretrained
from PIL import Image

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import ImageDataset
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.conch import CONCH
from kpl_lib.encoders.load import download_encoder

#: What the authors' package offers, with the same arguments and the same shapes, in small.
PACKAGE = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor
from transformers import PreTrainedTokenizerFast


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = nn.Linear(3, 4, bias=False)
        self.visual.image_size = (8, 8)
        self.text = nn.Embedding(6, 4)
        self.logit_scale = nn.Parameter(torch.zeros([]))

    def encode_image(self, images, normalize=True, proj_contrast=True):
        assert normalize and proj_contrast
        return self.visual(images.mean(dim=(2, 3)))

    def encode_text(self, text, normalize=True, embed_cls=True):
        assert text.shape[1] == 128 and (text[:, -1] == 0).all() and embed_cls
        return self.text(text[:, :-1]).mean(dim=1)


def create_model_from_pretrained(model_cfg, checkpoint_path=None, device="cpu", hf_auth_token=None):
    assert model_cfg == "conch_ViT-B-16"
    model = Model()
    model.load_state_dict(torch.load(checkpoint_path, map_location="cpu"))
    return model.to(device=device), Compose([Resize((8, 8)), ToTensor()])


def get_tokenizer():
    words = {"<pad>": 0, "<start>": 1, "<end>": 2, "a": 3, "lung": 4, "<unk>": 5}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<start>", eos_token="<end>", pad_token="<pad>")
"""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The gated file, as if access had been given."""
    torch.manual_seed(0)
    state = {
        "visual.weight": torch.randn(4, 3),
        "text.weight": torch.randn(6, 4),
        "logit_scale": torch.tensor(4.0),
    }
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    monkeypatch.setattr(
        pretrained, "download_pretrained_from_hf", lambda place, filename: str(path.parent / filename)
    )
    return path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The stand-in, installed."""
    pytest.importorskip("transformers")
    folder = tmp_path / "site" / "conch" / "open_clip_custom"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield folder / "__init__.py"
    for name in ("conch", "conch.open_clip_custom"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", [CONCH, "hf-hub:MahmoodLab/conch"])
def test_the_loader_of_the_authors_is_used(weights, package, name):
    made = load_encoder(name, device="cpu")
    state = torch.load(weights)
    tokens = torch.zeros(2, 127, dtype=torch.long)
    tokens[0, 0], tokens[1] = 4, 3  # one word and padding; as many words as fit
    expected = F.normalize(state["text.weight"][tokens].mean(dim=1), dim=1)
    with pytest.warns(UserWarning, match="1 texts have more than 127 tokens and are cut"):
        found = made.encode_texts(["lung", "a " * 200])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    picture = Image.new("RGB", (20, 10), (255, 0, 51))
    dataset = ImageDataset("one", lambda i: picture, ["a.png"], ("a",), [0])
    seen = F.normalize(state["visual.weight"] @ torch.tensor([1.0, 0.0, 0.2]), dim=0)
    torch.testing.assert_close(made.encode_images(dataset).images[0], seen, atol=1e-6, rtol=0)
    assert made.logit_scale == pytest.approx(54.598, rel=1e-4) and made.context_length == 127
    assert not made.model.training and made.fingerprint == load_encoder(name, device="cpu").fingerprint
    with pytest.raises(InputError, match="gives no patches"):
        made.encode_patches(dataset)
    assert download_encoder(name) == f"{name}: {weights} (0 MB), ready without a network"


def test_without_the_package_one_line_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "conch", None)
    monkeypatch.setattr(
        pretrained, "download_pretrained_from_hf", lambda *_, **__: pytest.fail("fetched before")
    )
    with pytest.raises(
        InputError, match=r"pip install https://github.com/mahmoodlab/CONCH/.*zip; .* gated"
    ) as caught:
        load_encoder(CONCH, device="cpu")
    assert "\n" not in str(caught.value)


def test_what_the_package_cannot_do_is_one_line(weights, package):
    with pytest.raises(InputError, match="runs in fp32 or mixed, not in fp16"):
        load_encoder(CONCH, device="cpu", precision="fp16")
    weights.write_bytes(b"not found")
    with pytest.raises(InputError, match=r"its own loader fails .*fetch it again") as caught:
        load_encoder(CONCH, device="cpu")
    assert "\n" not in str(caught.value)
