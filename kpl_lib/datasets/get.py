"""Put a dataset where `load_dataset` finds it: downloaded and checked, or from archives that the reader fetched."""

import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, make_folder
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.download import download, verify
from kpl_lib.datasets.load import card, default_root, load_dataset
from kpl_lib.datasets.unpack import unpack

ROOM = ".kpl-download"  # hidden, beside the data; gone when all is unpacked


@dataclass(frozen=True)
class Fetched:
    """What `get` did."""

    dataset: ImageDataset | None  # None where the reader has to do something first
    text: str  # what to tell the reader


def get(
    name: str, root: str | Path | None = None, archives: Sequence[str | Path] = (), progress: bool = True
) -> Fetched:
    """Download a dataset, or unpack archives of it, and load it to see that it is whole.

    `root` is its folder, None `default_root(name)`; `archives` are files that you downloaded yourself: nothing is
    downloaded then. What cannot be downloaded by a program gives the steps to do by hand.

    Raises:
        InputError: for an unknown name, no network, a wrong checksum, an unsafe archive, and files that do not load.
    """
    facts = card(name)
    root = default_root(name) if root is None else Path(root)
    if not archives and root.is_dir():
        with suppress(InputError):
            there = load_dataset(name, root)
            return Fetched(there, f"{_count(facts, there)} already in {root}; nothing was downloaded")
    if not archives and not facts.direct:
        return Fetched(None, steps(facts, root))
    new = not root.exists()
    make_folder(root)
    if not os.access(root, os.W_OK):
        raise InputError(f"{root}: may not be written; choose a folder that you may write to")
    try:
        for archive, file in _sources(facts, root, archives, progress):
            _place(archive, file, root)
    finally:  # leave no empty folder behind; half a download stays, to be gone on with
        for folder in (root / ROOM, *([root] if new else [])):
            with suppress(OSError):
                folder.rmdir()
    shutil.rmtree(root / ROOM, ignore_errors=True)
    try:
        dataset = load_dataset(name, root)
    except InputError as error:
        raise InputError(f"{name}: unpacked, but not yet whole: {error}") from None
    return Fetched(dataset, f"{_count(facts, dataset)} in {root}")


def steps(facts: DatasetCard, root: Path) -> str:
    """What the reader has to do, and where the files belong."""
    place = shlex.quote(str(root))
    todo = "\n".join(f"  {i}. {step.replace('ROOT', place)}" for i, step in enumerate(facts.steps, 1))
    return f"""{facts.name}: {facts.title}
  source:   {facts.home}
  licence:  {facts.licence}
  size:     {facts.size}
It cannot be downloaded by a program. Do this:
{todo}
Afterwards {root} holds: {facts.layout}
Then: kpl datasets check {facts.name} --root {place}"""


def _count(facts: DatasetCard, dataset: ImageDataset) -> str:
    """`27,558 images of malaria`, with the published number where it is another."""
    published = facts.images[""]
    other = "" if len(dataset) == published else f" (published: {published:,})"
    return f"{len(dataset):,} images of {facts.name}{other}"


def _sources(facts: DatasetCard, root: Path, archives: Sequence[str | Path], progress: bool):
    """Each archive of the dataset with the file that holds it, checked before it is used."""
    if not archives:
        for archive in facts.archives:
            yield archive, download(archive.url, root / ROOM / archive.file, archive.checksum, progress)
        return
    known = {archive.file: archive for archive in facts.archives}
    files = [Path(file) for file in archives]
    for file in files:  # all of them, before the first is unpacked
        if not file.is_file():
            raise InputError(f"{file}: no such file; name the archive that you downloaded")
        if file.name not in known:
            raise InputError(f"{file}: {facts.name} has {', '.join(known)}; give the file its original name")
        if known[file.name].checksum:
            verify(file, known[file.name].checksum)
    for file in files:
        yield known[file.name], file


def _place(archive: Archive, file: Path, root: Path) -> None:
    """Unpack an archive; copy or move a file that is used as it is. A run killed anywhere goes on from there."""
    if archive.packed:
        room = root / ROOM / f"{archive.file}.unpacked"
        done = room.with_suffix(".done")  # all of it is in the room, or has left for its place
        try:
            if not done.exists():
                shutil.rmtree(room, ignore_errors=True)  # of a killed run
                unpack(file, room)
                done.touch()
            _move(room, root / archive.into, archive.file)
        except InputError:
            shutil.rmtree(room, ignore_errors=True)
            done.unlink(missing_ok=True)
            raise
    elif file.parent == root / ROOM:
        os.replace(file, root / archive.file)
    elif file.resolve() != (root / archive.file).resolve():
        with atomic_path(root / archive.file) as temporary:
            shutil.copyfile(file, temporary)


def _move(room: Path, folder: Path, archive: str) -> None:
    """Bring what was unpacked to its place, where nothing of the kind may be yet."""
    make_folder(folder)
    tops = sorted(room.iterdir())
    there = [folder / top.name for top in tops if os.path.lexists(folder / top.name)]
    if there:
        raise InputError(f"{there[0]}: is there already; move it away, then unpack {archive} again")
    for top in tops:
        os.rename(top, folder / top.name)
