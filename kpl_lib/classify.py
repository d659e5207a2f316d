"""Classify a folder of images with a knowledge base, and write the result as a table."""

import csv
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kpl_lib.classifiers import Classifier, create
from kpl_lib.classifiers.start import CONTROLS
from kpl_lib.controls import with_controls
from kpl_lib.datasets import load_dataset
from kpl_lib.encoders import load_encoder
from kpl_lib.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.paths import atomic_path

COLUMNS = ("path", "label", "description")
FEW = 10  # images a class, below which a method that reads them as a set is warned about


@dataclass(frozen=True, eq=False)
class Classification:
    """One row an image.

    Args:
        class_names: the C classes.
        paths: the N files that were read.
        labels: the predicted class of each.
        probabilities: `[N, C]`.
        descriptions: what spoke most for the label; empty for methods that use only class names.
        skipped: files that could not be read, each with the reason.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: Tensor
    descriptions: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def classify_folder(
    images: str | Path,
    knowledge: str | Path,
    *,
    encoder: str = "phantom",
    classifier: str = "kpl",
    k: int | None = None,
    device: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Classification:
    """Classify the images of one folder. Everything that is cheap is checked before anything is encoded.

    Args:
        images: the folder.
        knowledge: name or file of a knowledge base.
        encoder: a name for `load_encoder`.
        classifier: a name for `create`.
        k: descriptions kept per class; None is the default of the classifier.
        device: where the encoder runs; None chooses.
        skip_unreadable: leave out files that cannot be read, and list them.
        progress: show bars.

    Returns:
        One row an image, in the order of the file names.

    Raises:
        InputError: for anything wrong with the input; says which file, and the cure.

    Derived in chapter "KPL in one sitting".
    """
    kb = _knowledge(knowledge)
    method = _method(classifier, k)
    dataset = load_dataset("folder", images)
    model = load_encoder(encoder, device)
    on_error = "skip" if skip_unreadable else "raise"
    features = model.encode_images(dataset, progress=progress, on_error=on_error)
    _check_number(len(features), len(kb.class_names), method, images)
    bank = model.encode_knowledge(kb, progress=progress)
    if method.text in CONTROLS:
        bank = with_controls(bank, kb, model)
    prediction = method.fit_predict(features, bank)
    return Classification(
        kb.class_names,
        tuple(features.meta["paths"]),
        tuple(kb.class_names[label] for label in prediction.labels.tolist()),
        prediction.probabilities.cpu(),
        spoke_most(features.images, bank, method.chosen, prediction.labels),
        tuple((path, why) for path, why in features.meta["skipped"]),
    )


def spoke_most(images: Tensor, bank: TextBank, chosen: tuple, labels: Tensor) -> tuple[str, ...]:
    """For each image, the description that spoke most for its label.

    Among the descriptions that were used for the class, `argmax_m (x_i · t_m − mean_n x_n · t_m)`: the one that
    fits this image better than it fits the images at large. The plain cosine would name one description
    for nearly all images. A single image has no others to compare with; there the plain cosine decides.

    Args:
        images: unit rows `[N, D]`.
        bank: descriptions of C classes with their texts.
        chosen: for each class the numbers of the descriptions that were used; empty gives `""`.
        labels: class numbers `[N]`.

    Returns:
        N texts.

    Example:
        >>> import torch
        >>> texts = (("stripes", "spots"),)
        >>> bank = TextBank(("cat",), [torch.eye(2)], torch.eye(2)[:1], texts)
        >>> spoke_most(torch.eye(2), bank, ((0, 1),), torch.tensor([0, 0]))
        ('stripes', 'spots')
    """
    spoken = [""] * len(images)
    for c, used in enumerate(chosen):
        rows = (labels.cpu() == c).nonzero()[:, 0]
        if not used or not len(rows):
            continue
        cosines = images @ bank.descriptions[c][list(used)].to(images).T
        gain = (cosines - cosines.mean(dim=0) if len(images) > 1 else cosines)[rows.to(images.device)]
        for row, best in zip(rows.tolist(), gain.argmax(dim=1).tolist(), strict=True):
            spoken[row] = bank.texts[c][used[best]]
    return tuple(spoken)


def write_table(result: Classification, path: str | Path) -> None:
    """Write `path, label, one probability a class, description` as CSV, UTF-8, whole or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = zip(result.paths, result.labels, result.probabilities.tolist(), result.descriptions, strict=True)
    how = {"encoding": "utf-8", "errors": "backslashreplace"}  # file names need not be UTF-8
    with atomic_path(path) as temporary, temporary.open("w", newline="", **how) as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS[:2], *result.class_names, COLUMNS[2]])
        for image, label, values, description in rows:
            table.writerow([image, label, *(f"{value:.6f}" for value in values), description])


def check_writable(path: str | Path) -> None:
    """Raise an InputError now if `write_table` could not write there later."""
    with suppress(_TriedError), atomic_path(path):
        raise _TriedError


class _TriedError(Exception):
    """Leaves `atomic_path` without writing."""


def _knowledge(name_or_path: str | Path) -> KnowledgeBase:
    """Load the knowledge base; refuse what no table or method can hold."""
    kb = KnowledgeBase.load(name_or_path)
    if len(kb.class_names) < 2:
        raise InputError(
            f"{name_or_path}: one class only, {kb.class_names[0]!r}; give at least two to choose from"
        )
    for name in kb.class_names:
        if name in COLUMNS:
            raise InputError(
                f"{name_or_path}: class {name!r} is called like a column of the table; rename it"
            )
    return kb


def _method(classifier: str, k: int | None) -> Classifier:
    """Create the classifier; refuse a k that it would not use."""
    method = create(classifier, **({} if k is None else {"k": k}))
    if k is not None and method.text != "top-k":
        raise InputError(f"classifier {classifier!r} keeps no k descriptions: leave k out, or use 'kpl'")
    return method


def _check_number(count: int, classes: int, method: Classifier, images: str | Path) -> None:
    """Refuse, or warn about, too few images for a method that reads them as a set."""
    if method.transductive and count < 2:
        raise InputError(
            f"{images}: {count} image, and {method.name!r} reads images as a set; add some, or use 'clip'"
        )
    if method.transductive and count < FEW * classes:
        warnings.warn(
            f"{count} images for {classes} classes are few: {method.name!r} reads them as a set and assumes that "
            f"all classes are equally common; 'clip' and 'cupl' read each image alone",
            UserWarning,
            stacklevel=3,
        )
