"""Many settings at the price of few: k, prior, τ and α swept together, from cached features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from kpl_lib.common.checks import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    working_dtype,
)
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
        proxies: the vision proxies.

    Chapter: ch-closed-form
    """

    k: int
    prior: Tensor | Sequence[float] | None
    temperature: float
    confidence: float
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
    priors: Sequence[Tensor | Sequence[float] | None] = (None,),
    temperatures: Sequence[float] = (0.04,),
    confidences: Sequence[float] = (0.6,),
    text_temperature: float = 0.01,
    learning_rate: float = 10.0,
    steps: int = 2000,
) -> tuple[SweepPoint, ...]:
    """Text proxies, pseudo labels and vision proxies for every combination of k, prior, τ and α.

    One sort serves every k; the exact steps share one pass over the images; in closed form one
    factorisation for each τ serves everything else. A sweep is shown as a whole curve: its maximum was
    chosen on the test labels.

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
    texts = text_proxies_sweep(bank, images, ks)
    settings, labels = [], []
    for (k, text), prior in product(zip(ks, texts, strict=True), priors):
        made = _labels(images, text.weights, plan, text_temperature, prior)
        for temperature, confidence in product(temperatures, confidences):
            settings.append((k, prior, temperature, confidence, text, made))
            labels.append(made)
    if closed_form:
        proxies = _solved(images, settings, intercept)
    else:
        initial = [setting[4].weights for setting in settings]
        taus, alphas = [s[2] for s in settings], [s[3] for s in settings]
        rule = {"learning_rate": learning_rate, "steps": steps}
        proxies = fit_many(images, initial, labels, temperatures=taus, confidences=alphas, **rule)
    return tuple(SweepPoint(*setting, fit) for setting, fit in zip(settings, proxies, strict=True))


def _labels(
    images: Tensor, weights: Tensor, plan: Plan, temperature: float, prior: Tensor | Sequence[float] | None
) -> Tensor:
    dtype = working_dtype(images, weights)
    logits = torch.cat([x.to(dtype) @ weights.to(dtype).T for x in images.split(1 << 18)])
    if plan == "softmax":
        check_positive(temperature, "text_temperature")
        return (logits / temperature).softmax(dim=1)
    if plan == "sinkhorn":
        return sinkhorn(logits, temperature=temperature, prior=prior).pseudo_labels
    if plan == "converged":
        rule = {"iterations": 10_000, "tolerance": 1e-6}
        return sinkhorn(logits, temperature=temperature, prior=prior, **rule).pseudo_labels
    if plan == "released":
        return greenkhorn(logits, temperature=temperature, prior=prior, start="released").pseudo_labels
    raise InputError(f"plan must be 'softmax', 'sinkhorn', 'converged' or 'released', not {plan!r}")


def _solved(images: Tensor, settings: list[tuple], intercept: bool) -> list[VisionProxies]:
    """One factorisation and one solve for each τ, handed back in the order of the settings."""
    proxies: list = [None] * len(settings)
    for tau in dict.fromkeys(setting[2] for setting in settings):
        rows = [row for row, setting in enumerate(settings) if setting[2] == tau]
        system = ridge_system(images, check_positive(tau, "temperatures"))
        for row, fit in zip(rows, solved(system, [settings[row][5] for row in rows], intercept), strict=True):
            proxies[row] = fit
    return proxies


@torch.no_grad()
def fit_many(
    images: Tensor,
    initial: Sequence[Tensor],
    pseudo_labels: Sequence[Tensor],
    *,
    temperatures: Sequence[float],
    confidences: Sequence[float],
    learning_rate: float = 10.0,
    steps: int = 2000,
) -> tuple[VisionProxies, ...]:
    """`fit_proxies` for B settings on the same images, stepped together: one product serves all B.

    Args:
        images: unit rows `[N, D]`.
        initial: B tensors `[C, D]` of unit rows.
        pseudo_labels: B tensors `[N, C]`.
        temperatures, confidences: B values τ and α.
        learning_rate, steps: as in `fit_proxies`.

    Returns:
        B VisionProxies; a setting whose steps have died out leaves the batch.

    Raises:
        InputError: if the B settings do not fit together.

    >>> x, y = torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    >>> both = fit_many(x, [x, x], [y, y], temperatures=[0.04, 0.1], confidences=[0.6, 1.0])
    >>> len(both)
    2

    Chapter: ch-vision-proxies
    """
    check_images(images)
    check_count(steps, "steps", minimum=0)
    check_positive(learning_rate, "learning_rate")
    sizes = [len(x) for x in (initial, pseudo_labels, temperatures, confidences)]
    if not sizes[0] or len(set(sizes)) > 1:
        names = "initial, pseudo_labels, temperatures, confidences"
        raise InputError(f"{names} have lengths {sizes}: give one of each for every setting")
    for w, y, tau, alpha in zip(initial, pseudo_labels, temperatures, confidences, strict=True):
        check_proxies(w, images)
        check_plan(y, images, classes=len(initial[0]))
        check_positive(tau, "temperatures")
        check_positive(alpha, "confidences")
    dtype = working_dtype(images, *initial, *pseudo_labels)
    proxies = []
    for part in _batches(len(initial), pseudo_labels[0].numel() * dtype.itemsize):
        start = torch.stack([initial[i].to(dtype) for i in part])
        labels = torch.stack([harden(pseudo_labels[i].to(dtype), confidences[i]).T for i in part])
        tau = torch.tensor([temperatures[i] for i in part], dtype=torch.float64, device=images.device)
        end = descend(images, start, labels, tau, learning_rate, steps)
        proxies += [fitted(end, row, images, pseudo_labels[i], dtype) for row, i in enumerate(part)]
    return tuple(proxies)


def _batches(count: int, size: int) -> Iterator[range]:
    """Settings `0..count` in ranges whose pseudo labels, of `size` bytes each, stay within LABEL_BYTES."""
    together = max(1, LABEL_BYTES // size)
    for first in range(0, count, together):
        yield range(first, min(count, first + together))
