"""Look at a dataset before it is used: numbers, balance, what cannot be read, duplicates, patients."""

import hashlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from kpl_lib import dicom
from kpl_lib.dataset_report import DatasetReport
from kpl_lib.datasets import ImageDataset
from kpl_lib.errors import InputError
from kpl_lib.images import SUFFIXES


def check_dataset(
    dataset: ImageDataset,
    root: str | Path | None = None,
    *,
    published: int | None = None,
    sample: int | None = 200,
    progress: bool = True,
) -> DatasetReport:
    """Check every file by its header and content, and decode a sample.

    Each file is hashed whole and its header is read. Of images that are no files the decoded ones are compared, by
    their pixels.

    Args:
        dataset: N images.
        root: its folder, to count the files that are not read; None counts none.
        published: the number of images at the source.
        sample: how many are decoded, evenly spread; None decodes all.
        progress: show a bar.

    Returns:
        What was found; nothing is changed.

    Example:
        >>> from kpl_lib.datasets import load_dataset
        >>> report = check_dataset(load_dataset("phantom-malaria", n=4), progress=False)
        >>> report.images, report.clean
        (4, True)

    Chapter: ch-real-data
    """
    files = [os.path.lexists(path) for path in dataset.paths]
    chosen = set(_spread(len(dataset), sample))
    content: dict[str, list[int]] = defaultdict(list)
    unreadable, decoded = [], 0
    for i in tqdm(range(len(dataset)), desc=dataset.name, unit="img", disable=not progress, delay=2):
        try:
            if files[i]:
                content[_look(dataset.paths[i])].append(i)
            if i in chosen:
                image = dataset[i][0]
                decoded += 1
                if not files[i]:
                    content[hashlib.sha256(np.asarray(image).tobytes()).hexdigest()].append(i)
        except InputError as error:
            unreadable.append((dataset.paths[i], str(error)))
    groups = [rows for rows in content.values() if len(rows) > 1]
    labels = dataset.labels or [0] * len(dataset)
    named = [tuple(dataset.paths[row] for row in rows) for rows in groups]
    two = [names for names, rows in zip(named, groups, strict=True) if len({labels[row] for row in rows}) > 1]
    return DatasetReport(
        dataset.name,
        len(dataset),
        published,
        _counts(dataset),
        decoded,
        tuple(unreadable),
        tuple(named),
        tuple(two),
        None if dataset.groups is None else dict(Counter(dataset.groups)),
        None if root is None else _left_out(Path(root), dataset.paths),
    )


def _spread(n: int, sample: int | None) -> Iterable[int]:
    """Numbers of the images that are decoded: the first, the last, and evenly between."""
    if sample is None or sample >= n:
        return range(n)
    return np.linspace(0, n - 1, max(sample, 1)).round().astype(int).tolist()


def _look(path: str) -> str:
    """Checksum of a whole file; its header is read, so that what is no image is told without decoding."""
    try:
        if os.path.getsize(path) == 0:
            raise InputError(f"{path}: empty (0 bytes); copy it again from its source, or leave it out")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(128)
            scan = file.read(4) == dicom.MAGIC or path.lower().endswith(dicom.SUFFIXES)
            file.seek(0)
            if not scan:
                with warnings.catch_warnings(action="ignore"), Image.open(file):
                    pass
    except InputError:
        raise
    except OSError as error:
        why = error.strerror or "not an image"
        raise InputError(f"{path}: cannot be read ({why}); copy it again, or leave it out") from None
    except Exception as error:  # decoders raise nearly anything on broken headers
        why = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: broken header ({why}); copy it again, or leave it out") from None
    return digest


def _counts(dataset: ImageDataset) -> dict[str, int]:
    """Images of each class, also of the empty ones."""
    if dataset.labels is None:
        return {}
    numbers = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    return dict(zip(dataset.class_names, numbers.tolist(), strict=True))


def _left_out(root: Path, paths: Iterable[str]) -> dict[str, int]:
    """Files under the root that the dataset does not hold, by kind; links to folders are not followed."""
    read = {os.path.realpath(path) for path in paths}
    kinds: Counter = Counter()
    for folder, folders, names in os.walk(root, followlinks=False):
        kinds["linked folders"] += sum(os.path.islink(os.path.join(folder, name)) for name in folders)
        for name in names:
            if os.path.realpath(os.path.join(folder, name)) in read:
                continue
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                kinds["hidden"] += 1
            else:
                kinds["images" if suffix in SUFFIXES else f"{suffix or 'other'} files"] += 1
    return {kind: number for kind, number in sorted(kinds.items()) if number}
