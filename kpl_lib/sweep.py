"""Every k at the price of few: texts, plans and proxies for several k together, from cached features."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
    """One k of a sweep and what came out of it.

    Args:
        k: descriptions kept for each class.
        text: the text proxies.
        pseudo_labels: `[N, C]`.
        proxies: the vision proxies.

    Chapter: ch-closed-form
    """

    k: int
    text: TextProxies
    pseudo_labels: Tensor
    proxies: VisionProxies


@torch.no_grad()
def sweep(
    bank: TextBank,
    images: Tensor,
    ks: Sequence[int],
    *,
    plan: Plan = "converged",
    closed_form: bool = False,
    intercept: bool = False,
    prior: Tensor | Sequence[float] | None = None,
    temperature: float = 0.04,
    confidence: float = 0.6,
    steps: int = 2000,
) -> tuple[SweepPoint, ...]:
    """Text proxies, pseudo labels and vision proxies for every k.

    One sort serves every k; the exact steps share one pass over the images; in closed form one factorisation serves
    everything. A sweep is shown as a whole curve: its maximum was chosen on the test labels.

    Args:
        bank: descriptions of C classes.
        images: unit rows `[N, D]`.
        ks: descriptions kept for each class.
        plan: "softmax" of L/τ_t, "sinkhorn" (20 sweeps, InMaP), "converged" (KPL as published) or "released"; τ_t is
            the temperature of the bank.
        closed_form: solve in place of stepping; meant for plan="released", or with `intercept` for any.
        intercept: of the closed form.
        prior: class shares q; None is uniform.
        temperature: τ of the proxies.
        confidence, steps: α and number of the steps; they play no part in the closed form.

    Returns:
        One SweepPoint for each k.

    Raises:
        InputError: if an argument does not fit.

    >>> from kpl_lib.features import TextBank
    >>> bank = TextBank(("cat", "dog"), [torch.eye(3)[:2], torch.eye(3)[1:]], torch.eye(3)[:2])
    >>> [point.k for point in sweep(bank, torch.eye(3)[:2], (1, 2), plan="sinkhorn", steps=5)]
    [1, 2]

    Source: KPL (arXiv 2501.11231) sweeps k one run at a time.
    Chapter: ch-closed-form
    """
    check_positive(temperature, "temperature")
    texts = text_proxies_sweep(bank, images, ks)
    plans = [_labels(images, text.weights, plan, prior, bank.temperature) for text in texts]
    if closed_form:
        fits = solved(ridge_system(images, temperature), plans, intercept)
    else:
        fits = _stepped(images, texts, plans, temperature, confidence, steps)
    return tuple(SweepPoint(*row) for row in zip(ks, texts, plans, fits, strict=True))


def _labels(
    images: Tensor, weights: Tensor, plan: Plan, prior: Tensor | Sequence[float] | None, temperature: float
) -> Tensor:
    dtype = working_dtype(images, weights)
    logits = torch.cat([x.to(dtype) @ weights.to(dtype).T for x in images.split(1 << 18)])
    if plan == "softmax":
        return (logits / temperature).softmax(dim=1)
    solvers = {
        "sinkhorn": sinkhorn,
        "converged": partial(sinkhorn, iterations=10_000, tolerance=1e-6),
        "released": partial(greenkhorn, start="released"),
    }
    if plan not in solvers:
        raise InputError(f"plan must be 'softmax', 'sinkhorn', 'converged' or 'released', not {plan!r}")
    return solvers[plan](logits, temperature=temperature, prior=prior).pseudo_labels


def _stepped(
    images: Tensor,
    texts: Sequence[TextProxies],
    plans: list[Tensor],
    temperature: float,
    confidence: float,
    steps: int,
) -> list[VisionProxies]:
    """`fit_proxies` for all k, as many together as LABEL_BYTES holds: one product of the images serves them.

    A k whose steps have died out leaves its batch.
    """
    check_count(steps, "steps", minimum=0)
    check_positive(confidence, "confidence")
    dtype = working_dtype(images, texts[0].weights, plans[0])
    together = max(1, LABEL_BYTES // (plans[0].numel() * dtype.itemsize))
    proxies = []
    for first in range(0, len(plans), together):
        part = plans[first : first + together]
        start = torch.stack([text.weights.to(dtype) for text in texts[first : first + together]])
        labels = torch.stack([harden(plan.to(dtype), confidence).T for plan in part])
        tau = torch.full((len(part),), temperature, dtype=torch.float64, device=images.device)
        end = descend(images, start, labels, tau, 10.0, steps)
        proxies += [fitted(end, row, images, plan, dtype) for row, plan in enumerate(part)]
    return proxies
