"""A Gaussian mixture over image features with text evidence for every image: what kpl-em and kpl-adaptive fit.

`EvidenceModel` is what they predict with: a linear score of the image plus the evidence of the text.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import check_same_space, check_unit_rows, working_dtype

FLOOR = 1e-2  # share of the total variance that is added to each within-class variance
RANK = 1e-8  # directions with less than this share of the largest variance are left out


@dataclass(frozen=True, eq=False)
class Mixture:
    """C Gaussians with one covariance, as linear scores of the features.

    Args:
        weights: `[C, d]`; `features · weights + offsets` is `log N(f; m_c, W)` up to a term that all classes share.
        offsets: `[C]`.
        log_shares: log class shares `[C]`.
        responsibilities: `[N, C]`, rows sum to 1; the text evidence is part of them.
        support: integrated classification likelihood over that of one Gaussian, in nats an image.

    Chapter: ch-failures
    """

    weights: Tensor
    offsets: Tensor
    log_shares: Tensor
    responsibilities: Tensor
    support: float


def text_evidence(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """What the text says of each image, with the text's own class shares divided out.

    `p = softmax(L/τ)`,  `ℓ_ic = log p_ic − log mean_i p_ic`: Bayes' rule turns `p(c|i)` into `p(i|c)/p(i)`.

    Args:
        logits: cosines of images and text proxies `[N, C]`.
        temperature: τ.

    Returns:
        ℓ `[N, C]`, and `log mean_i p_ic`, `[C]`, which new images need too.

    >>> evidence, log_mass = text_evidence(torch.tensor([[0.30, 0.10], [0.28, 0.20]]), temperature=0.1)
    >>> evidence.shape, round(float(log_mass.exp().sum()), 4)
    (torch.Size([2, 2]), 1.0)

    Chapter: ch-failures
    """
    log_p = (logits / temperature).log_softmax(dim=1)
    log_mass = log_p.logsumexp(dim=0) - math.log(len(logits))
    return log_p - log_mass, log_mass


@torch.no_grad()
def fit_mixture(
    features: Tensor,
    evidence: Tensor,
    start: Tensor,
    *,
    strength: float = 1.0,
    iterations: int = 50,
    prior: Tensor | None = None,
) -> Mixture:
    """Expectation maximisation for class means, one covariance, and class shares, led by text evidence.

    E:  `Z_ic ∝ q_c exp(λ ℓ_ic) N(f_i; m_c, W)`
    M:  `m_c = Σ_i Z_ic f_i / Σ_i Z_ic`,  `W = within-class scatter / N`,  `q_c = (Σ_i Z_ic + 1)/(N + C)`

    The support says whether the C Gaussians describe the features better than one does, counting how sure
    they are of each image (ICL): `(1/N) Σ_i [log Σ_c q_c N_c(f_i) − log N(f_i) − H_i] − ½ (C−1)(d+1) log N / N`,
    H_i the entropy of `q_c N_c(f_i)` over the classes. The text plays no part in it.

    Args:
        features: float64 `[N, d]`, any scale, few columns.
        evidence: ℓ `[N, C]`.
        start: responsibilities to start from, `[N, C]`.
        strength: λ.
        iterations: of both steps.
        prior: class shares `[C]` to keep in place of estimating them.

    Returns:
        Mixture.

    >>> f = torch.tensor([[0.0], [0.1], [1.0], [1.1]], dtype=torch.float64)
    >>> z = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]], dtype=torch.float64)
    >>> fit_mixture(f, z.log(), z).responsibilities.argmax(dim=1).tolist()
    [0, 0, 1, 1]

    Source: Dempster et al. 1977; Biernacki et al. 2000 (ICL).
    Chapter: ch-failures
    """
    n, c = start.shape
    centre, basis = _whitening(features)
    f = (features - centre) @ basis
    floor = FLOOR * torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    z = start
    for _ in range(iterations):
        counts = z.sum(dim=0).clamp_min(1e-12)
        means = (z.T @ f) / counts[:, None]
        within = f.T @ f / n - means.T @ (means * counts[:, None]) / n + floor
        directions = torch.linalg.solve(within, means.T).T
        offsets = -0.5 * (directions * means).sum(dim=1)
        log_shares = ((counts + 1) / (n + c)).log() if prior is None else prior.to(f).log()
        density = f @ directions.T + offsets + log_shares
        z = (density + strength * evidence).softmax(dim=1)
    support = _support(f, density, within)
    weights = directions @ basis.T
    return Mixture(weights, offsets - weights @ centre, log_shares, z, support)


def _whitening(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and basis `[d, r]` in which the features have unit variance in every direction that they use."""
    centre = features.mean(dim=0)
    spread = features - centre
    values, vectors = torch.linalg.eigh(spread.T @ spread / len(features))
    kept = values > RANK * values.max().clamp_min(1e-300)
    return centre, vectors[:, kept] / values[kept].sqrt()


def _support(f: Tensor, density: Tensor, within: Tensor) -> float:
    """ICL of the mixture less that of one Gaussian, in nats an image; `f` has unit variance."""
    n, d = f.shape
    c = density.shape[1]
    precision = torch.linalg.inv(within)
    shared = -0.5 * ((f @ precision) * f).sum(dim=1) - 0.5 * torch.linalg.slogdet(within).logabsdet
    gain = density.logsumexp(dim=1) + shared + 0.5 * (f * f).sum(dim=1)
    log_z = density.log_softmax(dim=1)
    entropy = -(log_z.exp() * log_z).sum(dim=1)
    return float((gain - entropy).mean()) - 0.5 * (c - 1) * (d + 1) * math.log(n) / n


BLOCK = 1 << 14  # images scored together


@dataclass(frozen=True, eq=False)
class EvidenceModel:
    """Scores `x · w_c + b_c + λ (log softmax_c(x Tᵀ/τ) − m_c)`, in nats.

    Args:
        weights: w, float64 `[C, D]`.
        offsets: b, `[C]`.
        text: unit text proxies T `[C, D]`.
        log_mass: m, log mean text probability of each class, `[C]`.
        shares: class shares that the fit ended with, `[C]`.
        strength: λ.
        temperature: τ.
        moved: whether the fit left the text proxies; False gives the text proxies alone.
        support: how much better C Gaussians describe the images than one, in nats an image; nan where not asked.
        names, halves: agreement of the text, see `kpl_lib.classifiers.agreement`; nan where not asked.

    Chapter: ch-failures
    """

    weights: Tensor
    offsets: Tensor
    text: Tensor
    log_mass: Tensor
    shares: Tensor
    strength: float
    temperature: float
    moved: bool = True
    support: float = float("nan")
    names: float = float("nan")
    halves: float = float("nan")

    def scores(self, images: Tensor) -> Tensor:
        """Scores of images `[N, D]`, fitted or new: `[N, C]`."""
        check_unit_rows(images, "images")
        check_same_space(self.weights, images, "weights")
        return torch.cat([self._block(x.double()) for x in images.split(BLOCK)]).to(working_dtype(images))

    def _block(self, x: Tensor) -> Tensor:
        told = (x @ self.text.double().T / self.temperature).log_softmax(dim=1) - self.log_mass
        return x @ self.weights.T + self.offsets + self.strength * told

    def probabilities(self, images: Tensor) -> Tensor:
        """`softmax(scores)`, `[N, C]`."""
        return self.scores(images).softmax(dim=1)


def text_alone(text: Tensor, temperature: float, **found) -> EvidenceModel:
    """The model that stays with the text proxies: scores `log softmax(x Tᵀ/τ)`.

    Args:
        text: unit text proxies `[C, D]`.
        temperature: τ.
        found: what else was measured, such as `support`.

    Returns:
        A model whose fitted part is zero.

    Chapter: ch-failures
    """
    none = torch.zeros(len(text), dtype=torch.float64, device=text.device)
    weights, shares = torch.zeros_like(text, dtype=torch.float64), torch.full_like(none, 1 / len(text))
    return EvidenceModel(weights, none, text, none, shares, 1.0, temperature, moved=False, **found)
