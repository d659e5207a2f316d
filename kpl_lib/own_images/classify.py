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
from kpl_lib.decisions.ranking import EncoderRanking, rank_encoders
from kpl_lib.encoders.encoder import Encoder, load_encoder
from kpl_lib.encoders.joined import JoinedEncoder, load_encoders
from kpl_lib.encoders.phantom_world import refuse_far
from kpl_lib.features import Features, TextBank, one_by_one
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.controls import with_controls
from kpl_lib.own_images.sets import FolderSets, check_enough, sets_of
from kpl_lib.own_images.table import COLUMNS, Classification
from kpl_lib.patches import Patches
from kpl_lib.prediction import Prediction

FEW = 10  # images a class, below which a method that reads them as a set is warned about


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
    encoder: str | Sequence[str],
    classifier: str = RECOMMENDED,
    k: int | None = None,
    parameters: Mapping[str, object] | None = None,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    group_pattern: str | None = None,
    coverage: float | None = None,
    device: str | None = None,
    skip_unreadable: bool = False,
    accept_phantom: bool = False,
    workers: int | None = None,
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
        accept_phantom: go on, with a warning, where a phantom encoder meets images that are no phantoms.
        workers: processes that decode, as for `Encoder.encode_images`.
        progress: show bars.

    Returns:
        The run; its rows are in the order of the file names.

    Raises:
        InputError: for anything wrong with the input, and for phantom encoders on images far from their world; says
            which file, and the cure.

    Chapter: ch-one-sitting, ch-own-images
    """
    kb = _knowledge(knowledge)
    method = _method(classifier, k, parameters or {})
    truth = {"groups": groups, "group_pattern": group_pattern}
    part = None if coverage is None or labels is None else known_labels(images, kb.class_names, labels)
    dataset = open_folder(images, kb.class_names, labels=labels if part is None else None, **truth)
    if coverage is not None:
        check_enough(coverage, part, dataset)
    model = load_encoders([encoder] if isinstance(encoder, str) else encoder, device)
    with noted(others=True) as notes:
        made, features = encode_folder(model, dataset, method, skip_unreadable, workers, progress)
        _check_number(len(features), len(kb.class_names), method, images)
        bank = model.encode_knowledge(kb, progress=progress)
        views = one_by_one(features.images, bank)
        far = refuse_far(model.names, [rows for rows, _ in views], accept_phantom)
        if method.text in CONTROLS:
            bank = with_controls(bank, kb, model.encode_texts)
        prediction = method.fit_predict(made, bank)
        known = features.labels
        if part is not None:
            known = torch.tensor([part.get(path, -1) for path in features.meta["paths"]])
        sets = None if coverage is None else sets_of(prediction, features, known, coverage)
        ranking = None
        if len(model.names) > 1:
            ranking = rank_encoders(dict(zip(model.names, views, strict=True)))
    notes = [*([] if far is None else [far]), *notes]
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    result = rows_of(prediction, features, bank, method.chosen, centre_of(features.images), known, far)
    if sets is not None:
        names = tuple(tuple(kb.class_names[c] for c in row.nonzero()[:, 0]) for row in sets.sets.sets.cpu())
        result = replace(result, sets=names, answers=sets.sets.answers)
    notes += getattr(method, "findings", ())
    found = (features, bank, prediction, result, known, sets, ranking, tuple(notes))
    return FolderRun(kb, dataset, model, method, *found)


def rank_folder(
    images: str | Path,
    knowledge: str | Path,
    encoders: Sequence[str],
    *,
    device: str | None = None,
    skip_unreadable: bool = False,
    accept_phantom: bool = False,
    progress: bool = True,
) -> EncoderRanking:
    """Rank encoders on the images of one folder, without labels; one encoder is in memory at a time.

    Args:
        images: the folder.
        knowledge: name or file of a knowledge base.
        encoders: names for `load_encoder`, at least two, each once.
        device: where they run; None chooses.
        skip_unreadable: leave out files that cannot be read.
        accept_phantom: go on, with a warning, where a phantom encoder meets images that are no phantoms.
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
        far = refuse_far([name], [found.images], accept_phantom)
        if far is not None:
            warnings.warn(far, UserWarning, stacklevel=2)
        views[name] = found, model.encode_knowledge(kb, progress=progress)
    return rank_encoders(views)


def encode_folder(
    model: Encoder | JoinedEncoder,
    dataset: ImageDataset,
    method: Classifier,
    skip_unreadable: bool,
    workers: int | None,
    progress: bool,
) -> tuple[Features | Patches, Features]:
    """What the method reads, and the image features in it."""
    run = model.encode_patches if method.needs_patches else model.encode_images
    on_error = "skip" if skip_unreadable else "raise"
    made = run(dataset, workers=workers, progress=progress, on_error=on_error)
    return made, made.features if method.needs_patches else made


def rows_of(
    prediction: Prediction,
    features: Features,
    bank: TextBank,
    chosen: tuple,
    centre: Tensor,
    labels: Tensor | None = None,
    warning: str | None = None,
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
        warning=warning,
    )


def centre_of(images: Tensor) -> Tensor:
    """The mean image `[D]` that descriptions are compared at; zero for a single image, which is its own mean."""
    return images.mean(dim=0) * (len(images) > 1)


def spoke_most(
    images: Tensor, bank: TextBank, chosen: tuple, labels: Tensor, centre: Tensor
) -> tuple[str, ...]:
    """For each image, the description that counted most for its label.

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
        raise InputError(f"{name_or_path}: one class only, {kb.class_names[0]!r}; give at least two")
    taken = [name for name in kb.class_names if name in COLUMNS]
    if taken:
        raise InputError(f"{name_or_path}: class {taken[0]!r} is called like a column; rename it")
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
        one = f"{count} image, and {method.name!r} reads images as a set"
        raise InputError(f"{images}: {one}; add some, or use 'clip'")
    if method.transductive and count < FEW * classes:
        few = f"{count} images for {classes} classes are few: {method.name!r} reads them as a set"
        warnings.warn(f"{few}; 'clip' and 'cupl' read each image alone", UserWarning, stacklevel=3)
