"""What a report on your own images says: figures where labels are given, and concerns that need none."""

import warnings
from dataclasses import dataclass

import torch

from kpl_lib.classifiers.agreement import TextAgreement
from kpl_lib.classifiers.base import create
from kpl_lib.common.errors import InputError
from kpl_lib.gap import ModalityGap, modality_gap
from kpl_lib.metrics.estimates import Estimate, ReliabilityCurve, evaluate, reliability_curve
from kpl_lib.own_images.classify import FEW, FolderRun
from kpl_lib.own_images.table import by_patient
from kpl_lib.prediction import Prediction

CLASSES = 100  # above this the groups of the images are not looked at: it would take minutes
SKEW = 1.5  # times an equal share, above which classes look skewed
LEAST = 8  # descriptions a class, below which the knowledge is called thin
SAMPLE = 1000  # images that the modality gap is measured on


@dataclass(frozen=True)
class ReportFacts:
    """Figures against labels.

    Args:
        images: metrics with intervals; whole patients are drawn where they are known.
        patients: the same over patients; None where they are not known, or one has images of several classes.
        curve: reliability of the confidences.

    Chapter: ch-own-images
    """

    images: dict[str, Estimate]
    patients: dict[str, Estimate] | None
    curve: ReliabilityCurve


@dataclass(frozen=True)
class Groups:
    """How far the images fall into the classes, without labels.

    Args:
        support: how much better C Gaussians describe the images than one, in nats an image.
        shares: estimated class shares; None where the images do not support the classes.
        agreement: of the texts with each other on these images.

    Chapter: ch-own-images
    """

    support: float
    shares: tuple[float, ...] | None
    agreement: TextAgreement


@dataclass(frozen=True)
class Concern:
    """One thing to look at before the predictions are believed.

    Args:
        title: what it is, in a few words.
        text: what was seen, and what to look at.

    Chapter: ch-own-images
    """

    title: str
    text: str


def report_facts(run: FolderRun) -> ReportFacts | None:
    """Measure a run against its labels; None where it has none.

    Args:
        run: a classified folder.

    Returns:
        The figures, or None.

    Chapter: ch-own-images
    """
    if run.labels is None:
        return None
    labels, groups = run.labels.to(run.prediction.labels.device), run.result.groups
    known = (labels >= 0).nonzero()[:, 0]
    labels = labels[known]
    parts = (getattr(run.prediction, name)[known] for name in ("probabilities", "scores", "labels"))
    prediction = Prediction(*parts, run.prediction.class_names)
    patients = None if groups is None else by_patient(run.result)
    measured = None
    if patients is not None and "" not in patients.truth:
        p, number = patients.probabilities, run.result.class_names.index
        whole = Prediction(p, p, p.argmax(dim=1), run.result.class_names)
        measured = evaluate(whole, [number(name) for name in patients.truth])
    own = None if groups is None else [groups[i] for i in known.tolist()]
    images = evaluate(prediction, labels, groups=own)
    return ReportFacts(images, measured, reliability_curve(prediction, labels))


def find_groups(run: FolderRun) -> Groups | str:
    """Fit kpl-adaptive to the images and read off its support and shares; a line that says why not, else.

    Args:
        run: a classified folder.

    Returns:
        The groups, or one line.

    Chapter: ch-own-images
    """
    count, classes = len(run.features), len(run.result.class_names)
    if classes > CLASSES:
        return f"not looked at: {classes} classes, more than {CLASSES}"
    if count < FEW * classes:
        return f"not looked at: {count} images for {classes} classes are too few"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model = create("kpl-adaptive").fit(run.features, run.bank).model
    except InputError as error:
        return f"not looked at: {error}"
    shares = tuple(model.shares.tolist()) if model.moved else None
    return Groups(model.support, shares, TextAgreement(model.names, model.halves))


def find_gap(run: FolderRun) -> ModalityGap | str:
    """The modality gap between the images and all texts, on at most 1,000 images; a line that says why not, else.

    Args:
        run: a classified folder.

    Returns:
        The gap, or one line.

    Chapter: ch-own-images
    """
    images, texts = run.features.images, torch.cat([run.bank.names, *run.bank.descriptions])
    if min(len(images), len(texts)) < 5:
        return "not measured: it takes 5 images and 5 texts"
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:SAMPLE].sort().values
    return modality_gap(images[drawn.to(images.device)], texts[: 2 * SAMPLE])


def find_concerns(run: FolderRun, groups: Groups | str) -> tuple[Concern, ...]:
    """What speaks against believing the predictions, as far as it shows without labels.

    Args:
        run: a classified folder.
        groups: what `find_groups` gives.

    Returns:
        The concerns; empty where nothing speaks against them.

    Chapter: ch-own-images
    """
    known = isinstance(groups, Groups)
    doubts = groups.agreement.doubts if known else ()
    far = run.result.warning
    found = [] if far is None else [Concern("The encoder does not know such images", far)]
    found += [Concern("The text may point the wrong way", doubt) for doubt in doubts]
    found += [*_of_texts(run), *(_of_groups(run, groups) if known else ())]
    never = [name for name in run.result.class_names if name not in set(run.result.labels)]
    if never and len(run.features) >= FEW:
        found.append(Concern("A class is never predicted", f"no image is said to be of {_listed(never)}"))
    said = " ".join(concern.text for concern in found)
    notes = [note for note in run.notes if note.split(":")[0][:60] not in said]
    return (*found, *(Concern("Noted while it ran", note) for note in notes))


def _of_texts(run: FolderRun) -> list[Concern]:
    found = []
    thin = [f"{name} ({len(d)})" for name, d in run.knowledge.records.items() if len(d) < LEAST]
    if thin:
        text = f"fewer than {LEAST} descriptions for {len(thin)} classes: {_listed(thin)}; write more"
        found.append(Concern("The knowledge is thin", text))
    grave = [finding.message for finding in run.knowledge.check().findings if finding.grave]
    if grave:
        text = f"{len(grave)} to correct in the knowledge, such as: {'; '.join(grave[:3])}"
        found.append(Concern("The knowledge has faults", text))
    return found


def _of_groups(run: FolderRun, groups: Groups) -> list[Concern]:
    classes, name = run.result.class_names, run.classifier.name
    if groups.support <= 0:
        text = (
            f"{len(classes)} groups describe the images no better than one (support {groups.support:.2f} nats an "
            "image): a method that reads images as a set may invent groups; compare with 'clip' and 'cupl'"
        )
        return [Concern("The images do not support the classes", text)]
    if groups.shares is None or max(groups.shares) * len(classes) < SKEW:
        return []
    ranked = sorted(zip(groups.shares, classes, strict=True), reverse=True)[:6]
    listed = ", ".join(f"{label} {100 * share:.0f} %" for share, label in ranked)
    text = f"estimated shares are {listed}"
    if run.classifier.transductive and name not in ("kpl-adaptive", "kpl-em"):
        text += f"; {name!r} assumes equally common classes here: compare with 'kpl-adaptive'"
    return [Concern("The classes look skewed", text)]


def _listed(names: list[str]) -> str:
    return ", ".join([*names[:10], *["..."] * (len(names) > 10)])
