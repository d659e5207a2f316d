"""What is known about a dataset without its files: classes, numbers, licence, and how to get it."""

from dataclasses import dataclass

from kpl_lib.errors import InputError


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

    def check_split(self, split: str | None) -> str:
        """The split as a key of `images`; an error says which there are."""
        key = split or ""
        if key not in self.images:
            known = ", ".join(name for name in self.images if name)
            raise InputError(f"dataset {self.name!r} has no split {split!r}; it has {known}")
        return key
