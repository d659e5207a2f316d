"""Unpack an archive that nobody here wrote: nothing leaves the folder, nothing fills the disk, all or nothing."""

import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.files import make_folder

MAX_RATIO = 100  # bytes out for one byte in; images are packed already, so theirs is near 1
FREE_RATIO = 1_000_000_000  # below this many bytes the ratio does not matter
MAX_MEMBERS = 5_000_000
LEFTOVER = ".kpl-unpack-"
UNSAFE = "it is not safe to unpack"
Member = tuple[str, int, zipfile.ZipInfo | tarfile.TarInfo]  # name, size, and how the archive holds it


def unpack(archive: str | Path, folder: str | Path) -> tuple[Path, ...]:
    """Unpack a zip or tar archive (also .gz, .bz2, .xz) into a folder.

    Every member is checked before one is written: paths that leave the folder, absolute ones, links, devices,
    passwords, names that stand twice, and sizes that the disk or `MAX_RATIO` does not allow are refused. The files are
    written to a hidden folder and moved at the end, so a stopped run leaves nothing that looks finished.

    The folder is made when missing; what is there already is not overwritten. Gives the entries at its top.

    Raises:
        InputError: for an archive that is broken or unsafe, and an entry that is there already.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        what = "a folder, no archive; name the file" if archive.is_dir() else "no such file; correct the path"
        raise InputError(f"{archive}: {what}")
    make_folder(folder)
    for old in folder.glob(f"{LEFTOVER}*"):  # of a killed run
        shutil.rmtree(old, ignore_errors=True)
    with _opened(archive) as (opened, members):
        tops = _check(archive, folder, members)
        room = Path(tempfile.mkdtemp(prefix=LEFTOVER, dir=folder))
        try:
            opened.extractall(room, [handle for _, _, handle in members])
            for top in tops:
                os.rename(room / top, folder / top)
        finally:
            shutil.rmtree(room, ignore_errors=True)
    return tuple(folder / top for top in tops)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[zipfile.ZipFile | tarfile.TarFile, list[Member]]]:
    """The archive and its files; what breaks inside is one clear line."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield opened, list(_of_zip(archive, opened))
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                opened.extraction_filter = tarfile.data_filter
                yield opened, list(_of_tar(archive, opened))
        else:
            raise InputError(f"{archive}: neither a zip nor a tar archive; download it again")
    except InputError:
        raise
    except Exception as error:  # broken archives raise nearly anything
        if getattr(error, "errno", None) is not None:  # the disk, not the archive
            raise InputError(f"{archive}: cannot be unpacked ({error.strerror}); check the disk") from None
        raise InputError(f"{archive}: broken archive ({one_line(error, 100)}); download it again") from None


def _of_zip(archive: Path, opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        if info.filename.endswith("/"):
            continue
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{archive}: holds {info.filename!r}, a link or a device; {UNSAFE}")
        if info.flag_bits & 1:
            raise InputError(f"{archive}: {info.filename!r} needs a password; unpack it by hand")
        whole = info.orig_filename  # the name is cut at a NUL
        yield whole if "\0" in whole else info.filename, info.file_size, info


def _of_tar(archive: Path, opened: tarfile.TarFile) -> Iterator[Member]:
    """The files of a tar archive, as plain ones that nobody can run."""
    total, limit = 0, _limit(archive)
    for number, info in enumerate(opened):
        total += info.size
        if number >= MAX_MEMBERS or total > limit:  # before the next member is looked for in what is unpacked
            raise InputError(f"{archive}: a decompression bomb; {UNSAFE}")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise InputError(f"{archive}: holds {info.name!r}, a link or a device; {UNSAFE}")
        info.mode = 0o644
        yield info.name, info.size, info


def _check(archive: Path, folder: Path, members: list[Member]) -> list[str]:
    """Refuse what is unsafe; the names at the top of the archive."""
    if not members:
        raise InputError(f"{archive}: holds no file; download it again")
    seen: set[tuple[str, ...]] = set()
    for name, _, _ in members:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise InputError(f"{archive}: holds {name!r}, which leaves the folder; {UNSAFE}")
        if "\0" in name or "\\" in name or max(len(os.fsencode(part)) for part in parts) > 255:
            raise InputError(f"{archive}: holds {name[:80]!r}, no name for a file; {UNSAFE}")
        if parts in seen:
            raise InputError(f"{archive}: holds {name!r} twice; {UNSAFE}")
        seen.add(parts)
    total, free = sum(size for _, size, _ in members), shutil.disk_usage(folder).free
    if total > _limit(archive):
        raise InputError(f"{archive}: a decompression bomb; {UNSAFE}")
    if total > free:
        raise InputError(f"{folder}: {total / 1e9:.1f} GB are needed, {free / 1e9:.1f} free; make room")
    tops = sorted({parts[0] for parts in seen})
    there = next((top for top in tops if os.path.lexists(folder / top)), None)
    if there is not None:
        raise InputError(f"{folder / there}: is there already; move it, then unpack {archive.name} again")
    return tops


def _limit(archive: Path) -> int:
    return max(FREE_RATIO, archive.stat().st_size * MAX_RATIO)
