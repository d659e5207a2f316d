"""Mean image, text proxies and pseudo labels of images that many processes hold; see `kpl_lib.distributed`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib import text_proxies as texts
from kpl_lib.distributed_group import counted, from_first, rank_of, total
from kpl_lib.distributed_steps import balance
from kpl_lib.text_proxies import TextProxies
from kpl_lib.transport import TransportPlan, _warn_if_missed
from kpl_lib.validation import (
    check_classes,
    check_count,
    check_float_matrix,
    check_images,
    check_positive,
    check_prior,
    check_same_space,
    check_unit_rows,
    working_dtype,
)

if TYPE_CHECKING:
    from kpl_lib.features import TextBank


@torch.no_grad()
def mean_image(images: Tensor, *, group: ProcessGroup | None = None) -> Tensor:
    """Mean image `u = (1/N) Σ_i x_i` over the rows of all processes, float64 `[D]`.

    Args:
        images: unit rows of this process, `[n_r, D]`.
        group: the processes.

    Returns:
        u, the same on all processes.

    Raises:
        InputError: if the rows do not fit on one of them.

    >>> mean_image(torch.eye(2))
    tensor([0.5000, 0.5000], dtype=torch.float64)

    Chapter: ch-scaling
    """
    _, n = counted(images, lambda: check_images(images, minimum=1), group)
    return mean_of(images, n, group)


def mean_of(images: Tensor, n: int, group: ProcessGroup | None) -> Tensor:
    """The mean image of checked rows, N in all."""
    return from_first((total(texts.mean_image(images) * len(images), group) / n,), group)[0]


@torch.no_grad()
def text_proxies(
    bank: "TextBank", images: Tensor, k: int = 8, *, group: ProcessGroup | None = None
) -> TextProxies:
    """`kpl_lib.text_proxies.text_proxies`: the mean image is all that it needs of the other processes.

        s_m = u · t_m,   u = (1/N) Σ_r Σ_i x_i,   T_c = normalize( Σ_{m in top k} t_m )

    Args:
        bank: descriptions of C classes, the same everywhere.
        images: unit rows of this process, `[n_r, D]`.
        k: descriptions kept for each class.
        group: the processes.

    Returns:
        TextProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> text_proxies(bank, torch.eye(3)[:2], k=1).chosen
    (tensor([0]), tensor([0]))

    Source: KPL (arXiv 2501.11231).
    Chapter: ch-scaling
    """

    def check() -> None:
        check_images(images, minimum=1)
        check_count(k, "k")
        check_classes(len(bank.class_names), "bank")
        for name, rows in zip(bank.class_names, bank.descriptions, strict=True):
            check_unit_rows(rows, f"bank.descriptions of {name!r}", "[M, D]")
            check_same_space(rows, images, f"bank.descriptions of {name!r}")

    _, n = counted(images, check, group)
    if rank_of(group) == 0:
        texts._report_clipping(bank, k)
    u = mean_of(images, n, group)
    ranked = [texts._rank(rows, u, [k], working_dtype(images, rows)) for rows in bank.descriptions]
    return texts._keep(ranked, 0, k, bank.class_names)


@torch.no_grad()
def sinkhorn(
    logits: Tensor,
    *,
    temperature: float = 0.01,
    prior: Tensor | Sequence[float] | None = None,
    iterations: int = 20,
    tolerance: float | None = None,
    group: ProcessGroup | None = None,
) -> TransportPlan:
    """`kpl_lib.transport.sinkhorn` with column sums over all processes; a sweep sends C numbers.

        P_ij ← P_ij q_j / Σ_r Σ_i P_ij,   P_ij ← P_ij / (N Σ_j P_ij)

    Args:
        logits: rows of this process, `[n_r, C]`.
        temperature, prior, iterations, tolerance: as for one process, the same everywhere.
        group: the processes.

    Returns:
        TransportPlan with the rows of this process; errors and potentials are those of the whole plan.

    Raises:
        InputError: as for one process, on all of them.

    >>> plan = sinkhorn(torch.tensor([[0.30, 0.10], [0.28, 0.20], [0.27, 0.22]]), iterations=200)
    >>> [round(x, 2) for x in plan.pseudo_labels.sum(dim=0).tolist()]
    [1.5, 1.5]

    Source: Cuturi 2013 (arXiv 1306.0895).
    Chapter: ch-scaling
    """

    def check() -> None:
        check_float_matrix(logits, "logits", "[N, C]")
        check_classes(logits.shape[1], "logits")
        check_positive(temperature, "temperature")
        check_count(iterations, "iterations")
        if tolerance is not None:
            check_positive(tolerance, "tolerance")
        check_prior(prior, logits.shape[1])

    _, n = counted(logits, check, group)
    q = check_prior(prior, logits.shape[1]).to(logits.device)
    plan, g, done, met = balance(logits, temperature, q, (iterations, tolerance), n, group)
    row_error = float(total((plan.sum(dim=1) - 1 / n).abs().sum(), group))
    column_error = float((total(plan.sum(dim=0), group) - q).abs().sum())
    labels = plan.mul_(n).to(working_dtype(logits))
    result = TransportPlan(labels, done, met, row_error, column_error)
    result = replace(result, class_potentials=g - g.mean())
    return _warn_if_missed(result, tolerance, "sinkhorn") if rank_of(group) == 0 else result
