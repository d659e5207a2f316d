"""What a model is made of: its configuration, checked, and the model that open_clip builds from it.

Of OpenAI's own checkpoints it reads the architecture from the shapes of the tensors.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from open_clip import pretrained
from open_clip.convert import convert_state_dict
from open_clip.hf_model import HFTextEncoder
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from torch import Tensor

from kpl_lib.common.devices import PRECISIONS
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.extras import need
from kpl_lib.encoders.transformers_layout import renamed
from kpl_lib.encoders.weights import Weights, read_weights

CONFIG = "open_clip_config.json"
PARTS = ("embed_dim", "vision_cfg", "text_cfg")
TOKENIZER_OPTIONS = ("bpe_path", "clean", "lower", "strip_sep_token", "language", "additional_special_tokens")
HUB_FILES = ("hf_model_name", "hf_tokenizer_name")
PIXELS = ("mean", "std", "interpolation", "resize_mode")
QUICK = "-quickgelu"


@dataclass(frozen=True, eq=False)
class Source:
    """Everything that a model is built from."""

    name: str  # what messages call it: a folder, a file or the name that was asked for
    config: dict  # PARTS, as in `model_cfg` of open_clip
    preprocess: dict  # any of PIXELS
    weights: Path | Weights


#: A model, with what it needs to read images and texts.
Checkpoint = tuple[torch.nn.Module, Callable, Callable]


def check_config(name: str, config: object) -> dict:
    """Return a configuration that open_clip can build without running code of others.

    A configuration may hand any option to the tokenizer of `transformers`, also `trust_remote_code`, which runs
    code that lies beside the model. Only the options of `TOKENIZER_OPTIONS` pass. `name` is what a message calls it.

    Raises:
        InputError: for a missing part, an option that is not allowed, or `transformers` missing where it is needed.
    """
    if not isinstance(config, dict) or not all(key in config for key in PARTS):
        raise InputError(f"{name}: no model_cfg with {', '.join(PARTS)}; copy it from the model again")
    text = config["text_cfg"]
    if not isinstance(text, dict) or not isinstance(text.get("tokenizer_kwargs") or {}, dict):
        raise InputError(f"{name}: text_cfg is no table of settings; copy it from the model again")
    refused = sorted(set(text.get("tokenizer_kwargs") or {}) - set(TOKENIZER_OPTIONS))
    if refused:
        raise InputError(f"{name}: tokenizer option {refused[0]!r} is refused, it could run code; drop it")
    if any(text.get(key) for key in HUB_FILES):
        need("transformers", f"{name}: its tokenizer")
    return config


def build(source: Source, device: torch.device, precision: str) -> Checkpoint:
    """Build the model with open_clip, and fill it with weights that were read here: open_clip opens no file of them.

    It comes in evaluation mode, with its image transform and its tokenizer.

    Raises:
        InputError: if weights and configuration do not fit.
    """
    weights = source.weights if isinstance(source.weights, Weights) else read_weights(source.weights)
    try:
        name = register_config(source.config)
        with _quiet():
            pixels = {f"image_{key}": source.preprocess.get(key) for key in PIXELS}
            how = {"device": device, "precision": precision, "pretrained_text": False}
            model, _, transform = open_clip.create_model_and_transforms(name, **how, **pixels)
        _fill(model, dict(weights.tensors))
        tokenizer = open_clip.get_tokenizer(name)
    except OSError:  # a file of the text tower that has to be fetched: the hub says how
        raise
    except Exception as error:  # whatever a foreign model makes open_clip raise is the model's fault
        if "trust_remote_code" in str(error):
            why = "it needs code of its own, which is never run; choose another"
            raise InputError(f"{source.name}: {why}") from None
        why = f"open_clip cannot load it ({one_line(error, 200, kind=True)})"
        raise InputError(f"{source.name}: {why}; take all files from one model") from None
    if isinstance(getattr(model, "text", None), HFTextEncoder):
        model.text.to(PRECISIONS[precision])  # open_clip casts its linear layers alone
    size, text = getattr(tokenizer, "vocab_size", None), source.config["text_cfg"]
    if size is not None and "vocab_size" in text and size != text["vocab_size"]:
        two = f"{size} vocabulary entries, {text['vocab_size']} in its configuration"
        raise InputError(f"{source.name}: {two}; copy both again")
    return model.eval(), transform, tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns about a model without weights; these come after it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _fill(model: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put weights into a model, other layouts included, as `open_clip.factory.load_checkpoint` does from a file."""
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    tensors = convert_state_dict(model, renamed(tensors))
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    if model.logit_bias is not None:
        tensors.setdefault("logit_bias", torch.zeros(()))
    for name in {"logit_scale", "logit_bias"} & set(tensors):  # a number, or a vector of one
        tensors[name] = tensors[name].reshape(getattr(model, name).shape)
    places = "text.transformer.embeddings.position_ids"  # of older versions of transformers
    if places not in model.state_dict():
        tensors.pop(places, None)
    resize_pos_embed(tensors, model)
    resize_text_pos_embed(tensors, model)
    model.load_state_dict(tensors)


def register_config(config: dict) -> str:
    """Make the configuration known to open_clip; return the name it got."""
    text = json.dumps(config, sort_keys=True)
    name = f"kpl-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.json"
            path.write_text(text, encoding="utf-8")
            open_clip.add_model_config(path)
    return name


def openai_config(tensors: dict[str, Tensor]) -> dict:
    """Architecture of an OpenAI checkpoint, by the shapes of its tensors, as an open_clip configuration.

    A vision transformer has patches of the size of its first kernel, on a grid of `√(positions - 1)`; a residual
    network sees 32 pixels for each position of its last pooling. Heads are 64 wide, the activation is QuickGELU.

    Raises:
        InputError: if a tensor of that layout is missing.

    Source: Radford et al. 2021, arXiv 2103.00020; layout as in the released code of OpenAI CLIP (`clip/model.py`).
    """
    try:
        width = tensors["ln_final.weight"].shape[0]
        if "visual.proj" in tensors:
            kernel = tensors["visual.conv1.weight"].shape
            size = kernel[-1] * round((tensors["visual.positional_embedding"].shape[0] - 1) ** 0.5)
            layers = _count(tensors, "visual.transformer.resblocks.", 3)
            vision = {"image_size": size, "patch_size": kernel[-1], "width": kernel[0], "layers": layers}
        else:
            grid = round((tensors["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
            layers = [_count(tensors, f"visual.layer{stage}.", 2) for stage in (1, 2, 3, 4)]
            first = tensors["visual.layer1.0.conv1.weight"].shape[0]
            vision = {"image_size": grid * 32, "patch_size": None, "width": first, "layers": layers}
        return {
            "embed_dim": tensors["text_projection"].shape[1],
            "quick_gelu": True,
            "vision_cfg": vision,
            "text_cfg": {
                "context_length": tensors["positional_embedding"].shape[0],
                "vocab_size": tensors["token_embedding.weight"].shape[0],
                "width": width,
                "heads": width // 64,
                "layers": _count(tensors, "transformer.resblocks.", 2),
            },
        }
    except KeyError as error:
        raise InputError(f"not OpenAI's layout: no tensor {error}; name it 'ARCH/FILE'") from None


def check_activation(name: str, architecture: str) -> None:
    """Refuse an architecture with GELU for weights that were trained with QuickGELU.

    The tensors fit either way, so nothing fails: the features are silently wrong. The error says the right name.

    Example:
        >>> check_activation("ViT-L-14/openai", "ViT-L-14")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: encoder 'ViT-L-14/openai': ... say 'ViT-L-14-quickgelu/openai'

    Source: open_clip issue 771, on wrong results after exactly this mix-up.
    """
    if open_clip.get_model_config(architecture).get("quick_gelu"):
        return
    right = architecture + QUICK
    cure = (
        f"say {name.replace(architecture, right, 1)!r}"
        if right in open_clip.list_models()
        else "choose other weights"
    )
    wrong = f"the weights were trained with QuickGELU, and {architecture} has GELU"
    raise InputError(f"encoder {name!r}: {wrong}, which would give wrong features; {cure}")


def preprocessing(architecture: str) -> dict | None:
    """Mean, deviation, interpolation and resizing on which all published weights of an architecture agree.

    None where they differ; empty, which is open_clip's default, where none are published.
    """
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    configs = [pretrained.get_pretrained_cfg(architecture, tag) for tag in tags]
    found = [{key: config.get(key) for key in PIXELS} for config in configs] or [{}]
    return found[0] if all(config == found[0] for config in found) else None


def _count(tensors: dict[str, Tensor], start: str, place: int) -> int:
    """How many different numbers stand at `place` of the dotted names that begin with `start`."""
    return len({name.split(".")[place] for name in tensors if name.startswith(start)})
