"""Look at a dataset before it is used: numbers, balance, what cannot be read, duplicates, patients; as one page."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import dicom, images
from kpl_lib.datasets.base import ImageDataset

FEW = 10  # findings of a kind that are listed, unless all are asked for
MANY = 40  # classes, above which they get one line together


@dataclass(frozen=True)
class DatasetReport:
    """What was found.

    Args:
        name: of the dataset.
        images: their number.
        published: the number at the source; None where nothing is published.
        counts: class -> images; empty where nothing is labelled.
        decoded: how many images were decoded.
        unreadable: (path, why) of images that cannot be read.
        duplicates: groups of two or more paths with the same content.
        contradictions: those of the duplicates whose labels differ.
        groups: patient -> images; None where patients are not known.
        left_out: kind -> number of files under the root that are not read; None where they were not counted.

    Chapter: ch-real-data
    """

    name: str
    images: int
    published: int | None
    counts: dict[str, int]
    decoded: int
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, ...], ...]
    contradictions: tuple[tuple[str, ...], ...]
    groups: dict[str, int] | None
    left_out: dict[str, int] | None

    @property
    def clean(self) -> bool:
        """Nothing has to be corrected: all readable, all there, no image under two labels."""
        return not self.unreadable and not self.contradictions and self.published in (None, self.images)

    def text(self, most: int | None = FEW) -> str:
        """The report, with at most so many findings of a kind; None lists all."""
        published = "" if self.published in (None, self.images) else f"; published: {self.published:,}"
        lines = [f"{self.name}: {self.images:,} images{published}", *_balance(self.counts, self.images, most)]
        lines += [f"decoded: {self.decoded:,} of {self.images:,}", f"unreadable: {len(self.unreadable):,}"]
        lines += _listed([why for _, why in self.unreadable], most)
        extra, two = sum(map(len, self.duplicates)) - len(self.duplicates), self.contradictions
        lines.append(f"duplicates: {extra:,} images repeat another; {len(two):,} under two labels")
        lines += _listed(["two labels: " + " = ".join(group) for group in two], most)
        lines += _listed([" = ".join(group) for group in self.duplicates if group not in two], most)
        sizes = list((self.groups or {}).values())
        patients = "not known" if self.groups is None else f"{len(sizes):,}, each with {_spread(sizes)}"
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in (self.left_out or {}).items())
        left = "not counted" if self.left_out is None else kinds or "nothing"
        lines += [f"patients: {patients}", f"left out: {left}"]
        lines.append("clean" if self.clean else "something has to be corrected: see above")
        return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines)

    __str__ = text


def _balance(counts: dict[str, int], images: int, most: int | None) -> list[str]:
    """A line a class; one line for many classes, unless all findings are asked for."""
    if most is not None and len(counts) > MANY:
        sizes = list(counts.values())
        return [f"  {len(counts):,} classes of {_spread(sizes)}, {sizes.count(0):,} empty"]
    width = max(map(len, counts), default=0)
    return [f"  {label:<{width}}  {count:>7,}  {count / images:6.1%}" for label, count in counts.items()]


def _spread(sizes: list[int]) -> str:
    """The smallest, the largest and the middle one in words."""
    return f"{min(sizes):,} to {max(sizes):,} images (median {sorted(sizes)[len(sizes) // 2]:,})"


def _listed(findings: list[str], most: int | None) -> list[str]:
    """Findings as lines, cut where there are too many."""
    lines = [f"  {finding}" for finding in findings[:most]]
    more = len(findings) - len(lines)
    return lines + [f"  ... and {more:,} more (--all)"] * (more > 0)


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
    n = len(dataset)
    several = n if sample is None else min(n, max(sample, 1))
    chosen = set(np.linspace(0, n - 1, several).round().astype(int).tolist())
    content: dict[str, list[int]] = defaultdict(list)
    unreadable, decoded = [], 0
    for i in tqdm(range(n), desc=dataset.name, unit="img", disable=not progress, delay=2):
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
    labels = dataset.labels or [0] * n
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    named = [tuple(dataset.paths[row] for row in rows) for rows in groups]
    two = [names for names, rows in zip(named, groups, strict=True) if len({labels[row] for row in rows}) > 1]
    return DatasetReport(
        dataset.name,
        n,
        published,
        dict(zip(dataset.class_names, counts.tolist(), strict=True)) if dataset.labels else {},
        decoded,
        tuple(unreadable),
        tuple(named),
        tuple(two),
        None if dataset.groups is None else dict(Counter(dataset.groups)),
        None if root is None else _left_out(Path(root), dataset.paths),
    )


def _look(path: str) -> str:
    """Checksum of a whole file; its header is read, so that what is no image is told without decoding."""
    images.check_file(Path(path))
    with images.readable(path), open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not dicom.is_dicom(Path(path), file):
            with Image.open(file):
                pass
    return digest


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
                kinds["images" if suffix in images.SUFFIXES else f"{suffix or 'other'} files"] += 1
    return {kind: number for kind, number in sorted(kinds.items()) if number}
