"""Find open_clip models by name and load them: safetensors only, nothing unpickles."""

import difflib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch

from kpl_lib.errors import InputError
from kpl_lib.hub import from_hub, from_tag, one_line
from kpl_lib.paths import data_dir

CONFIG = "open_clip_config.json"
VOCABULARY = "bpe_vocab.txt.gz"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
FORMS = "'path:DIR' for a folder, 'ARCH/TAG' such as 'ViT-L-14-quickgelu/openai', or 'hf-hub:ORG/NAME'"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with what it needs to read images and texts."""

    model: torch.nn.Module
    preprocess: Callable
    tokenizer: Callable


def local_names() -> tuple[str, ...]:
    """Names of the encoders that ship with the library.

    Example:
        >>> "phantom" in local_names() or local_names() == ()
        True
    """
    return tuple(sorted(path.parent.name for path in (data_dir() / "encoders").glob(f"*/{CONFIG}")))


def open_checkpoint(name: str, device: torch.device, precision: str) -> Checkpoint:
    """Load the model of this name.

    Args:
        name: a name of `local_names()`, `path:DIR`, `ARCH/TAG` or `hf-hub:ORG/NAME`.
        device: where the model goes.
        precision: `fp32`, `fp16` or `bf16`.

    Returns:
        The model in evaluation mode, its image transform, its tokenizer.

    Raises:
        InputError: if the name is unknown, or its weights cannot be had as safetensors.
    """
    if not isinstance(name, str):
        raise InputError(f"an encoder is named by text, not {type(name).__name__}: {name!r}")
    options = {"device": device, "precision": precision}
    # open_clip draws random weights before it loads the real ones: leave the caller's random numbers alone
    with torch.random.fork_rng(devices=[]):
        if name.startswith("path:"):
            return _from_folder(Path(name.removeprefix("path:")).expanduser(), options)
        if name.startswith("hf-hub:"):
            return Checkpoint(*from_hub(name, options))
        if "/" in name:
            return Checkpoint(*from_tag(name, options))
        if name in local_names():
            return _from_folder(data_dir() / "encoders" / name, options)
    near = difflib.get_close_matches(name.lower(), local_names(), 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"unknown encoder {name!r}: {hint}known here: {', '.join(local_names()) or 'none'}; or {FORMS}"
    )


def _from_folder(folder: Path, options: dict) -> Checkpoint:
    """Load `open_clip_config.json`, one safetensors file and the vocabulary from a folder."""
    config = _read_config(folder)
    weights, model_config, preprocess = (
        _find_weights(folder),
        config["model_cfg"],
        config.get("preprocess_cfg", {}),
    )
    text = model_config["text_cfg"]
    if "hf_tokenizer_name" not in text:
        text["tokenizer_kwargs"] = {**text.get("tokenizer_kwargs", {}), **_vocabulary(folder, text)}
    try:
        name = _register(model_config)
        keys = ("mean", "std", "interpolation", "resize_mode")
        model, _, transform = open_clip.create_model_and_transforms(
            name,
            pretrained=str(weights),
            weights_only=True,
            **{f"image_{key}": preprocess.get(key) for key in keys},
            **options,
        )
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}" if "hf_tokenizer_name" in text else name)
    except Exception as error:  # whatever a foreign folder makes open_clip raise is the folder's fault
        raise InputError(
            f"{folder}: open_clip cannot load it ({one_line(error)}); take all files from one model"
        ) from None
    size = getattr(tokenizer, "vocab_size", None)
    if size is not None and "vocab_size" in text and size != text["vocab_size"]:
        raise InputError(
            f"{folder}: {size} vocabulary entries, {text['vocab_size']} in {CONFIG}; copy both again"
        )
    return Checkpoint(model.eval(), transform, tokenizer)


def _read_config(folder: Path) -> dict:
    """Read and check `open_clip_config.json`."""
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder}: no {CONFIG} there; name the folder of an open_clip model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); copy it from the model again") from None
    parts = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(parts, dict) or not all(
        key in parts for key in ("embed_dim", "vision_cfg", "text_cfg")
    ):
        raise InputError(
            f"{path}: no model_cfg with embed_dim, vision_cfg and text_cfg; copy it from the model again"
        )
    return config


def _find_weights(folder: Path) -> Path:
    """Find the one safetensors file; refuse pickled weights."""
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder}: {len(found)} safetensors files; leave only the weights there")
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise InputError(
            f"{folder}: {pickled[0]} is pickled and could run code; convert it to model.safetensors"
        )
    raise InputError(f"{folder}: no weights there; put model.safetensors beside {CONFIG}")


def _vocabulary(folder: Path, text: dict) -> dict:
    """Path of the vocabulary that the configuration names, or that lies in the folder."""
    name = text.get("tokenizer_kwargs", {}).get("bpe_path") or VOCABULARY
    if Path(name).name != name:
        raise InputError(f"{folder / CONFIG}: bpe_path {name!r} must be a file name in the same folder")
    path = folder / name
    if path.is_file():
        return {"bpe_path": str(path.resolve())}
    if text.get("tokenizer_kwargs", {}).get("bpe_path"):
        raise InputError(f"{path}: the vocabulary is missing; copy it from the model again")
    return {}


def _register(config: dict) -> str:
    """Make the configuration known to open_clip; return the name it got."""
    text = json.dumps(config, sort_keys=True)
    name = f"kpl-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.json"
            path.write_text(text, encoding="utf-8")
            open_clip.add_model_config(path)
    return name
