"""Features of images and of descriptions: encoded once, kept as safetensors, never pickled; joined over encoders."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import InitVar, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_float_matrix, check_positive, check_same_space, check_unit_rows
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
        """Images and labels on a device, as they were checked here; itself, where they are there already."""
        if self.images.device == torch.device(device):
            return self
        moved = copy(self)
        object.__setattr__(moved, "images", self.images.to(device))
        object.__setattr__(moved, "labels", None if self.labels is None else self.labels.to(device))
        return moved

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
        views: columns of each encoder, in order, where several were joined (see `join`); `()` for one encoder.
        temperature: τ_t that the encoder was trained with, in units of cosines, which classifiers take unless told
            otherwise; of several that were joined `1 / Σ_v (w_v/τ_v)`.
        temperatures: τ_t of each of several; `()` gives all of them the `temperature`.
        normalize: take rows of any length and scale them to 1.

    Raises:
        InputError: for rows that are not unit vectors, and for counts, sizes or temperatures that do not fit.

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
    views: tuple[int, ...] = ()
    temperature: float = 0.01
    temperatures: tuple[float, ...] = ()
    normalize: InitVar[bool] = False

    def __post_init__(self, normalize: bool) -> None:
        classes = tuple(self.class_names)
        object.__setattr__(self, "class_names", classes)
        object.__setattr__(self, "texts", tuple(tuple(t) for t in self.texts) or ((),) * len(classes))
        object.__setattr__(self, "names", unit_rows(self.names, "names", normalize))
        object.__setattr__(self, "views", tuple(self.views))
        object.__setattr__(self, "temperatures", tuple(self.temperatures))
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
        classes, width = self.class_names, self.names.shape[1]
        if self.views and sum(self.views) != width:
            raise InputError(f"views {self.views} are not the {width} columns of names; see join")
        for temperature in (self.temperature, *self.temperatures):
            check_positive(temperature, "temperature")
        if self.temperatures and len(self.temperatures) != len(self.views):
            raise InputError(f"temperatures {self.temperatures} for views {self.views}; give one each")
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

    @property
    def each_temperature(self) -> tuple[float, ...]:
        """τ_t of each joined encoder; of one encoder its own."""
        return self.temperatures or (self.temperature,) * max(1, len(self.views))

    @property
    def factors(self) -> tuple[float, ...]:
        """`√w_v` of each joined encoder: the length of its columns in every row; `(1.0,)` for one encoder."""
        widths = list(self.views) or [self.names.shape[1]]
        return tuple(float(part[0].norm()) for part in self.names.split(widths, dim=1))

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
        header |= {"views": self.views, "temperature": self.temperature, "temperatures": self.temperatures}
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
        return cls(
            header["class_names"], rows, tensors["names"], header["texts"], controls, **read_by(header)
        )


def read_by(header: Mapping) -> dict:
    """What the header of a file says of the encoders of its texts; 0.2 knew no temperature, and 0.1 one encoder."""
    known = {"views": (), "temperature": 0.01, "temperatures": ()}
    return {key: header.get(key, default) for key, default in known.items()}


def mean_temperature(temperatures: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """`1 / Σ_v (w_v/τ_v)`, three digits: at it, mean cosines give the mean logits where cosines are alike.

    >>> mean_temperature([0.01, 0.03])
    0.015
    """
    factors = _factors(weights, len(temperatures))
    pairs = zip(factors, temperatures, strict=True)
    return three_digits(1 / sum(factor**2 / temperature for factor, temperature in pairs))


def three_digits(value: float) -> float:
    """The number, rounded to three significant digits."""
    return float(f"{value:.3g}")


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


def join(
    parts: Sequence[Features] | Sequence[TextBank], weights: Sequence[float] | None = None
) -> Features | TextBank:
    """Several encoders as one: their unit rows side by side, so that cosines are averaged.

        x_i = [√w_1 x_i1; …; √w_V x_iV],   t likewise,   so   x_i · t = Σ_v w_v x_iv · t_v,   Σ_v w_v = 1

    Every method takes the result as it takes one encoder. Join images and texts of the same encoders, in the same
    order and with the same weights.

    Args:
        parts: features of the same N images, or banks of the same texts, one an encoder: V of `[N, D_v]`.
        weights: of the encoders, above 0; None weighs them alike.

    Returns:
        Features `[N, Σ D_v]` with labels and provenance of the first, or a TextBank with `views` and with the
        temperature `1 / Σ_v (w_v/τ_v)`.

    Raises:
        InputError: for nothing to join, other images, another order of images, other classes or texts, and weights
            that do not fit.

    >>> one = Features(torch.eye(2), meta={"encoder": "A", "paths": ["cat.png", "dog.png"]})
    >>> two = Features(torch.eye(2), meta={"encoder": "B", "paths": ["cat.png", "dog.png"]})
    >>> join([one, two]).images.shape, join([one, two]).meta["encoder"]
    (torch.Size([2, 4]), 'A + B')

    Source: this project; concatenated features are old practice, the scaling makes unit rows of unit rows.
    Chapter: ch-encoders-and-labels
    """
    parts = list(parts)
    kinds = {type(part) for part in parts}
    if len(kinds) != 1 or not kinds <= {Features, TextBank}:
        raise InputError("join takes Features alone, or TextBanks alone, of one or more encoders")
    factors = _factors(weights, len(parts))
    return (_join_banks if kinds == {TextBank} else _join_features)(parts, factors)


def one_by_one(images: Tensor, bank: TextBank) -> list[tuple[Tensor, TextBank]]:
    """The encoders that were joined, each with its own unit rows: what `join` undoes.

    Args:
        images: unit rows `[N, Σ D_v]`.
        bank: texts of the same encoders.

    Returns:
        For each encoder its images `[N, D_v]` and its bank.

    Raises:
        InputError: if images and bank differ in D.

    >>> parts = [TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2)) for _ in "AB"]
    >>> [tuple(x.shape) for x, _ in one_by_one(torch.ones(3, 4) / 2, join(parts))]
    [(3, 2), (3, 2)]

    Chapter: ch-encoders-and-labels
    """
    check_same_space(bank.names, images, "bank.names")
    views = bank.views or (images.shape[1],)

    def split(rows: Tensor) -> list[Tensor]:
        return split_views(rows, views)

    described, names = zip(*map(split, bank.descriptions), strict=True), split(bank.names)
    controls = {key: list(zip(*map(split, group), strict=True)) for key, group in bank.controls.items()}
    banks = (
        TextBank(
            bank.class_names,
            rows,
            name,
            bank.texts,
            {key: parts[v] for key, parts in controls.items()},
            temperature=bank.each_temperature[v],
        )
        for v, (rows, name) in enumerate(zip(described, names, strict=True))
    )
    return list(zip(split(images), banks, strict=True))


def split_views(rows: Tensor, views: Sequence[int]) -> list[Tensor]:
    """The unit rows `[N, D_v]` of each encoder, out of joined rows `[N, Σ D_v]`."""
    return [F.normalize(part, dim=1) for part in rows.split(list(views), dim=1)]


def _factors(weights: Sequence[float] | None, count: int) -> list[float]:
    """`√w_v`, weights scaled to sum 1."""
    given = [1.0] * count if weights is None else [float(w) for w in weights]
    if len(given) != count or not all(0 < w < float("inf") for w in given):
        raise InputError(f"weights {given} for {count} encoders: give one number above 0 for each")
    return [(w / sum(given)) ** 0.5 for w in given]


def side_by_side(rows: Sequence[Tensor], factors: Sequence[float]) -> Tensor:
    """`[f_1 r_1; …; f_V r_V]`, `[n, Σ D_v]`, of unit rows `[n, D_v]` of each encoder."""
    return torch.cat([factor * part for factor, part in zip(factors, rows, strict=True)], dim=1)


def _join_features(parts: list[Features], factors: list[float]) -> Features:
    first, names = parts[0], [str(part.meta.get("encoder", f"part {v}")) for v, part in enumerate(parts, 1)]
    for name, part in zip(names[1:], parts[1:], strict=True):
        check_same_images(first, part, f"{names[0]!r} and {name!r}")
        if part.images.device != first.images.device:
            raise InputError(f"join: {name!r} is on {part.images.device}, not {first.images.device}; use .to")
    labels = next((part.labels for part in parts if part.labels is not None), None)
    images = side_by_side([part.images for part in parts], factors)
    return Features(images, labels, first.class_names, {**first.meta, "encoder": " + ".join(names)})


def check_same_images(one: Features, two: Features, who: str) -> None:
    """Raise unless both hold the same images in the same order, as far as paths, labels and fingerprints tell.

    Raises:
        InputError: if they do not; `who` names them in it.
    """
    cure = "encode the same images in the same order with both"
    if len(one) != len(two):
        raise InputError(f"{who} hold {len(one)} and {len(two)} images; {cure}")
    paths = [part.meta.get("paths") for part in (one, two)]
    if all(paths):
        for row, (a, b) in enumerate(zip(*paths, strict=True)):
            if a != b:
                raise InputError(f"row {row} of {who} is {a} and {b}; {cure}")
    prints = [part.meta.get("fingerprint") for part in (one, two)]
    if all(prints) and prints[0] != prints[1]:
        raise InputError(f"{who} hold images of other contents under the same names; {cure}")
    if one.class_names and two.class_names and one.class_names != two.class_names:
        raise InputError(f"{who} have other classes, or another order of them; {cure}")
    known = [part.labels.cpu() for part in (one, two) if part.labels is not None]
    if len(known) == 2 and not torch.equal(*known):
        row = int((known[0] != known[1]).nonzero()[0])
        raise InputError(f"the labels of {who} differ, first in row {row}; {cure}")


def _join_banks(banks: list[TextBank], factors: list[float]) -> TextBank:
    first, cure = banks[0], "encode one knowledge base with all encoders"
    for number, bank in enumerate(banks[1:], 2):
        who, texts = f"join: banks 1 and {number}", (bank.texts, first.texts)
        if bank.class_names != first.class_names:
            raise InputError(f"{who} have other classes, or another order of them; {cure}")
        if bank.counts != first.counts or (texts[0] != texts[1] and all(map(any, texts))):
            raise InputError(f"{who} hold other descriptions; {cure}")
        if bank.names.device != first.names.device:
            raise InputError(f"{who} are on different devices; move one with .to")
        if _lengths(bank) != _lengths(first):
            raise InputError(f"{who} hold other controls; {cure}")

    def side(pick: Callable[[TextBank], Sequence[Tensor]]) -> tuple[Tensor, ...]:
        return tuple(side_by_side(rows, factors) for rows in zip(*map(pick, banks), strict=True))

    views = tuple(width for bank in banks for width in bank.views or (bank.names.shape[1],))
    names = side_by_side([bank.names for bank in banks], factors)
    controls = {key: side(lambda bank, key=key: bank.controls[key]) for key in first.controls}
    rows, each = side(lambda bank: bank.descriptions), [bank.temperature for bank in banks]
    mean = mean_temperature(each, [factor**2 for factor in factors])
    each = tuple(own for bank in banks for own in bank.each_temperature)
    return TextBank(first.class_names, rows, names, first.texts, controls, views, mean, each)


def _lengths(bank: TextBank) -> dict[str, list[int]]:
    return {key: [len(rows) for rows in group] for key, group in bank.controls.items()}
