"""The one shape of every dataset, and what is known about one without its files (`DatasetCard`)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from kpl_lib.common.errors import InputError


class _Later:
    """A field that may be given as a function; it is called once, when the value is asked for first."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.slot = f"_{name}"

    def __get__(self, instance, owner: type):
        if instance is None:
            return None  # the default of the field
        value = instance.__dict__[self.slot]
        if callable(value):
            value = instance.__dict__[self.slot] = value()
        return value

    def __set__(self, instance, value) -> None:
        instance.__dict__[self.slot] = value


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images that are read one at a time.

    Args:
        name: what the dataset is called in results.
        read: gives image `i` as RGB; called each time, so it may decode a file or render a phantom.
        paths: where each image comes from (a file, or a name that identifies it), one an image.
        class_names: the classes, in label order; empty where nothing is labelled.
        labels: class numbers, one an image, or None.
        groups: patient identifiers, one an image, or None.
        fingerprint: changes whenever an image, a label or their order would; None where that is not known,
            and features are not cached. A function gives it when it is asked for first.

    Raises:
        InputError: if the lengths differ, or a label is no class number.

    Example:
        >>> grey = Image.new("RGB", (8, 8), "grey")
        >>> dataset = ImageDataset("demo", lambda i: grey, ["a.png"], ("cat", "dog"), [1])
        >>> len(dataset), dataset[0][1]
        (1, 1)

    Chapter: ch-real-data
    """

    name: str
    read: Callable[[int], Image.Image]
    paths: Sequence[str]
    class_names: tuple[str, ...] = ()
    labels: list[int] | None = None
    groups: list[str] | None = None
    fingerprint: str | Callable[[], str | None] | None = _Later()

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(str(path) for path in self.paths))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        for what in ("labels", "groups"):
            values = getattr(self, what)
            if values is None:
                continue
            if len(values) != len(self.paths):
                raise InputError(f"{self.name}: {len(values)} {what} for {len(self.paths)} images; one each")
            object.__setattr__(self, what, [int(v) if what == "labels" else str(v) for v in values])
        wrong = [label for label in self.labels or () if not 0 <= label < len(self.class_names)]
        if wrong:
            raise InputError(f"{self.name}: label {wrong[0]} is not in 0..{len(self.class_names) - 1}")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int | None]:
        index = range(len(self))[index]  # from the end, too; an IndexError ends a loop
        return self.read(index), None if self.labels is None else self.labels[index]

    def subset(self, indices: Sequence[int], name: str | None = None) -> "ImageDataset":
        """Return the images with these numbers, in this order.

        Its fingerprint is made of this one's and the numbers, so its features can be cached too.
        """
        rows = [range(len(self))[int(i)] for i in indices]

        def pick(values):
            return None if values is None else [values[row] for row in rows]

        paths, labels, groups = map(pick, (self.paths, self.labels, self.groups))
        read, later = partial(_read_row, self, rows), partial(_subset_fingerprint, self, rows)
        return ImageDataset(name or self.name, read, paths, self.class_names, labels, groups, later)


def _read_row(dataset: ImageDataset, rows: list[int], index: int) -> Image.Image:
    return dataset.read(rows[index])


def _subset_fingerprint(dataset: ImageDataset, rows: list[int]) -> str | None:
    """Checksum of the whole and of the numbers that were picked; None where the whole has none."""
    if dataset.fingerprint is None:
        return None
    return hashlib.sha256(f"{dataset.fingerprint}\n{rows}".encode()).hexdigest()


@dataclass(frozen=True)
class Archive:
    """One file of a dataset at its source.

    Args:
        file: its name.
        url: where it can be downloaded without signing in; None where it cannot.
        checksum: `md5:...` or `sha256:...` as its source or torchvision or medmnist states it; None if none is known.
        into: folder under the root that it is unpacked to.
        packed: False for a file that is used as it is.

    Chapter: ch-real-data
    """

    file: str
    url: str | None = None
    checksum: str | None = None
    into: str = ""
    packed: bool = True


@dataclass(frozen=True)
class DatasetCard:
    """Facts about a dataset.

    Args:
        name: for `load_dataset`.
        title: one line.
        home: the page of its authors.
        licence: as its source states it.
        size: of what is downloaded.
        layout: what the root has to look like.
        class_names: the classes, in label order.
        images: split -> number of images as published; `""` is what `split=None` gives.
        archives: files at the source.
        steps: what the reader does by hand where it cannot be downloaded by a program.

    Chapter: ch-real-data
    """

    name: str
    title: str
    home: str
    licence: str
    size: str
    layout: str
    class_names: tuple[str, ...]
    images: dict[str, int]
    archives: tuple[Archive, ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def direct(self) -> bool:
        """Whether every file can be downloaded, and checked, by a program."""
        return bool(self.archives) and all(a.url and a.checksum for a in self.archives)
