"""The steps of the method on images that many processes hold, each its rows; see `kpl_lib.distributed`.

What is shared is as large as the proxies: a gradient `[C, D]`, a scatter `[D, D]`, column sums `[C]`. They are summed
in float64 over the processes; the rest is the arithmetic of one process, which is handed a `Group`.
"""

from typing import Any

from torch import Tensor
from torch.distributed import ProcessGroup

from kpl_lib import features, transport, vision_proxies
from kpl_lib.common.checks import check_images
from kpl_lib.distributed.group import Group
from kpl_lib.features import TextBank
from kpl_lib.text_proxies import TextProxies, text_proxies_sweep
from kpl_lib.transport import TransportPlan
from kpl_lib.vision_proxies import VisionProxies


def mean_image(images: Tensor, *, group: ProcessGroup | None = None) -> Tensor:
    """Mean image `u = (1/N) Σ_i x_i` over the rows of all processes, float64 `[D]`.

    Args:
        images: unit rows of this process, `[n_r, D]`.
        group: the processes.

    Returns:
        u, the same on all processes.

    Raises:
        InputError: if the rows do not fit on one of them.

    >>> import torch
    >>> mean_image(torch.eye(2))
    tensor([0.5000, 0.5000], dtype=torch.float64)

    Chapter: ch-scaling
    """
    sums = Group(group)
    sums.agreed(lambda: check_images(images, minimum=1), images)
    return features.mean_image(images, sums=sums)


def text_proxies(
    bank: TextBank, images: Tensor, k: int = 8, *, group: ProcessGroup | None = None
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

    >>> import torch
    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> text_proxies(bank, torch.eye(3)[:2], k=1).chosen
    (tensor([0]), tensor([0]))

    Source: KPL (arXiv 2501.11231).
    Chapter: ch-scaling
    """
    return text_proxies_sweep(bank, images, (k,), Group(group))[0]


def sinkhorn(logits: Tensor, *, group: ProcessGroup | None = None, **settings: Any) -> TransportPlan:
    """`kpl_lib.transport.sinkhorn` with column sums over all processes; a sweep sends C numbers.

        P_ij ← P_ij q_j / Σ_r Σ_i P_ij,   P_ij ← P_ij / (N Σ_j P_ij)

    Args:
        logits: rows of this process, `[n_r, C]`.
        group: the processes.
        settings: temperature, prior, iterations, tolerance, as for one process, the same everywhere.

    Returns:
        TransportPlan with the rows of this process; errors and potentials are those of the whole plan.

    Raises:
        InputError: as for one process, on all of them.

    >>> import torch
    >>> plan = sinkhorn(torch.tensor([[0.30, 0.10], [0.28, 0.20], [0.27, 0.22]]), iterations=200)
    >>> [round(x, 2) for x in plan.pseudo_labels.sum(dim=0).tolist()]
    [1.5, 1.5]

    Source: Cuturi 2013 (arXiv 1306.0895).
    Chapter: ch-scaling
    """
    return transport.sinkhorn(logits, **settings, sums=Group(group))


def fit_proxies(
    images: Tensor,
    initial: Tensor,
    pseudo_labels: Tensor,
    *,
    group: ProcessGroup | None = None,
    **settings: Any,
) -> VisionProxies:
    """`kpl_lib.vision_proxies.fit_proxies` with the gradient summed over all processes; a step sends C D numbers.

        G = Σ_r (P_r − Y_r)ᵀ X_r     lr ← lr/2 where ‖G‖ grew     W ← normalize(W − lr/(N τ) G)

    Args:
        images: unit rows of this process, `[n_r, D]`.
        initial: unit rows `[C, D]`, the same everywhere.
        pseudo_labels: their rows, `[n_r, C]`.
        group: the processes.
        settings: temperature, learning_rate, steps, confidence, callback, as for one process.

    Returns:
        VisionProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> import torch
    >>> x, y = torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> fit_proxies(x, x, y, confidence=1.0).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: InMaP (arXiv 2310.19752), KPL (arXiv 2501.11231). Proxies and sums over processes are float64 also for
    float32 images.
    Chapter: ch-scaling
    """
    return vision_proxies.fit_proxies(images, initial, pseudo_labels, **settings, sums=Group(group))


def ridge_proxies(
    images: Tensor, pseudo_labels: Tensor, *, group: ProcessGroup | None = None, **settings: Any
) -> VisionProxies:
    """`kpl_lib.vision_proxies.ridge_proxies` with moments and scatter summed over all processes, D² + C D numbers.

        S̃ = (1/N) Σ_r X̃_rᵀ X̃_r,   b_j = C Σ_r Σ_i Y_ij x̃_i,   w_j − w̄ = (S̃ + τ ‖u‖ I)⁻¹ (b_j − b̄)

    Args:
        images: unit rows of this process, `[n_r, D]`.
        pseudo_labels: their rows of a plan whose mass over all processes is about 1, `[n_r, C]`.
        group: the processes.
        settings: temperature, intercept, as for one process.

    Returns:
        VisionProxies, the same on all processes.

    Raises:
        InputError: as for one process, on all of them.

    >>> import torch
    >>> x, y = torch.tensor([[0.6, 0.8], [0.8, 0.6]]), torch.tensor([[0.4, 0.1], [0.1, 0.4]])
    >>> ridge_proxies(x, y, intercept=True).scores(x).argmax(dim=1)
    tensor([0, 1])

    Source: derived for this project. Several processes always solve D x D.
    Chapter: ch-scaling
    """
    return vision_proxies.ridge_proxies(images, pseudo_labels, **settings, sums=Group(group))
