"""Gaussian mixtures over image features with text evidence for every image: what kpl-em and kpl-adaptive fit.

`EvidenceModel` is what they predict with: a linear score of the image plus the evidence of the text.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kpl_lib.common.checks import check_same_space, check_unit_rows, working_dtype
from kpl_lib.features import mean_image

FLOOR = 1e-2  # share of the total variance that is added to each within-class variance
EVERY = 5  # iterations between two covariances
BLOCK = 1 << 14  # images scored together
RANK = 1e-8  # directions with less than this share of the largest variance are left out


@dataclass(frozen=True, eq=False)
class Mixture:
    """C Gaussians with one covariance, as linear scores of the features.

    Args:
        weights: `[C, F]`; `features · weights + offsets` is `log N(x; m_c, Σ)` up to a term that all classes share.
        offsets: `[C]`.
        log_shares: log class shares `[C]`.
        responsibilities: `[N, C]`, rows sum to 1; the text evidence is part of them.
        measured: support and likelihood, `[2]`, to be read together.

    Chapter: ch-failures
    """

    weights: Tensor
    offsets: Tensor
    log_shares: Tensor
    responsibilities: Tensor
    measured: Tensor

    @property
    def support(self) -> float:
        """Integrated classification likelihood over that of one Gaussian, in nats an image."""
        return float(self.measured[0])

    @property
    def likelihood(self) -> float:
        """Log-likelihood with the text over that of one Gaussian, in nats an image: what the rounds climb."""
        return float(self.measured[1])


@dataclass(frozen=True, eq=False)
class Cloud:
    """Images, with the moments that every mixture over them reads; all float64.

    Args:
        images: unit rows X `[N, D]`.
        mean: u, `[D]`.
        scatter: `XᵀX/N − u uᵀ`, `[D, D]`.
        ridge: `τ ‖u‖ I`, `[D, D]`.

    Chapter: ch-failures
    """

    images: Tensor
    mean: Tensor
    scatter: Tensor
    ridge: Tensor

    @staticmethod
    def of(images: Tensor, temperature: float) -> "Cloud":
        """The moments of images `[N, D]`, with the ridge of a temperature τ."""
        x, u = images.double(), mean_image(images)
        ridge = temperature * u.norm().clamp_min(1e-12) * torch.eye(len(u), dtype=x.dtype, device=x.device)
        return Cloud(x, u, x.T @ x / len(x) - torch.outer(u, u), ridge)

    def means(self, responsibilities: Tensor) -> tuple[Tensor, Tensor]:
        """Class means about u, `[C, D]`, and class counts `[C]`."""
        counts = responsibilities.sum(dim=0).clamp_min(1e-12)
        return responsibilities.T @ self.images / counts[:, None] - self.mean, counts

    def within(self, means: Tensor, counts: Tensor) -> Tensor:
        """Scatter about the class means, `[D, D]`."""
        return self.scatter - means.T @ (means * counts[:, None]) / len(self.images)

    def fisher_directions(self, responsibilities: Tensor) -> Tensor:
        """`V = (S_within + τ‖u‖ I)⁻¹ (m_c − m̄)`, `[C, D]`."""
        means, counts = self.means(responsibilities)
        return _solved(self.within(means, counts) + self.ridge, means - means.mean(dim=0))


def _solved(matrix: Tensor, rows: Tensor) -> Tensor:
    """`A⁻¹ r` of each row, A positive definite by what was added to it; so the host need not look whether it is."""
    return torch.linalg.solve_ex(matrix, rows.T).result.T


def text_evidence(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """What the text says of each image, with the text's own class shares divided out.

    `P = softmax(L/τ)`,  `Λ_ic = log P_ic − log mean_i P_ic`: Bayes' rule turns `p(c|i)` into `p(i|c)/p(i)`.

    Args:
        logits: cosines of images and text proxies `[N, C]`.
        temperature: τ.

    Returns:
        Λ `[N, C]`, and `log mean_i P_ic`, `[C]`, which new images need too.

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
    rank: int | None = None,
) -> Mixture:
    """Expectation maximisation for class means, one covariance, and class shares, led by text evidence.

    E:  `Z_ic ∝ q_c exp(ω Λ_ic) N(x_i; m_c, Σ)`
    M:  `m_c = Σ_i Z_ic x_i / Σ_i Z_ic`,  `Σ = within-class scatter / N`,  `q_c = (Σ_i Z_ic + 1)/(N + C)`

    The support says whether the C Gaussians describe the features better than one does, counting how sure
    they are of each image (ICL): `(1/N) Σ_i [log Σ_c q_c N_c(x_i) − log N(x_i) − entropy_i] − ½ (C−1)(F+1) log N / N`,
    with the entropy of `q_c N_c(x_i)` over the classes. The text plays no part in it.

    Args:
        features: x, float64 `[N, F]`, any scale, few columns.
        evidence: Λ `[N, C]`.
        start: responsibilities to start from, `[N, C]`.
        strength: ω.
        iterations: of both steps.
        prior: class shares `[C]` to keep in place of estimating them.
        rank: the most independent columns that the features can have, where fewer than F; it saves work on a GPU.

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
    centre, basis, rank = _whitening(features, min(features.shape[1], rank or features.shape[1]))
    f = (features - centre) @ basis
    floor = FLOOR * torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    z = start
    for _ in range(iterations):
        counts = z.sum(dim=0).clamp_min(1e-12)
        means = (z.T @ f) / counts[:, None]
        within = f.T @ f / n - means.T @ (means * counts[:, None]) / n + floor
        directions = _solved(within, means)
        offsets = -0.5 * (directions * means).sum(dim=1)
        log_shares = ((counts + 1) / (n + c)).log() if prior is None else prior.to(f).log()
        density = f @ directions.T + offsets + log_shares
        z = (density + strength * evidence).softmax(dim=1)
    gain = _gain(f, density, within, rank)
    support = (gain - _entropy(density)).mean() - 0.5 * (c - 1) * (rank + 1) * math.log(n) / n
    led = (density + strength * evidence).logsumexp(dim=1) - density.logsumexp(dim=1)
    weights, measured = directions @ basis.T, torch.stack([support, (gain + led).mean()])
    return Mixture(weights, offsets - weights @ centre, log_shares, z, measured)


def _whitening(features: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[F]`, basis `[F, R]` and its rank: the features have unit variance in every direction that they use.

    On the CPU R is the rank. Elsewhere the host would have to ask for it, so R is `most`, and the others are zero.
    """
    centre = features.mean(dim=0)
    spread = features - centre
    values, vectors = torch.linalg.eigh(spread.T @ spread / len(features))
    kept = values > RANK * values.max().clamp_min(1e-300)
    most = max(1, int(kept.sum())) if kept.device.type == "cpu" else most
    scale = torch.where(kept, values, torch.inf).sqrt()
    return centre, (vectors / scale)[:, -most:], kept.sum()  # the values rise


def _gain(f: Tensor, density: Tensor, within: Tensor, rank: Tensor) -> Tensor:
    """Log density of the mixture less that of one Gaussian, for each image; `f` has unit variance, or none."""
    precision = torch.linalg.inv_ex(within).inverse
    volume = torch.linalg.slogdet(within).logabsdet - (f.shape[1] - rank) * math.log(FLOOR)
    shared = -0.5 * ((f @ precision) * f).sum(dim=1) - 0.5 * volume
    return density.logsumexp(dim=1) + shared + 0.5 * (f * f).sum(dim=1)


def _entropy(density: Tensor) -> Tensor:
    log_z = density.log_softmax(dim=1)
    return -(log_z.exp() * log_z).sum(dim=1)


@torch.no_grad()
def fit_ridge_mixture(
    cloud: Cloud,
    evidence: Tensor,
    start: Tensor,
    *,
    sharpness: float = 5.0,
    strength: float = 1.0,
    iterations: int = 30,
    prior: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Expectation maximisation in all D dimensions, with a ridge under the covariance.

    `Z_ic ∝ q_c exp(κ (x̃_i A m_c − ½ m_c A m_c) + ω Λ_ic)`,  `A = (Σ + τ_i ‖u‖ I)⁻¹`; x̃ is x about the mean
    image u and across it, and A is renewed every 5th iteration.

    Args:
        cloud: the images.
        evidence: Λ `[N, C]`.
        start: responsibilities to start from, `[N, C]`.
        sharpness: κ, an exponent of the likelihood.
        strength: ω.
        iterations: how many.
        prior: class shares q `[C]` to keep; None estimates them, `q_c = (Σ_i Z_ic + 1)/(N + C)`.

    Returns:
        Weights `[C, D]` and offsets `[C]` of the scores `κ (x̃ A m_c − ½ m_c A m_c)`, shares `[C]`, Z `[N, C]`.

    Chapter: ch-failures
    """
    n, c = start.shape
    axis = cloud.mean / cloud.mean.norm().clamp_min(1e-12)

    def across(rows: Tensor) -> Tensor:
        return rows - torch.outer(rows @ axis, axis)

    def lines() -> tuple[Tensor, Tensor, Tensor]:
        weights = sharpness * _solved(within + cloud.ridge, means)
        shares = (counts + 1) / (n + c) if prior is None else prior
        return weights, -0.5 * (weights * means).sum(dim=1), shares

    z = start
    scatter = across(across(cloud.scatter).T)
    within, (means, counts) = scatter, cloud.means(z)
    means = across(means)
    for step in range(iterations):
        weights, offsets, shares = lines()
        z = (cloud.images @ weights.T + offsets + shares.log() + strength * evidence).softmax(dim=1)
        means, counts = cloud.means(z)
        means = across(means)
        if step % EVERY == EVERY - 1:
            within = scatter - means.T @ (means * counts[:, None]) / n
    return *lines(), z


@dataclass(frozen=True, eq=False)
class EvidenceModel:
    """Scores `x · w_c + b_c + ω (log softmax_c(x Tᵀ/τ) − m_c)`, in nats.

    Args:
        weights: w, float64 `[C, D]`.
        offsets: b, `[C]`.
        text: unit text proxies T `[C, D]`.
        log_mass: m, log mean text probability of each class, `[C]`.
        shares: class shares that the fit ended with, `[C]`.
        strength: ω.
        temperature: τ.
        moved: whether the fit left the text proxies; False gives the text proxies alone.
        support: how much better C Gaussians describe the images than one, in nats an image; nan where not asked.
        contradiction: how much the images refute the text's class shares, in nats an image; nan where not asked.
        names, halves: agreement of the text, see `kpl_lib.classifiers.agreement`; nan where not asked.
        text_shares: class shares of the text's labels `[C]`; None where not asked.

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
    contradiction: float = float("nan")
    names: float = float("nan")
    halves: float = float("nan")
    text_shares: Tensor | None = None

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
