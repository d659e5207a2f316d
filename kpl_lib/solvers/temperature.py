"""Temperature scaling on pseudo labels: one number that turns scores into probabilities, without a label."""

import math

import torch
from torch import Tensor

SOFTEST, SHARPEST = 1e-2, 1e3  # bounds of β, in units of 1 / (spread of the scores)


@torch.no_grad()
def softmax_temperature(scores: Tensor, pseudo_labels: Tensor) -> float:
    """Temperature t that makes softmax(S/t) as close to the pseudo labels as one number can.

        t = argmin −Σ_ij Ỹ_ij log softmax(S_i/t)_j,   Ỹ_ij = Y_ij / Σ_j Y_ij
        or, the same:   Σ_ij Ỹ_ij S_ij = Σ_ij softmax(S_i/t)_j S_ij

    Why: the released proxies fit labels of mass 1 instead of N, so their own softmax is ~1/C everywhere
    and says nothing. The pseudo labels carry the confidence of the text model; this hands it on, lowered
    where scores and pseudo labels disagree. Limits: it is one number, found without a label. Where the
    text is wrong, the confidence is wrong with it; if scores and pseudo labels disagree throughout, t is
    large and the probabilities near 1/C.

    Args:
        scores: `[N, C]`.
        pseudo_labels: Y `[N, C]`, of any scale; rows without mass count as uniform.

    Returns:
        t > 0, in units of the scores.

    >>> softmax_temperature(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.9, 0.1], [0.1, 0.9]]))
    0.910...

    Source: temperature scaling (Guo et al. 2017, arXiv 1706.04599) with pseudo labels in place of labels.
    Chapter: ch-closed-form
    """
    y, s = (x.double().T.contiguous() for x in (pseudo_labels, scores))  # [C, N]: a softmax over rows is slow
    mass = y.sum(dim=0)
    y = torch.where(mass > 0, y / mass, 1 / len(y))
    spread = float((s - s.mean(dim=0)).square().mean().sqrt())
    if spread == 0:
        return 1.0
    lag = (s.amax(dim=0) - s) / spread
    return spread / _solve(lag, float((y * lag).sum()))


def _solve(lag: Tensor, wanted: float) -> float:
    """β = 1/t with `Σ_ij softmax(−β lag_i)_j lag_ij = wanted`: Newton steps inside a bracket; lag is `[C, N]`.

    The logarithm of the left side falls with β and is convex, so from the left the steps never overshoot.
    """
    low, high, beta = SOFTEST, SHARPEST, 1.0
    for _ in range(100):
        weighted = (-beta * lag).softmax(dim=0).mul_(lag)
        mean = weighted.sum(dim=0)
        found, slope = float(mean.sum()), float((weighted * lag).sum() - mean @ mean)
        low, high = (beta, high) if found > wanted else (low, beta)
        new = beta + math.log(found / wanted) * found / slope if min(found, wanted, slope) > 0 else high
        if not low < new < high:
            new = math.sqrt(low * high)
        if abs(new - beta) <= 1e-6 * beta:
            return new
        beta = new
    return beta
