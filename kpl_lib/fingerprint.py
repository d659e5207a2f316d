"""A checksum of an encoder: two with the same one give the same features."""

import hashlib
import re
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from kpl_lib.encoders import Encoder


def fingerprint(encoder: "Encoder") -> str:
    """Checksum of everything that image features depend on: weights, architecture, preprocessing, precision.

    Args:
        encoder: the model with its preprocessing.

    Returns:
        64 hexadecimal digits.
    """
    steps = re.sub(r" at 0x\w+", "", str(encoder.preprocess))  # addresses differ from run to run
    mixed = "" if encoder.mixed is None else f" mixed {encoder.mixed}"
    digest = hashlib.sha256(f"{steps}{encoder.dtype}{mixed}".encode())
    digest.update("".join(departures(encoder.model.visual)).encode())
    for name, weight in sorted(encoder.model.state_dict().items()):
        raw = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
        digest.update(name.encode() + raw.numpy().tobytes())
    return digest.hexdigest()


def departures(visual: nn.Module) -> list[str]:
    """What the weights of an image tower do not show, wherever it is not GELU, heads of 64, the class token.

    Example:
        >>> departures(nn.Sequential(nn.GELU(), nn.GELU("tanh")))
        ['1 GELU ']
    """
    found = []
    for name, module in visual.named_modules():
        kind = type(module).__name__
        if ("GELU" in kind and kind != "GELU") or getattr(module, "approximate", "none") != "none":
            found.append(f"{name} {kind} ")
        asks = getattr(module, "k_proj", None)
        heads = getattr(module, "num_heads", None)
        width = getattr(module, "embed_dim", None) or getattr(asks, "in_features", None)
        if heads and width and width != 64 * heads:
            found.append(f"{name} {heads} heads ")
    pool = getattr(visual, "pool_type", "tok")
    late = " late norm" if getattr(visual, "final_ln_after_pool", False) else ""
    return found + [f"pool {pool}{late} "] * (pool != "tok" or bool(late))
