"""Text Proxy Optimization: keep the descriptions of a class that lie closest to the mean image."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.errors import InputError
from kpl_lib.validation import check_count, check_images, check_same_width, check_unit_rows, working_dtype

if TYPE_CHECKING:
    from kpl_lib.features import TextBank


@dataclass(frozen=True)
class TextProxies:
    """One unit text vector per class, and which descriptions made it.

    weights: `[C, D]`, unit rows.
    chosen: for each class the indices of the kept descriptions, best first.
    similarity: for each class their mean cosine to the images, in the same order.
    k: for each class how many were kept.
    """

    weights: Tensor
    chosen: tuple[Tensor, ...]
    similarity: tuple[Tensor, ...]
    k: tuple[int, ...]


def mean_image(images: Tensor, chunk_size: int = 65536) -> Tensor:
    """Mean image `u = mean_i x_i`, `[D]`, summed in float64 block by block; not renormalised."""
    total = torch.zeros(images.shape[1], dtype=torch.float64, device=images.device)
    for block in images.split(chunk_size):
        total += block.sum(dim=0, dtype=torch.float64)
    return total / len(images)


def text_proxies(bank: "TextBank", images: Tensor, k: int = 8) -> TextProxies:
    """Average, for each class, the k descriptions with the largest mean cosine to the images.

    mean_i x_i . t = u . t  with u = mean(X), so one product ranks all;  T_c = normalize(mean of the k best t)
    """
    return text_proxies_sweep(bank, images, (k,))[0]


def text_proxies_sweep(bank: "TextBank", images: Tensor, ks: Sequence[int]) -> tuple[TextProxies, ...]:
    """Text proxies for several k at the cost of one: one sort and one running sum for each class."""
    check_images(images)
    ks = [check_count(k, "k") for k in ks]
    for name, rows in zip(bank.class_names, bank.descriptions, strict=True):
        if len(rows) == 0:
            raise InputError(f"bank: class {name!r} has no description: write some, or start from the class names")
        check_unit_rows(rows, f"bank.descriptions[{name!r}]", "[M, D]")
        check_same_width(rows, images, f"bank.descriptions[{name!r}]")
    _report_clipping(bank, ks)
    u = mean_image(images)
    ranked = [_rank(rows, u, working_dtype(images, rows)) for rows in bank.descriptions]
    return tuple(_keep(ranked, k, bank.class_names) for k in ks)


def _report_clipping(bank: "TextBank", ks: Sequence[int]) -> None:
    short = {n: len(d) for n, d in zip(bank.class_names, bank.descriptions, strict=True) if len(d) < max(ks)}
    if short:
        counts = ", ".join(f"{name!r} has {count}" for name, count in short.items())
        warnings.warn(f"k = {max(ks)} is clipped for classes with fewer descriptions: {counts}", UserWarning, stacklevel=4)


def _rank(rows: Tensor, u: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    similarity = rows.to(u) @ u
    order = similarity.argsort(descending=True, stable=True)
    return order, similarity[order].to(dtype), rows[order].to(torch.float64).cumsum(dim=0).to(dtype)


def _keep(ranked: list[tuple[Tensor, Tensor, Tensor]], k: int, names: Sequence[str]) -> TextProxies:
    used = tuple(min(k, len(order)) for order, _, _ in ranked)
    sums = torch.stack([running[m - 1] for (_, _, running), m in zip(ranked, used, strict=True)])
    return TextProxies(
        weights=F.normalize(sums, dim=1),
        chosen=tuple(order[:m] for (order, _, _), m in zip(ranked, used, strict=True)),
        similarity=tuple(values[:m] for (_, values, _), m in zip(ranked, used, strict=True)),
        k=used,
    )
