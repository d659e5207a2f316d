"""kpl-adaptive: move from the text to the images, from several starts, where the images ask for it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.agreement import LEAST, text_agreement
from kpl_lib.classifiers.base import Classifier, register
from kpl_lib.classifiers.gaussians import counts_of, diagonal_rounds
from kpl_lib.classifiers.mixture import (
    Cloud,
    EvidenceModel,
    Mixture,
    fit_mixture,
    fit_ridge_mixture,
    text_alone,
    text_evidence,
)
from kpl_lib.classifiers.opinions import OpinionPool
from kpl_lib.classifiers.start import start_rows, temperature_of
from kpl_lib.common.checks import check_prior
from kpl_lib.features import TextBank, one_by_one
from kpl_lib.text_proxies import numbers_of

TIE = 0.02  # nats an image; fits closer than this are as likely
WRONG_WAY = 0.15  # agreement with the class names below which the text is warned of
NEVER = -1e6  # log probability, for a labelled image, of the other classes
WEIGHT = 0.5  # of the labelled images of a class, in shares of what an even share of the others weighs
CONFIDENT = 8  # images that open a class of the fourth start, at least
OVERRATED = 0.1  # share of the images that the text gives to a class too many, from which on it is told


@register("kpl-adaptive")
@dataclass(eq=False)
class KPLAdaptive(Classifier):
    """The likeliest of four mixtures over few, telling directions, left where the images do not ask for it.

    1. Four starts, each responsibilities Z `[N, C]`: Gaussians over the text scores `X Tᵀ`; six rounds of `kpl-em`
       from the text evidence Λ (the text with its own class shares divided out); two from the text as it is; ten
       rounds of Gaussians with one variance a feature, from the 8 images that the text is surest of.
    2. From each, `rounds` times: the Fisher directions `(Σ + τ_i ‖u‖ I)⁻¹ (m_c − m̄)` of Z, and Gaussians
       over the text scores and the products with them, led by ω Λ (`kpl_lib.classifiers.mixture.fit_mixture`).
    3. Of the four the one with the largest likelihood, which is what the rounds climb: a mixture has several
       optima, and starts that fall into a worse one are found out by it. Where several are as likely, to `TIE` nats
       an image, the first of them, as it starts nearest to the text.
    4. The images ask for a move where C Gaussians describe the text scores better than one does (the support > 0),
       or where they refute the class shares of the text by more: `support + contradiction > 0`, with
       `contradiction = Σ_c q_c log(q_c/h_c)`, q the shares of the mixture, h those of the text's labels. Both are nats
       an image. Else, and where the text hardly agrees with the class names, the text proxies stay. `findings` says
       what was seen; a text that points the wrong way is warned of.

    A labelled image is its class, `Λ = log onehot`, in every start and round. It counts as several images, as many as
    make those of the class with most of them weigh half an even share of the images without a label. Labels open the
    gate, as groups that hold them are no guess; the text proxies, and what they say of new images, stay as they were.

    Of several encoders that were joined, each is fitted alone, with its own nearest descriptions, and their log
    probabilities are averaged (a log opinion pool): side by side in one mixture they share one optimum and
    its errors, apart they correct each other. One whose text contradicts the names has no voice, where others have.

    The shares q are estimated on the way and left out of the decision, which is the one for equally common
    classes (balanced accuracy); `decision="posterior"` keeps them (accuracy).

    Args:
        text, k: where the text proxies come from; the default is the 8 nearest descriptions of each class.
        text_temperature: τ_t of the evidence, in units of cosines; None takes that of the encoder, of several each its
            own.
        temperature: τ_i of the ridge.
        strength: ω of the evidence.
        rounds: how often the Fisher directions are renewed.
        decision: `balanced` or `posterior`.

    Example:
        >>> import torch
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> KPLAdaptive(k=1).fit(torch.eye(2).repeat(9, 1), bank).predict(torch.eye(2)).labels.tolist()
        [0, 1]

    Source: this project, after Fisher-EM (Bouveyron and Brunet 2012), ICL (Biernacki et al. 2000) and the closed
    form of KPL. Chosen on dev seeds of three phantom encoders and on three real sets; the weight of labelled images
    on half of them.
    Cost: `XᵀX`, a D x D solve a round and start, and mixtures in 2C dimensions. Order-free; predicts new images.
    Chapter: ch-failures
    """

    text: str = "top-k"
    text_temperature: float | None = None
    temperature: float = 0.04
    strength: float = 3.0
    rounds: int = 2
    decision: str = "balanced"
    transductive: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True
    model_type: ClassVar[tuple] = (EvidenceModel, OpinionPool)
    choices: ClassVar[dict] = {"decision": ("balanced", "posterior")}

    @torch.no_grad()
    def _fit(
        self,
        images: Tensor,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None,
        labels: Tensor | None = None,
    ) -> tuple:
        bank = bank.to(images.device)
        parts = one_by_one(images, bank) if len(bank.views) > 1 else [(images, bank)]
        found = [self._fit_one(x, own, prior, labels) for x, own in parts]
        if len(found) == 1:
            return found[0]
        models = [model for model, _ in found]
        sound = [not model.names < LEAST["names"] for model in models]
        trust = [factor**2 * (ok or not any(sound)) for factor, ok in zip(bank.factors, sound, strict=True)]
        each = (numbers_of(kept) for _, kept in found)
        chosen = [dict.fromkeys(_in_turn(kept)) for kept in zip(*each, strict=True)]
        return OpinionPool.of(models, trust), tuple(map(tuple, chosen))

    def _fit_one(
        self,
        images: Tensor,
        bank: TextBank,
        prior: Tensor | Sequence[float] | None,
        labels: Tensor | None,
    ) -> tuple[EvidenceModel, tuple]:
        """The same for one encoder."""
        rows, chosen = start_rows(bank, images, self.text, self.k)
        temperature = temperature_of(bank, self.text_temperature)
        text = F.normalize(torch.stack([texts.mean(dim=0) for texts in rows]), dim=1)
        cloud = Cloud.of(images, self.temperature)
        shares = None if prior is None else check_prior(prior, len(bank)).to(images.device)
        logits = cloud.images @ text.double().T
        evidence, log_mass = text_evidence(logits, temperature)
        told = (logits / temperature).log_softmax(dim=1)
        text_shares, confident = label_shares(logits), CONFIDENT
        if labels is not None:
            seen = weighed_rows(labels, len(bank))
            cloud = Cloud.of(images[seen], self.temperature)
            evidence, told = (fixed_rows(scores, labels)[seen] for scores in (evidence, told))
            confident = max(CONFIDENT, _most(labels[seen]))
        first = self._mixture(cloud.images, text.double(), evidence, told.exp(), shares)
        starts = (
            first.responsibilities,
            fit_ridge_mixture(cloud, evidence, evidence.softmax(dim=1), iterations=6, prior=shares)[-1],
            fit_ridge_mixture(cloud, evidence, told.exp(), iterations=2, prior=shares)[-1],
            diagonal_rounds(cloud.images, told, confident=confident),
        )
        fits = [self._fisher_rounds(cloud, text.double(), evidence, z, shares) for z in starts]
        measured = torch.stack([first.measured, *(mixture.measured for mixture, _ in fits)])  # read once
        (support, _), *likely = measured.tolist()
        most = max(likelihood for _, likelihood in likely)
        pairs = zip(fits, likely, strict=True)
        found, basis = next(fit for fit, (_, likelihood) in pairs if likelihood >= most - TIE)
        shares = found.log_shares.exp()
        agreement = text_agreement(images, rows, bank.names.to(images.device))
        said = {
            "support": support,
            "contradiction": contradiction(shares, text_shares),
            "names": agreement.names,
            "halves": agreement.halves,
            "text_shares": text_shares,
        }
        if agreement.names < WRONG_WAY:
            warnings.warn(
                f"{agreement.doubts[0]}; kpl-adaptive stays with the text proxies", UserWarning, stacklevel=4
            )
        asked = labels is not None or said["support"] + said["contradiction"] > 0
        if agreement.names < LEAST["names"] or not asked:
            return text_alone(text, temperature, **said), chosen
        offsets = found.offsets + (found.log_shares if self.decision == "posterior" else 0)
        fitted = (found.weights @ basis, offsets, text, log_mass, shares)
        return EvidenceModel(*fitted, self.strength, temperature, **said), chosen

    @property
    def findings(self) -> tuple[str, ...]:
        """What the fit saw, a sentence each, of several encoders for each of them; empty before `fit`.

        Chapter: ch-failures
        """
        if not isinstance(self.model, OpinionPool):
            return () if self.model is None else sentences_about(self.model, self.class_names)
        parts = enumerate(self.model.parts, 1)
        return tuple(
            f"encoder {v}: {said}" for v, part in parts for said in sentences_about(part, self.class_names)
        )

    def _mixture(
        self, images: Tensor, basis: Tensor, evidence: Tensor, z: Tensor, shares: Tensor | None
    ) -> Mixture:
        """The mixture over the products of images `[N, D]` with a basis `[F, D]`."""
        features, rank = images @ basis.T, images.shape[1]
        return fit_mixture(features, evidence, z, strength=self.strength, prior=shares, rank=rank)

    def _fisher_rounds(
        self, cloud: Cloud, text: Tensor, evidence: Tensor, z: Tensor, shares: Tensor | None
    ) -> tuple[Mixture, Tensor]:
        """The mixture over text scores and Fisher directions that a start leads to, and these directions."""
        for _ in range(self.rounds):
            basis = torch.cat([text, cloud.fisher_directions(z)])
            found = self._mixture(cloud.images, basis, evidence, z, shares)
            z = found.responsibilities
        return found, basis


def sentences_about(model: EvidenceModel, class_names: Sequence[str]) -> tuple[str, ...]:
    """What the fit to one encoder saw, a sentence each."""
    if model.names < LEAST["names"]:
        return (f"text proxies and class names hardly agree (correlation {model.names:.2f}): the text stays",)
    groups = f"{len(class_names)} groups describe the images no better than one"
    if not model.moved:
        return (
            f"{groups} (support {model.support:.2f}), and nothing refutes the text's shares: the text stays",
        )
    said = []
    over = model.text_shares - model.shares
    c = int(over.argmax())
    if over[c] > OVERRATED:
        told, seen = (f"{100 * float(q[c]):.0f} %" for q in (model.text_shares, model.shares))
        said.append(f"the text gives {told} of the images to {class_names[c]!r}; the images say {seen}")
    if model.support <= 0 < model.support + model.contradiction:
        said.append(
            f"{groups} (support {model.support:.2f}); what refutes the text is its class shares. If nearly all "
            "images may be of one class, the text can be right all the same: check some labels by hand"
        )
    return tuple(said)


def _in_turn(kept: Sequence[Sequence[int]]) -> list[int]:
    """The first of each, then the second of each, and so on; all are of one length."""
    return [number for rank in zip(*kept, strict=True) for number in rank]


def weighed_rows(labels: Tensor, classes: int) -> Tensor:
    """Numbers of the images, those with a label repeated: `max(1, U/(2 C max_c n_c))` times, rounded down.

    Labels `[N]`, -1 for the U images of which none is known, n_c of class c. Returns `[M]`, M at most 3 N/2.
    """
    known = (labels >= 0).nonzero()[:, 0]
    room = WEIGHT * (len(labels) - len(known)) / classes
    times = max(1, int(room / _most(labels)))
    return torch.cat([torch.arange(len(labels), device=labels.device), known.repeat(times - 1)])


def _most(labels: Tensor) -> int:
    return int(labels[labels >= 0].bincount().max())


def fixed_rows(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores `[N, C]` whose rows with a label are `log onehot`, with `NEVER` for minus infinity."""
    owner = torch.arange(scores.shape[1], device=labels.device) == labels[:, None]
    return torch.where((labels < 0)[:, None], scores, torch.where(owner, 0.0, NEVER).to(scores))


def label_shares(logits: Tensor) -> Tensor:
    """Shares of the classes among the labels of scores `[N, C]`: `(count + 1)/(N + C)`, `[C]`."""
    n, c = logits.shape
    return (counts_of(logits.argmax(dim=1), c) + 1.0) / (n + c)


def contradiction(shares: Tensor, text_shares: Tensor) -> float:
    """`D = Σ_c q_c log(q_c/h_c)` of shares q, h `[C]`: by how much the images refute the text, in nats an image."""
    return float((shares * (shares / text_shares).log()).sum())
