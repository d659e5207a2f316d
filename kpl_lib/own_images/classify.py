"""Classify a folder of images with a knowledge base."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kpl_lib import RECOMMENDED
from kpl_lib.classifiers.base import Classifier, create
from kpl_lib.classifiers.start import CONTROLS
from kpl_lib.common.errors import InputError, noted
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.sets.folder import known_labels, open_folder
from kpl_lib.decisions.conformal import CANNOT_SAY, PredictionSets, calibrate, check_coverage, needed
from kpl_lib.decisions.coverage import SetFigures, cross_coverage
from kpl_lib.decisions.exchangeability import same_source
from kpl_lib.decisions.ranking import EncoderRanking, rank_encoders
from kpl_lib.encoders.encoder import Encoder, load_encoder
from kpl_lib.encoders.joined import JoinedEncoder, load_encoders
from kpl_lib.features import Features, TextBank, one_by_one
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.controls import with_controls
from kpl_lib.own_images.table import COLUMNS, Classification
from kpl_lib.patches import Patches
from kpl_lib.prediction import Prediction

FEW = 10  # images a class, below which a method that reads them as a set is warned about
DRAWN, UNLIKE = 99, 0.02  # permutations of the test that labelled images are a random part, and its level


@dataclass(frozen=True, eq=False)
class FolderSets:
    """Prediction sets of the images of a folder, calibrated on those whose class is known.

    Args:
        sets: of all N images.
        figures: what they reach on the labelled images, each judged by thresholds of others.

    Chapter: ch-when-unsure
    """

    sets: PredictionSets
    figures: SetFigures

    def __str__(self) -> str:
        figures, sets = self.figures, self.sets
        unsure = sets.answers.count(CANNOT_SAY) / len(sets)
        return (
            f"sets: asked {figures.asked:.0%}, reached {figures.coverage} on labelled images, each judged by others; "
            f"mean size {sets.mean_size:.2f} of {len(sets.class_names)} classes, one class for {sets.single:.0%}, "
            f"'{CANNOT_SAY}' for {unsure:.0%}"
        )


@dataclass(frozen=True, eq=False)
class FolderRun:
    """Everything that classifying a folder gave: what a report is written from, and a model saved.

    Args:
        knowledge: the C classes and their descriptions.
        dataset: the images, with labels and patients where they are known.
        encoder: the model, or several as one.
        classifier: fitted to the images.
        features: of the N images that could be read.
        bank: the texts.
        prediction: of the N images.
        result: the same, as rows for people.
        labels: true class numbers `[N]`, -1 where unknown; None where none is known.
        sets: prediction sets of the images, and what they reach; None where no coverage was asked for.
        ranking: the encoders, best first, ranked without labels; None where there is one.
        notes: what was warned about on the way, and what the method says that it saw.

    Chapter: ch-own-images
    """

    knowledge: KnowledgeBase
    dataset: ImageDataset
    encoder: Encoder | JoinedEncoder
    classifier: Classifier
    features: Features
    bank: TextBank
    prediction: Prediction
    result: Classification
    labels: Tensor | None
    sets: FolderSets | None
    ranking: EncoderRanking | None
    notes: tuple[str, ...]


def classify_folder(
    images: str | Path,
    knowledge: str | Path,
    *,
    encoder: str | Sequence[str] = "phantom",
    classifier: str = RECOMMENDED,
    k: int | None = None,
    parameters: Mapping[str, object] | None = None,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    group_pattern: str | None = None,
    coverage: float | None = None,
    device: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> FolderRun:
    """Classify the images of one folder. Everything that is cheap is checked before anything is encoded.

    Args:
        images: the folder, see `kpl_lib.datasets.sets.folder.open_folder`.
        knowledge: name or file of a knowledge base.
        encoder: a name for `load_encoder`, or several that are joined.
        classifier: a name for `create`.
        k: descriptions kept per class; None is the default of the classifier.
        parameters: what else the classifier takes.
        labels, groups, group_pattern: tables and pattern as for `open_folder`; no method reads labels. With a coverage
            the table may name a part of the images.
        coverage: give each image the set of classes that holds the true one as often as this, such as 0.9, by
            thresholds from the labelled images; None gives none.
        device: where the encoder runs; None chooses.
        skip_unreadable: leave out files that cannot be read, and list them.
        progress: show bars.

    Returns:
        The run; its rows are in the order of the file names.

    Raises:
        InputError: for anything wrong with the input; says which file, and the cure.

    Chapter: ch-one-sitting, ch-own-images
    """
    kb = _knowledge(knowledge)
    method = _method(classifier, k, parameters or {})
    truth = {"groups": groups, "group_pattern": group_pattern}
    part = None if coverage is None or labels is None else known_labels(images, kb.class_names, labels)
    dataset = open_folder(images, kb.class_names, labels=labels if part is None else None, **truth)
    if coverage is not None:
        _check_coverage(coverage, part, dataset)
    model = load_encoders([encoder] if isinstance(encoder, str) else encoder, device)
    with noted(others=True) as notes:
        made, features = encode_folder(model, dataset, method, skip_unreadable, progress)
        _check_number(len(features), len(kb.class_names), method, images)
        bank = model.encode_knowledge(kb, progress=progress)
        if method.text in CONTROLS:
            bank = with_controls(bank, kb, model.encode_texts)
        prediction = method.fit_predict(made, bank)
        known = features.labels if part is None else _numbers(features.meta["paths"], part)
        sets = None if coverage is None else _sets(prediction, features, known, coverage)
        parts = zip(model.names, one_by_one(features.images, bank), strict=True)
        ranking = rank_encoders(dict(parts)) if len(model.names) > 1 else None
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    result = rows_of(prediction, features, bank, method.chosen, centre_of(features.images), known)
    if sets is not None:
        names = tuple(tuple(kb.class_names[c] for c in row.nonzero()[:, 0]) for row in sets.sets.sets.cpu())
        result = replace(result, sets=names, answers=sets.sets.answers)
    notes += getattr(method, "findings", ())
    return FolderRun(
        kb, dataset, model, method, features, bank, prediction, result, known, sets, ranking, tuple(notes)
    )


def _check_coverage(coverage: float, part: Mapping[str, int] | None, dataset: ImageDataset) -> None:
    """Refuse a coverage that cannot be, without labels, or with too few, before anything is encoded."""
    check_coverage(coverage)
    if part is None and dataset.labels is None:
        raise InputError("--coverage needs labels of some images: give --labels FILE.csv with path,label")
    known = dict(zip(dataset.paths, dataset.labels, strict=True)) if part is None else part
    groups = None if dataset.groups is None else dict(zip(dataset.paths, dataset.groups, strict=True))
    units = {path if groups is None else groups[path] for path in known}
    least = needed(coverage)
    if len(units) < least:
        kind = "images" if groups is None else "patients"
        raise InputError(
            f"--coverage {coverage:g}: {len(units)} labelled {kind} are too few, it needs at least {least}: "
            "label more, or ask for less"
        )


def _numbers(paths: Sequence[str], part: Mapping[str, int]) -> Tensor:
    return torch.tensor([part.get(path, -1) for path in paths])


def _sets(prediction: Prediction, features: Features, labels: Tensor, coverage: float) -> FolderSets:
    """Calibrate on the labelled images; warn where the others do not look like them."""
    groups = features.meta["groups"]
    asked = {"groups": groups, "coverage": coverage}
    sets = calibrate(prediction, labels, **asked).sets(prediction)
    _warn_of_shift(features.images, labels >= 0, groups)
    return FolderSets(sets, cross_coverage(prediction, labels, **asked))


def _warn_of_shift(images: Tensor, known: Tensor, groups: Sequence | None) -> None:
    """Warn where the labelled images look unlike a random part; by image, where patients stand on both sides."""
    sides = known.nonzero()[:, 0].tolist(), (~known).nonzero()[:, 0].tolist()
    if min(map(len, sides)) < FEW:
        return
    units = [None, None] if groups is None else [[groups[i] for i in side] for side in sides]
    if groups is not None and {*units[0]} & {*units[1]}:
        units = [None, None]
    parts = [images[side] for side in sides]
    found = same_source(*parts, first_groups=units[0], second_groups=units[1], permutations=DRAWN)
    if found.p_value < UNLIKE:
        warnings.warn(
            f"the labelled images do not look like a random part of the folder (p = {found.p_value:.3f}): sets may "
            "hold the true class less often than asked; label images drawn at random",
            UserWarning,
            stacklevel=3,
        )


def rank_folder(
    images: str | Path,
    knowledge: str | Path,
    encoders: Sequence[str],
    *,
    device: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> EncoderRanking:
    """Rank encoders on the images of one folder, without labels; one encoder is in memory at a time.

    Args:
        images: the folder.
        knowledge: name or file of a knowledge base.
        encoders: names for `load_encoder`, at least two, each once.
        device: where they run; None chooses.
        skip_unreadable: leave out files that cannot be read.
        progress: show bars.

    Returns:
        The encoders, best first.

    Raises:
        InputError: for fewer than two encoders, one named twice, and as `classify_folder`.

    Chapter: ch-encoders-and-labels
    """
    kb, views = _knowledge(knowledge), {}
    if len(set(encoders)) < max(2, len(encoders)):
        raise InputError(f"--encoder {', '.join(encoders)}: name at least two encoders to rank, each once")
    dataset = open_folder(images, kb.class_names)
    on_error = "skip" if skip_unreadable else "raise"
    for name in encoders:
        model = load_encoder(name, device)
        found = model.encode_images(dataset, progress=progress, on_error=on_error)
        views[name] = found, model.encode_knowledge(kb, progress=progress)
    return rank_encoders(views)


def encode_folder(
    model: Encoder | JoinedEncoder,
    dataset: ImageDataset,
    method: Classifier,
    skip_unreadable: bool,
    progress: bool,
) -> tuple[Features | Patches, Features]:
    """What the method reads, and the image features in it."""
    run = model.encode_patches if method.needs_patches else model.encode_images
    made = run(dataset, progress=progress, on_error="skip" if skip_unreadable else "raise")
    return made, made.features if method.needs_patches else made


def rows_of(
    prediction: Prediction,
    features: Features,
    bank: TextBank,
    chosen: tuple,
    centre: Tensor,
    labels: Tensor | None = None,
) -> Classification:
    """A prediction as rows for people; labels are -1 where unknown."""
    names, meta = bank.class_names, features.meta
    return Classification(
        names,
        tuple(meta["paths"]),
        tuple(names[label] for label in prediction.labels.tolist()),
        prediction.probabilities.cpu(),
        spoke_most(features.images, bank, chosen, prediction.labels, centre),
        tuple((path, why) for path, why in meta["skipped"]),
        None if labels is None else tuple(names[c] if c >= 0 else "" for c in labels.tolist()),
        None if meta["groups"] is None else tuple(meta["groups"]),
    )


def centre_of(images: Tensor) -> Tensor:
    """The mean image `[D]` that descriptions are compared at; zero for a single image, which is its own mean."""
    return images.mean(dim=0) * (len(images) > 1)


def spoke_most(
    images: Tensor, bank: TextBank, chosen: tuple, labels: Tensor, centre: Tensor
) -> tuple[str, ...]:
    """For each image, the description that spoke most for its label.

    Among the descriptions that were used for the class, `argmax_m (x_i · t_m − u · t_m)`: the one that fits
    this image better than it fits the mean image u. The plain cosine would name one description for nearly all
    images; it decides where u is zero.

    `chosen` numbers, for each class, the descriptions that were used; none gives `""`.

    Example:
        >>> import torch
        >>> texts = (("stripes", "spots"),)
        >>> bank = TextBank(("cat",), [torch.eye(2)], torch.eye(2)[:1], texts)
        >>> spoke_most(torch.eye(2), bank, ((0, 1),), torch.tensor([0, 0]), torch.zeros(2))
        ('stripes', 'spots')
    """
    centre = centre.to(images)
    spoken = [""] * len(images)
    for c, used in enumerate(chosen):
        rows = (labels.cpu() == c).nonzero()[:, 0]
        if not used or not len(rows):
            continue
        texts = bank.descriptions[c][list(used)].to(images)
        gain = (images[rows.to(images.device)] - centre) @ texts.T
        for row, best in zip(rows.tolist(), gain.argmax(dim=1).tolist(), strict=True):
            spoken[row] = bank.texts[c][used[best]]
    return tuple(spoken)


def _knowledge(name_or_path: str | Path) -> KnowledgeBase:
    """Load the knowledge base; refuse what no table or method can hold."""
    kb = KnowledgeBase.load(name_or_path)
    if len(kb.class_names) < 2:
        raise InputError(
            f"{name_or_path}: one class only, {kb.class_names[0]!r}; give at least two to choose from"
        )
    taken = [name for name in kb.class_names if name in COLUMNS]
    if taken:
        raise InputError(
            f"{name_or_path}: class {taken[0]!r} is called like a column of the table; rename it"
        )
    return kb


def _method(classifier: str, k: int | None, parameters: Mapping[str, object]) -> Classifier:
    """Create the classifier; refuse a k that it would not use."""
    if k is not None and "k" in parameters:
        raise InputError(f"k is given twice, as {k} and as {parameters['k']!r}: give it once")
    given = {**parameters, **({} if k is None else {"k": k})}
    method = create(classifier, **given)
    if "k" in given and method.text != "top-k":
        raise InputError(f"classifier {classifier!r} keeps no k descriptions: leave k out, or use 'kpl'")
    return method


def _check_number(count: int, classes: int, method: Classifier, images: str | Path) -> None:
    """Refuse, or warn about, too few images for a method that reads them as a set."""
    if method.transductive and count < 2:
        raise InputError(
            f"{images}: {count} image, and {method.name!r} reads images as a set; add some, or use 'clip'"
        )
    if method.transductive and count < FEW * classes:
        few = f"{count} images for {classes} classes are few: {method.name!r} reads them as a set"
        warnings.warn(f"{few}; 'clip' and 'cupl' read each image alone", UserWarning, stacklevel=3)
