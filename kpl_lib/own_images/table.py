"""Predictions as rows: one an image, or one a patient, written as CSV, and read again."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, read_text

COLUMNS = ("path", "label", "description", "set", "answer", "true label", "patient", "images", "warning")
MAX_BYTES = 512_000_000  # of a table that is read


@dataclass(frozen=True, eq=False)
class Classification:
    """One row an image.

    Args:
        class_names: the C classes.
        paths: the N files that were read.
        labels: the predicted class of each.
        probabilities: `[N, C]`.
        descriptions: what counted most for the label; empty for methods that use only class names.
        skipped: files that could not be read, each with the reason.
        truth: the true class of each, empty where it is not known; None where none is.
        groups: the patient of each; None where it is not known.
        sets: the classes that cannot be ruled out for each; None where no coverage was asked for.
        answers: what each set says: a class, two, or "cannot say".
        warning: why no row can be believed; None where nothing was found.

    Chapter: ch-own-images
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: Tensor
    descriptions: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    truth: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    sets: tuple[tuple[str, ...], ...] | None = None
    answers: tuple[str, ...] | None = None
    warning: str | None = None


@dataclass(frozen=True, eq=False)
class Patients:
    """One row a patient, in the order of their first images.

    Args:
        class_names: the C classes.
        names: the P patients.
        counts: images of each.
        labels: the predicted class of each.
        probabilities: mean over the images of each, `[P, C]`.
        truth: the true class of each, empty where its images differ or none is known; None where nothing is known.

    Chapter: ch-own-images
    """

    class_names: tuple[str, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]
    labels: tuple[str, ...]
    probabilities: Tensor
    truth: tuple[str, ...] | None


def by_patient(result: Classification) -> Patients:
    """Average the probabilities of each patient's images, `p_g = mean_{i in g} p_i`, and take the largest.

    Args:
        result: N images with their patients.

    Returns:
        One row a patient.

    Raises:
        InputError: if the patients are not known.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
        >>> images = Classification(("cat", "dog"), ("a", "b"), ("cat", "dog"), p, ("", ""), (), None, ("x", "x"))
        >>> by_patient(images).labels, by_patient(images).counts
        (('cat',), (2,))

    Chapter: ch-own-images
    """
    if result.groups is None:
        raise InputError("patients are not known: give --groups FILE.csv, or --group-pattern")
    names = tuple(dict.fromkeys(result.groups))
    number = {name: i for i, name in enumerate(names)}
    rows = torch.tensor([number[name] for name in result.groups])
    counts = torch.bincount(rows, minlength=len(names))
    sums = torch.zeros(len(names), len(result.class_names), dtype=torch.float64)
    means = sums.index_add_(0, rows, result.probabilities.double()) / counts[:, None]
    labels = tuple(result.class_names[c] for c in means.argmax(dim=1).tolist())
    told = None
    if result.truth is not None:
        seen: dict[str, set[str]] = {name: set() for name in names}
        for name, label in zip(result.groups, result.truth, strict=True):
            seen[name] |= {label} - {""}
        told = tuple(next(iter(found)) if len(found) == 1 else "" for found in seen.values())
    return Patients(result.class_names, names, tuple(counts.tolist()), labels, means, told)


def write_table(result: Classification, path: str | Path) -> None:
    """Write `path, label, one probability a class, description` as CSV, UTF-8, whole or not at all.

    `set`, with `;` between the classes, `answer`, `patient`, `true label` and `warning` follow where they are known.

    Args:
        result: N images.
        path: the file.

    Raises:
        InputError: if the file cannot be written.

    Chapter: ch-own-images
    """
    sets = None if result.sets is None else ["; ".join(names) for names in result.sets]
    extra = {"set": sets, "answer": result.answers, "patient": result.groups, "true label": result.truth}
    extra["warning"] = None if result.warning is None else [result.warning] * len(result.paths)
    columns = {"path": result.paths, "label": result.labels, **_probabilities(result)}
    _write(path, columns | {"description": result.descriptions} | extra)


def write_patients(patients: Patients, path: str | Path) -> None:
    """Write `patient, images, label, one probability a class` (and `true label`) as `write_table` does.

    Args:
        patients: P patients.
        path: the file.

    Chapter: ch-own-images
    """
    columns = {"patient": patients.names, "images": patients.counts, "label": patients.labels}
    _write(path, columns | _probabilities(patients) | {"true label": patients.truth})


def load_table(path: str | Path) -> Classification:
    """Read what `write_table` wrote; without the sets and the list of skipped files.

    Args:
        path: the file.

    Returns:
        Its rows.

    Raises:
        InputError: if it is missing, or no such table.

    Chapter: ch-own-images
    """
    source = io.StringIO(read_text(path, MAX_BYTES, "table", bom=True), newline="")
    try:
        head, *rows = [row for row in csv.reader(source, strict=True) if row]
        end = head.index("description")
        columns = dict(zip(head, zip(*rows, strict=True), strict=True))
        names = tuple(head[2:end])
        p = torch.tensor([[float(text) for text in row[2:end]] for row in rows], dtype=torch.float64)
        paths, labels = columns["path"], columns["label"]
        said_and_true = {*labels, *columns.get("true label", ())} - {""}
        if head[:2] != ["path", "label"] or len(names) < 2 or not said_and_true <= {*names}:
            raise ValueError
    except (ValueError, KeyError, csv.Error):
        raise InputError(
            f"{path}: no table of images as `kpl classify` and `kpl predict` write it (path, label, a probability of "
            "each class, description); name such a file"
        ) from None
    truth, groups, warning = (columns.get(name) for name in ("true label", "patient", "warning"))
    said = columns["description"]
    warned = None if warning is None else warning[0]
    return Classification(names, paths, labels, p, said, (), truth, groups, warning=warned)


def _probabilities(result: Classification | Patients) -> dict[str, list[str]]:
    rows = [[f"{value:.6f}" for value in row] for row in result.probabilities.T.tolist()]
    return dict(zip(result.class_names, rows, strict=True))


def _write(path: str | Path, columns: dict[str, Sequence | None]) -> None:
    """Write the columns that are known."""
    known = {name: values for name, values in columns.items() if values is not None}
    how = {"encoding": "utf-8", "errors": "backslashreplace"}  # file names need not be UTF-8
    with atomic_path(path) as temporary, temporary.open("w", newline="", **how) as file:
        table = csv.writer(file)
        table.writerow(known)
        table.writerows(zip(*known.values(), strict=True))
