"""Text Proxy Optimization: keep the descriptions of a class that lie closest to the mean image."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_classes, check_count, check_images, check_same_space, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.common.sums import ALONE, Sums
from kpl_lib.features import TextBank, mean_image, one_by_one, side_by_side


@dataclass(frozen=True, eq=False)
class TextProxies:
    """One unit text vector per class, and the descriptions that made it.

    Args:
        weights: `[C, D]`, unit rows.
        chosen: for each class the numbers of the kept descriptions, best first; int64 `[k_c]`.
        similarity: for each class their mean cosine to the images, in the same order; `[k_c]`.
        k: for each class how many were kept.

    Chapter: ch-text-proxies
    """

    weights: Tensor
    chosen: tuple[Tensor, ...]
    similarity: tuple[Tensor, ...]
    k: tuple[int, ...]


def text_proxies(bank: TextBank, images: Tensor, k: int = 8) -> TextProxies:
    """Average, for each class, the k descriptions with the largest mean cosine to the images.

        s_m = (1/N) Σ_i x_i · t_m = u · t_m,   u = (1/N) Σ_i x_i,   T_c = normalize( Σ_{m in top k} t_m )

    Where several encoders were joined, each keeps the k descriptions that are nearest for it: chosen together, by the
    mean of their cosines, all would lean on the same few, and the gain of asking several would be lost.

    Args:
        bank: descriptions of C classes, one `[M_c, D]` of unit rows for each class; M_c may differ.
        images: unit rows `[N, D]`, N >= 2.
        k: descriptions kept for each class. A class with fewer keeps all of its own, and a UserWarning names it.

    Returns:
        TextProxies. Of equal similarities the first description wins. Of several encoders, `chosen` holds what any of
        them kept.

    Raises:
        InputError: if k < 1, or bank and images do not fit.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> text_proxies(bank, torch.eye(3)[:2], k=1).weights
    tensor([[1., 0., 0.],
            [0., 1., 0.]])

    Source: KPL (arXiv 2501.11231), section "Text Proxy Optimization". The released code overwrites k inside its loop
    over classes, so one class with few descriptions shortens the classes after it; here it does not.
    Chapter: ch-text-proxies
    """
    return text_proxies_sweep(bank, images, (k,))[0]


@torch.no_grad()
def text_proxies_sweep(
    bank: TextBank, images: Tensor, ks: Sequence[int], sums: Sums = ALONE
) -> tuple[TextProxies, ...]:
    """Text proxies for several k at the cost of one: a sort and a product for each class.

        T_c(k) = normalize( Σ_{m <= k} t_{(m)} ),   t_{(1)}, t_{(2)}, … in order of falling similarity

    Args:
        bank: descriptions of C classes.
        images: unit rows `[N, D]`, N >= 2.
        ks: numbers of descriptions to keep, each >= 1.
        sums: the processes that hold the images; this one alone, or a group.

    Returns:
        One TextProxies for each k, in the order of `ks`.

    Raises:
        InputError: as `text_proxies`, or if `ks` is empty.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> [proxies.k for proxies in text_proxies_sweep(bank, torch.eye(3)[:2], (1, 2))]
    [(1, 1), (2, 2)]

    Source: the published sweep over k encodes and ranks again for each k.
    Chapter: ch-text-proxies
    """
    ks = list(ks)

    def check() -> None:
        check_images(images, minimum=sums.least)
        if not [check_count(k, "k") for k in ks]:
            raise InputError("ks is empty: give at least one k, such as (5, 10, 20)")
        check_classes(len(bank.class_names), "bank")
        check_same_space(bank.descriptions[0], images, "bank.descriptions")

    bank = bank.to(images.device)
    sums.agreed(check, images)
    if len(bank.views) > 1:
        views = [text_proxies_sweep(own, x, ks, sums) for x, own in one_by_one(images, bank)]
        return tuple(_of_several(found, bank) for found in zip(*views, strict=True))
    if sums.rank == 0:
        _report_clipping(bank, max(ks))
    u = mean_image(images, sums=sums)
    limits = torch.tensor(ks, device=images.device)[:, None]
    ranked = [_rank(rows, u, limits, working_dtype(images, rows)) for rows in bank.descriptions]
    return tuple(_keep(ranked, i, k, bank.class_names) for i, k in enumerate(ks))


def _of_several(found: Sequence[TextProxies], bank: TextBank) -> TextProxies:
    """The proxies of several encoders side by side; of their descriptions each once, those first that are nearer."""
    weights = side_by_side([one.weights for one in found], bank.factors)
    each, counts = [numbers_of(one.chosen) for one in found], found[0].k
    numbers, places, used, first = [], [], [], 0
    for c, count in enumerate(counts):
        best: dict[int, int] = {}
        for rank in range(count):
            for v, chosen in enumerate(each):
                best.setdefault(chosen[c][rank], first + v * sum(counts) + rank)
        numbers, places, used = [*numbers, *best], [*places, *best.values()], [*used, len(best)]
        first += count
    flat = torch.cat([values for one in found for values in one.similarity])
    numbers, places = torch.tensor([numbers, places], device=weights.device)
    return TextProxies(weights, numbers.split(used), flat[places].split(used), tuple(used))


def numbers_of(chosen: Sequence[Tensor | Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """The chosen descriptions of each class as plain numbers; the host reads them once.

    >>> numbers_of([torch.tensor([2, 0]), torch.tensor([1])])
    ((2, 0), (1,))
    """
    if not all(isinstance(one, Tensor) for one in chosen):
        return tuple(map(tuple, chosen))
    flat = iter(torch.cat(list(chosen)).tolist())
    return tuple(tuple(islice(flat, len(one))) for one in chosen)


def _report_clipping(bank: TextBank, k: int) -> None:
    counts = zip(bank.class_names, (len(rows) for rows in bank.descriptions), strict=True)
    short = [f"{name!r} has {count}" for name, count in counts if count < k]
    if short:
        message = (
            f"k = {k} is clipped to the number of descriptions for {len(short)} classes: {', '.join(short)}"
        )
        warnings.warn(message, UserWarning, stacklevel=4)


def _rank(rows: Tensor, u: Tensor, limits: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Order of the descriptions, their similarities in it, and for each k the sum of the first k vectors."""
    rows = rows.double()
    similarity = rows @ u
    order = similarity.argsort(descending=True, stable=True)
    first = torch.arange(len(rows), device=rows.device) < limits
    return order, similarity[order].to(dtype), (first.double() @ rows[order]).to(dtype)


def _keep(ranked: list[tuple[Tensor, Tensor, Tensor]], i: int, k: int, names: Sequence[str]) -> TextProxies:
    used = tuple(min(k, len(order)) for order, _, _ in ranked)
    sums = torch.stack([first[i] for _, _, first in ranked])
    lengths = sums.norm(dim=1)
    if lengths.min() < 1e-6:
        raise InputError(
            f"bank: the descriptions kept for {names[int(lengths.argmin())]!r} cancel: change k or the texts"
        )
    return TextProxies(
        weights=F.normalize(sums, dim=1),
        chosen=tuple(order[:m] for (order, _, _), m in zip(ranked, used, strict=True)),
        similarity=tuple(values[:m] for (_, values, _), m in zip(ranked, used, strict=True)),
        k=used,
    )
