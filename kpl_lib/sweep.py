"""Many settings at the price of few: k, prior, τ and α swept together, from cached features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from kpl_lib.common.checks import check_count, check_positive, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.solvers.gradient import descend, harden
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.text_proxies import TextProxies, text_proxies_sweep
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import VisionProxies, fitted, solved

LABEL_BYTES = 1 << 30  # pseudo labels of the settings that are stepped together
Plan = Literal["softmax", "sinkhorn", "converged", "released"]


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """One setting of a sweep and what came out of it.

    Args:
        k: descriptions kept for each class.
        prior: class shares q; None is uniform.
        temperature: τ of the proxies.
        confidence: α; it plays no part in the closed form.
        text: the text proxies.
        pseudo_labels: `[N, C]`.
        proxies: the vision proxies; None until they are fitted.

    Chapter: ch-closed-form
    """

    k: int
    prior: Tensor | Sequence[float] | None
    temperature: float
    confidence: float
    text: TextProxies
    pseudo_labels: Tensor
    proxies: VisionProxies | None = None


@torch.no_grad()
def sweep(
    bank: TextBank,
    images: Tensor,
    ks: Sequence[int],
    *,
    plan: Plan = "converged",
    closed_form: bool = False,
    intercept: bool = False,
    priors: Sequence[Tensor | Sequence[float] | None] = (None,),
    temperatures: Sequence[float] = (0.04,),
    confidences: Sequence[float] = (0.6,),
    text_temperature: float = 0.01,
    learning_rate: float = 10.0,
    steps: int = 2000,
) -> tuple[SweepPoint, ...]:
    """Text proxies, pseudo labels and vision proxies for every combination of k, prior, τ and α.

    One sort serves every k; the exact steps share one pass over the images; in closed form one factorisation for each
    τ serves everything else. A sweep is shown as a whole curve: its maximum was chosen on the test labels.

    Args:
        bank: descriptions of C classes.
        images: unit rows `[N, D]`.
        ks: descriptions kept for each class.
        plan: "softmax" of L/τ_t, "sinkhorn" (20 sweeps, InMaP), "converged" (KPL as published), "released".
        closed_form: solve in place of stepping; meant for plan="released", or with `intercept` for any.
        intercept: of the closed form.
        priors, temperatures, confidences: q, τ and α to combine with each k.
        text_temperature: τ_t of the pseudo labels.
        learning_rate, steps: of the steps.

    Returns:
        One SweepPoint for each (k, prior, τ, α), the last changing fastest.

    Raises:
        InputError: if an argument does not fit.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> [point.k for point in sweep(bank, torch.eye(3)[:2], (1, 2), plan="sinkhorn", steps=5)]
    [1, 2]

    Source: KPL (arXiv 2501.11231) sweeps k one run at a time.
    Chapter: ch-closed-form
    """
    points: list[SweepPoint] = []
    for (k, text), prior in product(zip(ks, text_proxies_sweep(bank, images, ks), strict=True), priors):
        labels = _labels(images, text.weights, plan, text_temperature, prior)
        rules = product(temperatures, confidences)
        points += [SweepPoint(k, prior, tau, alpha, text, labels) for tau, alpha in rules]
    if not points:
        raise InputError("priors, temperatures and confidences must hold at least one value each")
    rule = (learning_rate, steps)
    fits = _solved(images, points, intercept) if closed_form else _stepped(images, points, *rule)
    return tuple(replace(point, proxies=fit) for point, fit in zip(points, fits, strict=True))


def _labels(
    images: Tensor, weights: Tensor, plan: Plan, temperature: float, prior: Tensor | Sequence[float] | None
) -> Tensor:
    dtype = working_dtype(images, weights)
    logits = torch.cat([x.to(dtype) @ weights.to(dtype).T for x in images.split(1 << 18)])
    if plan == "softmax":
        return (logits / check_positive(temperature, "text_temperature")).softmax(dim=1)
    solvers = {
        "sinkhorn": sinkhorn,
        "converged": partial(sinkhorn, iterations=10_000, tolerance=1e-6),
        "released": partial(greenkhorn, start="released"),
    }
    if plan not in solvers:
        raise InputError(f"plan must be 'softmax', 'sinkhorn', 'converged' or 'released', not {plan!r}")
    return solvers[plan](logits, temperature=temperature, prior=prior).pseudo_labels


def _solved(images: Tensor, points: list[SweepPoint], intercept: bool) -> list[VisionProxies]:
    """One factorisation and one solve for each τ, handed back in the order of the points."""
    proxies: list = [None] * len(points)
    for tau in dict.fromkeys(point.temperature for point in points):
        rows = [row for row, point in enumerate(points) if point.temperature == tau]
        system = ridge_system(images, check_positive(tau, "temperatures"))
        plans = [points[row].pseudo_labels for row in rows]
        for row, fit in zip(rows, solved(system, plans, intercept), strict=True):
            proxies[row] = fit
    return proxies


def _stepped(
    images: Tensor, points: list[SweepPoint], learning_rate: float, steps: int
) -> list[VisionProxies]:
    """`fit_proxies` for all points, as many together as LABEL_BYTES holds: one product of the images serves them.

    A point whose steps have died out leaves its batch.
    """
    check_count(steps, "steps", minimum=0)
    check_positive(learning_rate, "learning_rate")
    for point in points:
        check_positive(point.temperature, "temperatures")
        check_positive(point.confidence, "confidences")
    dtype = working_dtype(images, points[0].text.weights, points[0].pseudo_labels)
    together = max(1, LABEL_BYTES // (points[0].pseudo_labels.numel() * dtype.itemsize))
    proxies = []
    for first in range(0, len(points), together):
        part = points[first : first + together]
        start = torch.stack([point.text.weights.to(dtype) for point in part])
        labels = torch.stack([harden(point.pseudo_labels.to(dtype), point.confidence).T for point in part])
        tau = torch.tensor([point.temperature for point in part], dtype=torch.float64, device=images.device)
        end = descend(images, start, labels, tau, learning_rate, steps)
        proxies += [fitted(end, row, images, point.pseudo_labels, dtype) for row, point in enumerate(part)]
    return proxies
