"""Features of images, of their patches and of descriptions: encoded once, kept as safetensors, never pickled."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import InitVar, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from kpl_lib.common.checks import check_float_matrix, check_unit_rows
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.common.tensors import read_tensors, write_tensors


def unit_rows(rows: torch.Tensor, name: str, normalize: bool = False) -> torch.Tensor:
    """Return the rows as float32 unit vectors, on the device they came on.

    `x_i / ‖x_i‖`. Rows within 1e-2 of unit length (float16 caches) are renormalised; others need `normalize`.

    Args:
        rows: vectors `[N, D]`, any floating-point dtype.
        name: what to call them in an error.
        normalize: accept rows of any length but zero.

    Returns:
        Unit rows `[N, D]`, float32.

    Raises:
        InputError: if the shape is not `[N, D]`, a value is not finite, or a row is not near unit length.

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0]]), "images", normalize=True)
        tensor([[0.6000, 0.8000]])

    Chapter: ch-zero-shot
    """
    if isinstance(rows, torch.Tensor) and rows.is_floating_point():
        rows = rows.detach().to(torch.float32)
    if normalize:
        check_float_matrix(rows, name)
        largest = rows.abs().amax(dim=1, keepdim=True)
        if bool((largest == 0).any()):
            raise InputError(f"{name}: row {int((largest == 0).nonzero()[0, 0])} is all zeros; leave it out")
        rows = rows / largest  # so that no square under- or overflows
    else:
        check_unit_rows(rows, name)
    return rows / rows.norm(dim=1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Features:
    """Image features, with labels and provenance where they are known.

    Args:
        images: unit rows `[N, D]`; kept as float32.
        labels: class numbers `[N]`, or None.
        class_names: the names that the labels count through; may be empty without labels.
        meta: anything JSON can hold, such as `encoder`, `dataset`, `paths`, `groups`.
        normalize: take rows of any length and scale them to 1.

    Raises:
        InputError: for rows that are not unit vectors, and for labels that do not fit.

    Example:
        >>> features = Features(torch.eye(2), labels=[0, 1], class_names=("cat", "dog"))
        >>> len(features), features.labels.tolist()
        (2, [0, 1])

    Chapter: ch-zero-shot
    """

    images: torch.Tensor
    labels: torch.Tensor | Sequence[int] | None = None
    class_names: tuple[str, ...] = ()
    meta: dict = field(default_factory=dict)
    normalize: InitVar[bool] = False

    def __post_init__(self, normalize: bool) -> None:
        images = unit_rows(self.images, "images", normalize)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "meta", dict(self.meta))
        if self.labels is not None:
            object.__setattr__(self, "labels", self._checked_labels().to(images.device))

    def _checked_labels(self) -> torch.Tensor:
        """Labels as int64 `[N]`."""
        labels = torch.as_tensor(self.labels)
        if labels.shape != (len(self.images),):
            raise InputError(
                f"labels: {list(labels.shape)} for {len(self.images)} images; give one label an image"
            )
        if labels.is_floating_point() or labels.is_complex():
            raise InputError(f"labels must be whole numbers, not {labels.dtype}")
        labels = labels.to(torch.int64)
        known = len(self.class_names) or int(labels.max() + 1 if len(labels) else 0)
        wrong = (labels < 0) | (labels >= known)
        if bool(wrong.any()):
            raise InputError(f"labels: {int(labels[wrong][0])} is not in 0..{known - 1}; give class numbers")
        return labels

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str | torch.device) -> "Features":
        """Move images and labels to a device."""
        return Features(self.images.to(device), self.labels, self.class_names, self.meta)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            InputError: if the file cannot be written, or `meta` holds what JSON cannot.
        """
        tensors = {"images": self.images}
        if self.labels is not None:
            tensors["labels"] = self.labels
        write_tensors(path, "Features", tensors, {"class_names": self.class_names, "meta": self.meta})

    @classmethod
    def load(cls, path: str | Path) -> "Features":
        """Read what `save` wrote.

        Raises:
            InputError: if the file is missing, broken, or not a file of Features.
        """
        tensors, header = read_tensors(path, "Features", ("images",))
        return cls(tensors["images"], tensors.get("labels"), header["class_names"], header["meta"])


@dataclass(frozen=True, eq=False)
class TextBank:
    """Text features of a knowledge base: the name of each class, and its descriptions.

    Args:
        class_names: the C classes, in order.
        descriptions: one tensor `[M_c, D]` of unit rows a class; M_c >= 1 may differ by class.
        names: unit rows `[C, D]`, the class names in a template.
        texts: the description texts of each class, in their order; `()` where they are unknown.
        controls: unit rows of texts that should not help, by name: one tensor a class (see `knowledge.controls`).
        normalize: take rows of any length and scale them to 1.

    Raises:
        InputError: for rows that are not unit vectors, and for counts or sizes that do not fit.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2), torch.eye(2)[:1]], torch.eye(2))
        >>> len(bank), bank.counts
        (2, (2, 1))

    Chapter: ch-one-sitting
    """

    class_names: tuple[str, ...]
    descriptions: Sequence[torch.Tensor]
    names: torch.Tensor
    texts: tuple[tuple[str, ...], ...] = ()
    controls: Mapping[str, Sequence[torch.Tensor]] = field(default_factory=dict)
    normalize: InitVar[bool] = False

    def __post_init__(self, normalize: bool) -> None:
        classes = tuple(self.class_names)
        object.__setattr__(self, "class_names", classes)
        object.__setattr__(self, "texts", tuple(tuple(t) for t in self.texts) or ((),) * len(classes))
        object.__setattr__(self, "names", unit_rows(self.names, "names", normalize))
        self._check_counts()
        object.__setattr__(self, "descriptions", self._rows("descriptions", self.descriptions, normalize))
        found = {key: self._rows(f"{key} texts", rows, normalize) for key, rows in self.controls.items()}
        object.__setattr__(self, "controls", found)
        for name, d, texts in zip(classes, self.descriptions, self.texts, strict=True):
            if texts and len(texts) != len(d):
                raise InputError(
                    f"texts of {name!r}: {len(texts)} texts for {len(d)} descriptions; give one each"
                )

    def _rows(self, what: str, groups: Sequence[torch.Tensor], normalize: bool) -> tuple[torch.Tensor, ...]:
        """Unit rows of each class, in the space of the names."""
        if len(groups) != len(self):
            raise InputError(f"{what}: {len(groups)} for {len(self)} classes; give one a class, in order")
        made = tuple(
            unit_rows(rows, f"{what} of {name!r}", normalize)
            for name, rows in zip(self.class_names, groups, strict=True)
        )
        for name, rows in zip(self.class_names, made, strict=True):
            if rows.shape[1] != self.names.shape[1] or rows.device != self.names.device:
                raise InputError(
                    f"{what} of {name!r} and names differ in size or device; use one encoder for all"
                )
        return made

    def _check_counts(self) -> None:
        """Refuse classes that are absent, twice, or without their row, descriptions or texts."""
        classes = self.class_names
        if not classes:
            raise InputError("class_names is empty: a text bank needs at least one class")
        twice = sorted({c for c in classes if classes.count(c) > 1})
        if twice:
            raise InputError(f"class_names holds {twice[0]!r} twice; give each class one name")
        for what in ("names", "descriptions", "texts"):
            found = len(getattr(self, what))
            if found != len(classes):
                raise InputError(f"{what}: {found} for {len(classes)} classes; give one a class, in order")
        for name, rows in zip(classes, self.descriptions, strict=True):
            if len(rows) == 0:
                raise InputError(
                    f"descriptions of {name!r}: there are none; give at least one, or drop the class"
                )

    def __len__(self) -> int:
        return len(self.class_names)

    @property
    def counts(self) -> tuple[int, ...]:
        """M_c: the number of descriptions of each class."""
        return tuple(len(d) for d in self.descriptions)

    def to(self, device: str | torch.device) -> "TextBank":
        """The bank with every tensor on a device, as it was checked here; itself, where it is there already."""
        if self.names.device == torch.device(device):
            return self
        moved = copy(self)
        object.__setattr__(moved, "names", self.names.to(device))
        object.__setattr__(moved, "descriptions", tuple(d.to(device) for d in self.descriptions))
        controls = {key: tuple(d.to(device) for d in group) for key, group in self.controls.items()}
        object.__setattr__(moved, "controls", controls)
        return moved

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            InputError: if the file cannot be written.
        """
        tensors = {"names": self.names, "descriptions": torch.cat(list(self.descriptions))}
        header = {"class_names": self.class_names, "texts": self.texts, "counts": self.counts}
        header["controls"] = {key: [len(rows) for rows in group] for key, group in self.controls.items()}
        tensors |= {f"control {key}": torch.cat(group) for key, group in self.controls.items()}
        write_tensors(path, "TextBank", tensors, header)

    @classmethod
    def load(cls, path: str | Path) -> "TextBank":
        """Read what `save` wrote.

        Raises:
            InputError: if the file is missing, broken, or not a file of a TextBank.
        """
        tensors, header = read_tensors(path, "TextBank", ("names", "descriptions"))
        rows = tensors["descriptions"].split(header["counts"])
        counts = header.get("controls", {})
        controls = {key: tensors[f"control {key}"].split(found) for key, found in counts.items()}
        return cls(header["class_names"], rows, tensors["names"], header["texts"], controls)


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


def mean_image(images: Tensor, block: int = 4096, sums: Sums = ALONE) -> Tensor:
    """Mean image `u = (1/N) Σ_i x_i`, summed block by block.

    Args:
        images: unit rows X `[N, D]`.
        block: images summed at once.
        sums: the processes that hold the images; this one alone, or a group.

    Returns:
        u `[D]`, float64, of length at most 1.

    >>> mean_image(torch.eye(2))
    tensor([0.5000, 0.5000], dtype=torch.float64)

    Chapter: ch-text-proxies
    """
    total = torch.zeros(images.shape[1], dtype=torch.float64, device=images.device)
    for part in images.split(block):
        total += part.sum(dim=0, dtype=torch.float64)
    return sums.first(sums.total(total) / sums.place(images)[1])[0]
