"""Whether images belong to the world that a phantom encoder was trained in: a check of their features, without labels.

Phantom encoders have seen drawings only. On real images they still give features, and a classifier still gives a tidy
table, but of nonsense.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache

from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir
from kpl_lib.common.tensors import read_tensors

KIND = "PhantomWorlds"
COUNTS = (1, 2, 4, 8, 16, 32)  # numbers of images for which a limit was measured


def worlds_file():
    """Where mean, whitening and limits of the phantom encoders lie; `python -m book.tools phantom-worlds` writes it."""
    return data_dir() / "encoders" / "phantom_worlds.safetensors"


@cache
def _worlds() -> dict[str, Tensor]:
    return read_tensors(worlds_file(), KIND)[0]


def distances(images: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    """Distance of each image from the phantom world, `‖(x_i − m) A‖ / √D` with `A Aᵀ = S⁻¹`, about 1 inside it.

    From unit rows `[N, D]`, their mean m `[D]` over phantoms, and whitening A `[D, D]` of the covariance S there.

    Example:
        >>> import torch
        >>> distances(torch.tensor([[3.0, 4.0]]), torch.zeros(2), torch.eye(2)).round(decimals=2).tolist()
        [3.54]

    Source: Mahalanobis distance of features, as Lee et al. 2018 (NeurIPS) use it to find inputs of another kind.
    """
    far = (images.double() - mean.to(images.device).double()) @ whitening.to(images.device).double()
    return far.norm(dim=1) / len(mean) ** 0.5


def nearest_quarter(far: Tensor) -> Tensor:
    """The distance that a quarter of n images stay under, `[..., n]` to `[...]`; of fewer than five, the smallest.

    Real images are nearly all far, and a quarter of any phantoms is near, so it tells them apart better than the mean.

    Example:
        >>> import torch
        >>> nearest_quarter(torch.tensor([3.0, 1.0, 9.0, 2.0, 5.0])).item()
        2.0
    """
    return far.kthvalue((far.shape[-1] + 3) // 4, dim=-1).values


def far_from_phantoms(encoders: Sequence[str], images: Sequence[Tensor]) -> str | None:
    """Say in one line that images are far from the world that their phantom encoder knows; None if they are not.

    The distance that a quarter of them stay under is held against a limit for as many phantoms of development seeds.
    `images` are the features of each encoder, `[N, D]`, unit rows; those that are no embedded phantoms are not judged.

    Example:
        >>> import torch
        >>> far_from_phantoms(["ViT-B-32-quickgelu/openai"], [torch.eye(4)])
    """
    worlds = _worlds()
    for name, features in zip(encoders, images, strict=True):
        if f"{name} mean" not in worlds or not len(features):
            continue
        limit = float(worlds[f"{name} limits"][bisect_right(COUNTS, len(features)) - 1])
        far = distances(features, worlds[f"{name} mean"], worlds[f"{name} whitening"])
        found = float(nearest_quarter(far))
        if not found <= limit:
            return (
                f"these images are far from the synthetic phantoms that encoder {name!r} was trained on (distance "
                f"{found:.2f}, phantoms stay under {limit:.2f}), so its answers mean nothing here"
            )
    return None


def refuse_far(encoders: Sequence[str], images: Sequence[Tensor], accept: bool) -> str | None:
    """The warning of `far_from_phantoms`, or None.

    Raises:
        InputError: if there is one, unless `accept`.
    """
    warning = far_from_phantoms(encoders, images)
    if warning is not None and not accept:
        cure = "name an encoder that knows such images with --encoder (`kpl encoders list`)"
        raise InputError(f"{warning}; {cure}, or say --accept-phantom if this is meant")
    return warning
