"""Several encoders in the place of one: each encodes the same images and texts, and their rows are joined."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.encoders.encoder import Encoder, load_encoder
from kpl_lib.features import Features, TextBank, join, mean_temperature, unit_rows
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.patches import Patches


@dataclass(frozen=True, eq=False)
class JoinedEncoder:
    """V encoders that answer as one; cosines of its rows are the means of their cosines.

    It takes the place of an `Encoder` for images, texts and knowledge bases; arguments are as there. Each encoder
    keeps its own file in a cache.

    Args:
        encoders: V of them, all on one device.

    Chapter: ch-encoders-and-labels
    """

    encoders: tuple[Encoder, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What they were loaded as, in order."""
        return tuple(encoder.name for encoder in self.encoders)

    @property
    def name(self) -> str:
        """The names with ` + ` between them."""
        return " + ".join(self.names)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.encoders[0].device

    @property
    def temperature(self) -> float:
        """`V / Σ_v (1/τ_v)`: logits at it are the mean logits of encoders whose cosines are alike."""
        return mean_temperature([encoder.temperature for encoder in self.encoders])

    @property
    def fingerprint(self) -> str:
        """Checksum of theirs, in order."""
        return hashlib.sha256("".join(one.fingerprint for one in self.encoders).encode()).hexdigest()

    def encode_images(self, dataset: ImageDataset, *how: object, **options: object) -> Features:
        """Unit features `[N, Σ D_v]`, each encoder in turn; arguments and errors as `Encoder.encode_images`."""
        return join([encoder.encode_images(dataset, *how, **options) for encoder in self.encoders])

    def encode_patches(self, *_: object, **__: object) -> Patches:
        """Patches of several encoders are not joined: they lie on grids of different sizes."""
        raise InputError(f"{self.name}: patches of several encoders cannot be joined; name one encoder")

    def encode_texts(self, texts: Sequence[str], *how: object, **options: object) -> Tensor:
        """Unit features `[n, Σ D_v]`; arguments and errors as `Encoder.encode_texts`."""
        rows = [encoder.encode_texts(texts, *how, **options) for encoder in self.encoders]
        return unit_rows(torch.cat(rows, dim=1), "texts", normalize=True)

    def encode_knowledge(self, kb: KnowledgeBase, *how: object, **options: object) -> TextBank:
        """The joined bank; arguments and errors as `Encoder.encode_knowledge`."""
        return join([encoder.encode_knowledge(kb, *how, **options) for encoder in self.encoders])


def load_encoders(names: Sequence[str], device: str | torch.device | None = None) -> Encoder | JoinedEncoder:
    """Load one encoder by name, or several as one.

    Args:
        names: for `load_encoder`, one or more, each once.
        device: where to run; None chooses.

    Returns:
        The encoder, or all of them as a `JoinedEncoder`.

    Raises:
        InputError: for no name, a name given twice, and as `load_encoder`.

    Example:
        >>> load_encoders(["phantom", "phantom"])
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: encoder 'phantom' is named twice; name each once

    Chapter: ch-encoders-and-labels
    """
    if not names:
        raise InputError("no encoder is named; name at least one")
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InputError(f"encoder {twice[0]!r} is named twice; name each once")
    loaded = tuple(load_encoder(name, device) for name in names)
    return loaded[0] if len(loaded) == 1 else JoinedEncoder(loaded)
