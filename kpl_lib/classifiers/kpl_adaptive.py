"""kpl-adaptive: move from the text to the images, from several starts, where the images ask for it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.agreement import text_agreement
from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.mixture import (
    Cloud,
    EvidenceModel,
    Mixture,
    diagonal_rounds,
    fit_mixture,
    fit_ridge_mixture,
    text_alone,
    text_evidence,
)
from kpl_lib.classifiers.start import start_rows
from kpl_lib.common.checks import check_images, check_prior
from kpl_lib.features import TextBank


@register("kpl-adaptive")
@dataclass(eq=False)
class KPLAdaptive(Classifier):
    """The likeliest of four mixtures over few, telling directions, left where the images do not ask for it.

    1. Four starts, each responsibilities Z `[N, C]`: Gaussians over the text scores `X Tᵀ`; six rounds of `kpl-em`
       from the text evidence ℓ (the text with its own class shares divided out); two from the text as it is; ten
       rounds of Gaussians with one variance a feature, from the 8 images that the text is surest of.
    2. From each, `rounds` times: the Fisher directions `V = (S_within + τ_i ‖u‖ I)⁻¹ (m_c − m̄)` of Z, and Gaussians
       over `f = [X Tᵀ, X V]`, led by λ ℓ (`kpl_lib.classifiers.mixture.fit_mixture`).
    3. Of the four the one with the largest likelihood, which is what the rounds climb: a mixture has several
       optima, and starts that fall into a worse one are found out by it.
    4. The images ask for a move where C Gaussians describe the text scores better than one does (the support s > 0),
       or where they refute the class shares of the text by more: `s + D > 0`, with the contradiction
       `D = Σ_c q_c log(q_c/h_c)`, q the shares of the mixture, h those of the text's labels. Both are nats an
       image. Else, and where the text contradicts the class names, the text proxies stay, with a warning.

    The shares q are estimated on the way and left out of the decision, which is the one for equally common
    classes (balanced accuracy); `decision="posterior"` keeps them (accuracy).

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the evidence, in units of cosines.
        temperature: τ_i of the ridge.
        strength: λ of the evidence.
        rounds: how often the Fisher directions are renewed.
        decision: `balanced` or `posterior`.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLAdaptive(k=1).fit(torch.eye(2).repeat(9, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: this project, after Fisher-EM (Bouveyron and Brunet 2012), ICL (Biernacki et al. 2000) and the closed
    form of KPL. Chosen on dev seeds of three phantom encoders and on three real sets.
    Cost: `XᵀX`, a D x D solve a round and start, and mixtures in 2C dimensions. Order-free; predicts new images.
    Chapter: ch-failures
    """

    text: str = "top-k"
    text_temperature: float = 0.01
    temperature: float = 0.04
    strength: float = 3.0
    rounds: int = 2
    decision: str = "balanced"
    transductive: ClassVar[bool] = True
    model_type: ClassVar[type] = EvidenceModel
    choices: ClassVar[dict] = {"decision": ("balanced", "posterior")}

    @torch.no_grad()
    def _fit(self, images: Tensor, bank: TextBank, prior: Tensor | Sequence[float] | None) -> tuple:
        check_images(images)
        rows, chosen = start_rows(bank, images, self.text, self.k)
        text = F.normalize(torch.stack([texts.mean(dim=0) for texts in rows]), dim=1)
        cloud = Cloud.of(images, self.temperature)
        shares = None if prior is None else check_prior(prior, len(bank)).to(images.device)
        logits = cloud.images @ text.double().T
        evidence, log_mass = text_evidence(logits, self.text_temperature)
        told = (logits / self.text_temperature).log_softmax(dim=1)
        first = self._mixture(logits, evidence, told.exp(), shares)
        starts = (
            first.responsibilities,
            fit_ridge_mixture(cloud, evidence, evidence.softmax(dim=1), iterations=6, prior=shares)[-1],
            fit_ridge_mixture(cloud, evidence, told.exp(), iterations=2, prior=shares)[-1],
            diagonal_rounds(cloud.images, told),
        )
        fits = [self._fisher_rounds(cloud, text.double(), evidence, z, shares) for z in starts]
        found, basis = max(fits, key=lambda fit: fit[0].likelihood)
        text_shares = label_shares(logits)
        agreement = text_agreement(images, rows, bank.names.to(images.device))
        said = {
            "support": first.support,
            "contradiction": contradiction(found.log_shares.exp(), text_shares),
            "names": agreement.names,
            "halves": agreement.halves,
            "text_shares": text_shares,
        }
        doubts = agreement.doubts
        if said["support"] + said["contradiction"] <= 0:
            doubts += (f"the images do not support {len(bank)} classes (support {said['support']:.2f})",)
        for doubt in doubts:
            warnings.warn(f"{doubt}; kpl-adaptive stays with the text proxies", UserWarning, stacklevel=3)
        if doubts:
            return text_alone(text, self.text_temperature, **said), chosen
        if said["support"] <= 0 and shares is None:
            warnings.warn(
                _refuted(text_shares, found.log_shares.exp(), bank.class_names), UserWarning, stacklevel=3
            )
        offsets = found.offsets + (found.log_shares if self.decision == "posterior" else 0)
        fitted = (found.weights @ basis, offsets, text, log_mass, found.log_shares.exp())
        return EvidenceModel(*fitted, self.strength, self.text_temperature, **said), chosen

    def _mixture(self, features: Tensor, evidence: Tensor, z: Tensor, shares: Tensor | None) -> Mixture:
        return fit_mixture(features, evidence, z, strength=self.strength, prior=shares)

    def _fisher_rounds(
        self, cloud: Cloud, text: Tensor, evidence: Tensor, z: Tensor, shares: Tensor | None
    ) -> tuple[Mixture, Tensor]:
        """The mixture over text scores and Fisher directions that a start leads to, and these directions."""
        for _ in range(self.rounds):
            basis = torch.cat([text, cloud.fisher_directions(z)])
            found = self._mixture(cloud.images @ basis.T, evidence, z, shares)
            z = found.responsibilities
        return found, basis


def _refuted(text_shares: Tensor, shares: Tensor, names: Sequence[str]) -> str:
    """The class that the text overrates most, in words."""
    c = int((text_shares - shares).argmax())
    told, seen = (f"{100 * float(q[c]):.0f} %" for q in (text_shares, shares))
    return (
        f"the text gives {told} of the images to {names[c]!r}; the images say {seen}: kpl-adaptive follows the images, "
        "which do not fall into clear classes; check some labels by hand"
    )


def label_shares(logits: Tensor) -> Tensor:
    """Shares of the classes among the labels of scores `[N, C]`: `(count + 1)/(N + C)`, `[C]`."""
    n, c = logits.shape
    return (torch.bincount(logits.argmax(dim=1), minlength=c) + 1.0).double() / (n + c)


def contradiction(shares: Tensor, text_shares: Tensor) -> float:
    """`D = Σ_c q_c log(q_c/h_c)`, in nats an image: by how much the images refute the text's class shares.

    Args:
        shares: q `[C]`, of the images.
        text_shares: h `[C]`, of the text's labels.

    Returns:
        D, at least 0.

    >>> contradiction(torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    0.0

    Chapter: ch-failures
    """
    return float((shares * (shares / text_shares).log()).sum())
