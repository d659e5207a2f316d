"""Temperature scaling on pseudo labels: one number that turns scores into probabilities, without a label."""

import math

import torch
from torch import Tensor

LOOK = 10  # steps between two looks of the host at another device
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
    spread = (s - s.mean(dim=0)).square().mean().sqrt()
    lag = (s.amax(dim=0) - s) / torch.where(spread > 0, spread, 1)
    if lag.device.type == "cpu":
        return float(spread) / _solve(lag, float((y * lag).sum())) if spread else 1.0
    return _solve_elsewhere(lag, (y * lag).sum(), spread)


def _solve(lag: Tensor, wanted: float) -> float:
    """β = 1/t with `Σ_ij softmax(−β lag_i)_j lag_ij = wanted`: Newton steps inside a bracket; lag is `[C, N]`.

    The logarithm of the left side falls with β and is convex, so from the left the steps never overshoot.
    """
    low, high, beta = SOFTEST, SHARPEST, 1.0
    for _ in range(100):
        found, slope = map(float, _sums(lag, beta))
        low, high = (beta, high) if found > wanted else (low, beta)
        new = beta + math.log(found / wanted) * found / slope if min(found, wanted, slope) > 0 else high
        if not low < new < high:
            new = math.sqrt(low * high)
        if abs(new - beta) <= 1e-6 * beta:
            return new
        beta = new
    return beta


def _solve_elsewhere(lag: Tensor, wanted: Tensor, spread: Tensor) -> float:
    """The same, as spread/β, on a device that a look of the host makes wait: it looks every `LOOK` steps."""
    low, high, beta = (spread.new_full((), value) for value in (SOFTEST, SHARPEST, 1.0))
    near = spread == 0
    for _ in range(100 // LOOK):
        for _ in range(LOOK):
            found, slope = _sums(lag, beta)
            low, high = torch.where(found > wanted, beta, low), torch.where(found > wanted, high, beta)
            inside = torch.minimum(torch.minimum(found, wanted), slope) > 0
            new = torch.where(inside, beta + (found / wanted).log() * found / slope, high)
            new = torch.where((low < new) & (new < high), new, (low * high).sqrt())
            beta, near = torch.where(near, beta, new), near | ((new - beta).abs() <= 1e-6 * beta)
        done, t = torch.stack([near.double(), torch.where(spread > 0, spread / beta, 1)]).tolist()
        if done:
            break
    return t


def _sums(lag: Tensor, beta: float | Tensor) -> tuple[Tensor, Tensor]:
    """The left side of `_solve`, and how fast it falls with β."""
    weighted = (-beta * lag).softmax(dim=0).mul_(lag)
    mean = weighted.sum(dim=0)
    return mean.sum(), (weighted * lag).sum() - mean @ mean
