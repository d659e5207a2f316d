"""Features of the patches of images, beside those of the images."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.features import Features


@dataclass(frozen=True, eq=False)
class Patches:
    """Image features, and beside them features of the patches of each image.

    Args:
        features: the images `[N, D]`, with labels and provenance.
        tokens: `[N, P, D]`, near unit length, float16: P patches an image, row by row from the upper left.

    Raises:
        InputError: for tokens of another number or size than the images.

    Example:
        >>> made = Patches(Features(torch.eye(2)), torch.eye(2).expand(2, 2, 2))
        >>> len(made), tuple(made.tokens.shape)
        (2, (2, 2, 2))

    Chapter: ch-benchmark
    """

    features: Features
    tokens: Tensor

    def __post_init__(self) -> None:
        images = self.features.images
        check_tokens(self.tokens, images)
        object.__setattr__(self, "tokens", self.tokens.detach().to(torch.float16))

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: str | torch.device) -> "Patches":
        """Move images, labels and patches to a device."""
        return Patches(self.features.to(device), self.tokens.to(device))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            InputError: if the file cannot be written, or `meta` holds what JSON cannot.
        """
        features = self.features
        tensors = {"images": features.images, "tokens": self.tokens}
        if features.labels is not None:
            tensors["labels"] = features.labels
        write_tensors(path, "Patches", tensors, {"class_names": features.class_names, "meta": features.meta})

    @classmethod
    def load(cls, path: str | Path) -> "Patches":
        """Read what `save` wrote.

        Raises:
            InputError: if the file is missing, broken, or not a file of Patches.
        """
        tensors, header = read_tensors(path, "Patches", ("images", "tokens"))
        labels = tensors.get("labels")
        features = Features(tensors["images"], labels, header["class_names"], header["meta"])
        return cls(features, tensors["tokens"])


def check_tokens(tokens: Tensor, images: Tensor) -> Tensor:
    """Return patch features `[N, P, D]` if they are finite and belong to images `[N, D]`.

    Raises:
        InputError: if they are not, or do not.
    """
    if not isinstance(tokens, Tensor) or tokens.dim() != 3 or 0 in tokens.shape:
        found = list(tokens.shape) if isinstance(tokens, Tensor) else type(tokens).__name__
        raise InputError(f"patches must be a tensor [N, P, D], not {found}; see Encoder.encode_patches")
    if (len(tokens), tokens.shape[2]) != tuple(images.shape):
        raise InputError(
            f"patches {list(tokens.shape)} do not belong to images {list(images.shape)}; encode both together"
        )
    if not tokens.is_floating_point() or not bool(torch.isfinite(tokens).all()):
        raise InputError("patches must be finite floating-point numbers; encode them again")
    return tokens
