"""CONCH through the package of its authors: its towers are its own, and its weights are gated."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.errors import InputError, one_line

CONCH = "hf-hub:MahmoodLab/CONCH"
ARCHITECTURE, WEIGHTS = "conch_ViT-B-16", "pytorch_model.bin"
INSTALL = "pip install https://github.com/mahmoodlab/CONCH/archive/HEAD.zip"


def is_conch(name: str) -> bool:
    """Whether a name is CONCH's, in small letters or large ones; the hub knows both."""
    return name.lower() == CONCH.lower()


def conch_package(precision: str) -> ModuleType:
    """The part of the authors' package that loads models.

    Raises:
        InputError: where it is not installed, and for another precision than `fp32` or `mixed`.
    """
    if precision != "fp32":
        raise InputError(f"{CONCH} runs in fp32 or mixed, not in {precision}")
    try:
        return import_module("conch.open_clip_custom")
    except ImportError as error:
        gated = "its weights are gated, ask for access on their page and log in with `hf auth login`"
        how = f"needs the package of its authors ({one_line(error)}): {INSTALL}"
        raise InputError(f"{CONCH} {how}; {gated}") from None


class ConchTokenizer:
    """Texts to tokens `[n, 128]`: 127 are read, and the model puts its class token in the last place."""

    context_length = 127

    def __init__(self, words) -> None:
        self.words = words

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Cut and padded to the context; a warning says which are cut."""
        counted = zip(texts, self.words(list(texts))["input_ids"], strict=True)
        longer = [text for text, tokens in counted if len(tokens) > self.context_length]
        if longer:
            many = f"{len(longer)} texts have more than {self.context_length} tokens"
            warnings.warn(f"{many} and are cut: {longer[0]!r}", UserWarning, stacklevel=3)
        options = {"truncation": True, "padding": "max_length", "return_tensors": "pt"}
        tokens = self.words(list(texts), max_length=self.context_length, **options)["input_ids"]
        return F.pad(tokens, (0, 1), value=self.words.pad_token_id)


def load_conch(package: ModuleType, weights: Path, device: torch.device) -> tuple:
    """Model, image transform and tokenizer, as `build` gives them; the authors' loader reads the weights.

    Raises:
        InputError: for what that loader cannot read.
    """
    try:
        model, transform = package.create_model_from_pretrained(ARCHITECTURE, str(weights), device=device)
        return model.eval(), transform, ConchTokenizer(package.get_tokenizer())
    except Exception as error:  # a package of others raises anything
        why = f"its own loader fails ({one_line(error, 200, kind=True)})"
        raise InputError(f"{CONCH}: {why}; fetch it again") from None
