"""Which encoder for these images? A ranking that reads no label."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.agreement import LEAST, text_agreement
from kpl_lib.classifiers.neighbours import nearest_rows
from kpl_lib.classifiers.start import cosines
from kpl_lib.common.checks import check_classes
from kpl_lib.common.errors import InputError, noted
from kpl_lib.features import Features, TextBank, check_same_images
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import sinkhorn

DESCRIPTIONS = 8  # of each class, those nearest to the images, as the classifiers take them
NEIGHBOURS = 10
#: Images whose neighbours are looked up among themselves; drawn, as rows may stand class by class.
LOOKED_UP = 1000


@dataclass(frozen=True)
class RankedEncoder:
    """An encoder, and what speaks for it; every figure is 1 at best, and about 0 where there is only chance.

    Args:
        name: of the encoder.
        score: mean of `others` and `neighbours`, or the latter alone where there are no others.
        others: κ of its labels with those of the other encoders that have no warning, on average; nan without any.
        neighbours: κ of its labels with what the nearest images say.
        names: correlation of its text proxies with its class names; nan where both are the same.
        warning: one line where its text contradicts the class names; else empty.

    Chapter: ch-encoders-and-labels
    """

    name: str
    score: float
    others: float
    neighbours: float
    names: float
    warning: str


@dataclass(frozen=True)
class EncoderRanking:
    """Encoders in order.

    Args:
        rows: the best first; those with a warning behind all others.

    Chapter: ch-encoders-and-labels
    """

    rows: tuple[RankedEncoder, ...]


@torch.no_grad()
def rank_encoders(views: Mapping[str, tuple[Tensor | Features, TextBank]]) -> EncoderRanking:
    """Rank encoders by what they say about the same images.

        score_v = ½ ( mean_{w ≠ v} κ(y_v, y_w) + κ(y_v, ŷ_v) ),   κ = (p_o − p_e) / (1 − p_e)

    The labels y_v are those of the balanced transport plan from the text proxies of encoder v. An encoder is good where
    the others, which err in other places, say the same as it does, and where the images that it holds for alike
    get the same label: ŷ_v is the vote of the 10 nearest images. Where its text contradicts its class names, it stands
    behind all others and is no witness for them, as `kpl-adaptive` does not move away from such a text.

    κ is Cohen's: p_o is the share of images with equal labels, p_e that of labels dealt out at random with the same
    class shares. No label of the images is read, so encoders that err alike are not found out; with two encoders
    `others` is the same for both, and the neighbours decide.

    Args:
        views: encoder name -> unit features `[N, D_v]` of the same N images, and texts of the same C classes.

    Returns:
        EncoderRanking. Of equal scores the first encoder stands first.

    Raises:
        InputError: for fewer than two encoders, other images, or other classes.

    >>> images, cat, dog = torch.eye(2).repeat(20, 1), torch.eye(2)[:1].repeat(8, 1), torch.eye(2)[1:].repeat(8, 1)
    >>> bank = TextBank(("cat", "dog"), [cat, dog], torch.eye(2))
    >>> swapped = TextBank(("cat", "dog"), [dog, cat], torch.eye(2))
    >>> [row.name for row in rank_encoders({"wrong": (images, swapped), "right": (images, bank)}).rows]
    ['right', 'wrong']

    Source: this project, chosen on phantoms of dev seeds (`data/results/encoder_ranking.csv`), after the agreement with
    a shared plan of arXiv 2606.08126 and the ranking of predictors without labels of Parisi et al. 2014; κ: Cohen 1960.
    Cost: a plan for each encoder, 1,000 x 1,000 cosines, and V² counts of N labels.
    Chapter: ch-encoders-and-labels
    """
    images = _same_images(views)
    looks = [_look(name, images[name], bank) for name, (_, bank) in views.items()]
    classes = len(next(iter(views.values()))[1])
    rows = []
    for name, look in zip(views, looks, strict=True):
        witnesses = [other.labels for other in looks if other is not look and not other.warning]
        agreed = [_kappa(look.labels, labels, classes) for labels in witnesses]
        others = sum(agreed) / len(agreed) if agreed else math.nan
        score = (others + look.neighbours) / 2 if agreed else look.neighbours
        rows.append(RankedEncoder(name, score, others, look.neighbours, look.names, look.warning))
    return EncoderRanking(tuple(sorted(rows, key=lambda row: (row.warning != "", -row.score))))


@dataclass(frozen=True, eq=False)
class _Look:
    """What one encoder shows by itself: labels `[N]` on the CPU, and as in `RankedEncoder`."""

    labels: Tensor
    neighbours: float
    names: float
    warning: str


def _look(name: str, images: Tensor, bank: TextBank) -> _Look:
    bank = bank.to(images.device)
    try:
        with noted():  # that a class has fewer descriptions is no matter here
            kept = text_proxies(bank, images, k=DESCRIPTIONS)
    except InputError as error:
        raise InputError(f"encoder {name!r}: {error}") from None
    texts = [rows[chosen] for rows, chosen in zip(bank.descriptions, kept.chosen, strict=True)]
    labels = sinkhorn(cosines(images, kept.weights)).pseudo_labels.argmax(dim=1)
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:LOOKED_UP]
    some, own = images[drawn.to(images.device)], labels[drawn.to(images.device)]
    links = nearest_rows(some, some, min(NEIGHBOURS, len(some) - 1), themselves=True).index
    votes = F.one_hot(own, len(bank))[links].sum(dim=1).argmax(dim=1)
    agreement = text_agreement(images, texts, bank.names.to(images.device))
    warning = agreement.doubts[0] if agreement.names < LEAST["names"] else ""
    return _Look(labels.cpu(), _kappa(own, votes, len(bank)), agreement.names, warning)


def _kappa(first: Tensor, second: Tensor, classes: int) -> float:
    """Cohen's κ of labels `[N]`; 0 where both know one class only."""
    counts = torch.bincount(first * classes + second, minlength=classes**2).double()
    table = counts.view(classes, classes) / len(first)
    chance = float(table.sum(dim=0) @ table.sum(dim=1))
    return (float(table.trace()) - chance) / (1 - chance) if chance < 1 else 0.0


def _same_images(views: Mapping[str, tuple[Tensor | Features, TextBank]]) -> dict[str, Tensor]:
    """The images of each encoder; raises unless images and classes are the same, as far as their facts tell."""
    if len(views) < 2:
        raise InputError(f"encoders: {len(views)} leaves nothing to rank, name at least 2")
    first, (features, bank) = next(iter(views.items()))
    check_classes(len(bank), f"the texts of {first!r}")
    images = {}
    for name, (found, texts) in views.items():
        who = f"encoders {first!r} and {name!r}"
        if texts.class_names != bank.class_names:
            raise InputError(f"{who} have other classes, or another order of them: encode one knowledge base")
        images[name] = found.images if isinstance(found, Features) else found
        if isinstance(features, Features) and isinstance(found, Features):
            check_same_images(features, found, who)
        elif len(images[name]) != len(images[first]):
            counts = f"{len(images[first])} and {len(images[name])}"
            raise InputError(f"{who} hold {counts} images; encode the same images with both")
    return images
