"""Prediction sets of the images of a folder, from labels of some of them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.decisions.conformal import CANNOT_SAY, PredictionSets, calibrate, check_coverage, needed
from kpl_lib.decisions.coverage import SetFigures, cross_coverage
from kpl_lib.decisions.exchangeability import same_source
from kpl_lib.features import Features
from kpl_lib.prediction import Prediction

LEAST = 10  # images on each side, below which labelled and other images are not compared
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


def check_enough(coverage: float, part: Mapping[str, int] | None, dataset: ImageDataset) -> None:
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
        few = f"{len(units)} labelled {kind} are too few, it needs at least {least}"
        raise InputError(f"--coverage {coverage:g}: {few}: label more, or ask for less")


def sets_of(prediction: Prediction, features: Features, labels: Tensor, coverage: float) -> FolderSets:
    """Calibrate on the labelled images; warn where the others do not look like them."""
    groups = features.meta["groups"]
    asked = {"groups": groups, "coverage": coverage}
    sets = calibrate(prediction, labels, **asked).sets(prediction)
    _warn_of_shift(features.images, labels >= 0, groups)
    return FolderSets(sets, cross_coverage(prediction, labels, **asked))


def _warn_of_shift(images: Tensor, known: Tensor, groups: Sequence | None) -> None:
    """Warn where the labelled images look unlike a random part; by image, where patients stand on both sides."""
    sides = known.nonzero()[:, 0].tolist(), (~known).nonzero()[:, 0].tolist()
    if min(map(len, sides)) < LEAST:
        return
    units = [None, None] if groups is None else [[groups[i] for i in side] for side in sides]
    if groups is not None and {*units[0]} & {*units[1]}:
        units = [None, None]
    parts = [images[side] for side in sides]
    found = same_source(*parts, first_groups=units[0], second_groups=units[1], permutations=DRAWN)
    if found.p_value < UNLIKE:
        said = f"the labelled images do not look like a random part of the folder (p = {found.p_value:.3f})"
        cure = "sets may hold the true class less often than asked; label images drawn at random"
        warnings.warn(f"{said}: {cure}", UserWarning, stacklevel=3)
