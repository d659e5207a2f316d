"""OpenAI's CLIP checkpoints: the architecture read from the shapes of the tensors, and the activation they need."""

import open_clip
from open_clip import pretrained
from torch import Tensor

from kpl_lib.errors import InputError

QUICK = "-quickgelu"


def openai_config(tensors: dict[str, Tensor]) -> dict:
    """Architecture of an OpenAI checkpoint, as an open_clip configuration.

    A vision transformer has patches of the size of its first kernel, on a grid of `√(positions - 1)`; a residual
    network sees 32 pixels for each position of its last pooling. Heads are 64 wide, the activation is QuickGELU.

    Args:
        tensors: name -> tensor, in OpenAI's layout.

    Returns:
        `embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`.

    Raises:
        InputError: if a tensor of that layout is missing.

    Source: Radford et al. 2021, arXiv 2103.00020; layout as in the released code of OpenAI CLIP (`clip/model.py`).
    """
    try:
        width = tensors["ln_final.weight"].shape[0]
        return {
            "embed_dim": tensors["text_projection"].shape[1],
            "quick_gelu": True,
            "vision_cfg": _transformer(tensors) if "visual.proj" in tensors else _residual(tensors),
            "text_cfg": {
                "context_length": tensors["positional_embedding"].shape[0],
                "vocab_size": tensors["token_embedding.weight"].shape[0],
                "width": width,
                "heads": width // 64,
                "layers": _count(tensors, "transformer.resblocks.", 2),
            },
        }
    except KeyError as error:
        raise InputError(
            f"not OpenAI's layout: no tensor {error}; name the architecture: 'ARCH/FILE'"
        ) from None


def check_activation(name: str, architecture: str) -> None:
    """Refuse an architecture with GELU for weights that were trained with QuickGELU.

    The tensors fit either way, so nothing fails: the features are silently wrong.

    Args:
        name: what the user asked for.
        architecture: an open_clip architecture.

    Raises:
        InputError: with the name that is right.

    Example:
        >>> check_activation("ViT-L-14/openai", "ViT-L-14")
        Traceback (most recent call last):
        kpl_lib.errors.InputError: encoder 'ViT-L-14/openai': ... say 'ViT-L-14-quickgelu/openai'

    Source: open_clip issue 771, on wrong results after exactly this mix-up.
    """
    if open_clip.get_model_config(architecture).get("quick_gelu"):
        return
    right = architecture + QUICK
    cure = name.replace(architecture, right, 1)
    raise InputError(
        f"encoder {name!r}: the weights were trained with QuickGELU, and {architecture} has GELU, which would "
        f"give wrong features; {f'say {cure!r}' if right in open_clip.list_models() else 'choose other weights'}"
    )


def preprocessing(architecture: str) -> dict | None:
    """Mean, deviation, interpolation and resizing on which all published weights of an architecture agree.

    None where they differ; empty, which is open_clip's default, where none are published.
    """
    keys = ("mean", "std", "interpolation", "resize_mode")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    found = [
        {key: config.get(key) for key in keys}
        for config in (pretrained.get_pretrained_cfg(architecture, tag) for tag in tags)
    ]
    if not found:
        return {}
    return found[0] if all(config == found[0] for config in found) else None


def _transformer(tensors: dict[str, Tensor]) -> dict:
    kernel = tensors["visual.conv1.weight"].shape
    grid = round((tensors["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    blocks = _count(tensors, "visual.transformer.resblocks.", 3)
    return {"image_size": kernel[-1] * grid, "patch_size": kernel[-1], "width": kernel[0], "layers": blocks}


def _residual(tensors: dict[str, Tensor]) -> dict:
    grid = round((tensors["visual.attnpool.positional_embedding"].shape[0] - 1) ** 0.5)
    stages = [_count(tensors, f"visual.layer{stage}.", 2) for stage in (1, 2, 3, 4)]
    width = tensors["visual.layer1.0.conv1.weight"].shape[0]
    return {"image_size": grid * 32, "patch_size": None, "width": width, "layers": stages}


def _count(tensors: dict[str, Tensor], start: str, place: int) -> int:
    """How many different numbers stand at `place` of the dotted names that begin with `start`."""
    return len({name.split(".")[place] for name in tensors if name.startswith(start)})
