"""Unpack an archive that nobody here wrote: nothing leaves the folder, nothing fills the disk, all or nothing."""

import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from kpl_lib.common.errors import InputError, one_line

MAX_RATIO = 100  # bytes out for one byte in; images are packed already, so theirs is near 1
FREE_RATIO = 1_000_000_000  # below this many bytes the ratio does not matter
MAX_MEMBERS = 5_000_000
LEFTOVER = ".kpl-unpack-"
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    """One file of an archive."""

    name: str
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


def unpack(archive: str | Path, folder: str | Path) -> tuple[Path, ...]:
    """Unpack a zip or tar archive (also .gz, .bz2, .xz) into a folder.

    Every member is checked before one is written: paths that leave the folder, absolute ones, links, devices,
    passwords, names that stand twice, and sizes that the disk or `MAX_RATIO` does not allow are refused. The files are
    written to a hidden folder and moved at the end, so a stopped run leaves nothing that looks finished.

    Args:
        archive: the file.
        folder: where its entries go; made when missing. What is there already is not overwritten.

    Returns:
        The entries that were made at the top of `folder`.

    Raises:
        InputError: for an archive that is broken or unsafe, and an entry that is there already.

    Example:
        >>> unpack("nowhere.zip", "data")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: nowhere.zip: no such file; correct the path
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        what = "a folder, no archive; name the file" if archive.is_dir() else "no such file; correct the path"
        raise InputError(f"{archive}: {what}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; choose a folder that you may write to") from None
    clear_leftovers(folder)
    with _opened(archive) as (members, open_member):
        tops = _check(archive, folder, members)
        room = Path(tempfile.mkdtemp(prefix=LEFTOVER, dir=folder))
        try:
            for member in members:
                _write(open_member(member.handle), room.joinpath(*_parts(member.name)), member.size, archive)
            return _move(room, folder, tops)
        finally:
            shutil.rmtree(room, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Take away what a killed run left half-unpacked."""
    for old in folder.glob(f"{LEFTOVER}*"):
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator:
    """Members of the archive, and a function that opens one; what breaks inside is one clear line."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield [_of_zip(archive, info) for info in opened.infolist() if not _is_dir(info)], opened.open
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                yield list(_of_tar(archive, opened)), opened.extractfile
        else:
            raise InputError(f"{archive}: neither a zip nor a tar archive; download it again")
    except InputError:
        raise
    except BROKEN as error:
        if getattr(error, "errno", None) is not None:  # the disk, not the archive
            raise InputError(f"{archive}: cannot be unpacked ({error.strerror}); check the disk") from None
        why = one_line(error, 100)
        raise InputError(f"{archive}: broken archive ({why}); download it again") from None


def _is_dir(info: zipfile.ZipInfo) -> bool:
    return info.orig_filename.endswith("/")


def _of_zip(archive: Path, info: zipfile.ZipInfo) -> _Member:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG):
        raise InputError(f"{archive}: holds {info.filename!r}, a link or a device; it is not safe to unpack")
    if info.flag_bits & 1:
        raise InputError(f"{archive}: {info.filename!r} needs a password; unpack it by hand")
    return _Member(info.orig_filename, info.file_size, info)


def _of_tar(archive: Path, opened: tarfile.TarFile) -> Iterator[_Member]:
    total, limit = 0, _limit(archive)
    for number, info in enumerate(opened):
        total += info.size
        if number >= MAX_MEMBERS or total > limit:  # before the next member is looked for in what is unpacked
            raise InputError(f"{archive}: a decompression bomb; it is not safe to unpack")
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise InputError(f"{archive}: holds {info.name!r}, a link or a device; it is not safe to unpack")
        yield _Member(info.name, info.size, info)


def _check(archive: Path, folder: Path, members: list[_Member]) -> list[str]:
    """Refuse what is unsafe; the names at the top of the archive."""
    if not members:
        raise InputError(f"{archive}: holds no file; download it again")
    seen: set[tuple[str, ...]] = set()
    for member in members:
        parts = _parts(member.name)
        if (
            not parts
            or ".." in parts
            or member.name.startswith(("/", "\\"))
            or re.match(r"[A-Za-z]:", member.name)
        ):
            raise InputError(
                f"{archive}: holds {member.name!r}, which leaves the folder; it is not safe to unpack"
            )
        if any(char in member.name for char in "\0\\") or max(len(os.fsencode(part)) for part in parts) > 255:
            raise InputError(
                f"{archive}: holds {member.name[:80]!r}, no name for a file; it is not safe to unpack"
            )
        if parts in seen:
            raise InputError(f"{archive}: holds {member.name!r} twice; it is not safe to unpack")
        seen.add(parts)
    _check_sizes(archive, folder, sum(member.size for member in members))
    tops = sorted({_parts(member.name)[0] for member in members})
    there = next((top for top in tops if os.path.lexists(folder / top)), None)
    if there is not None:
        raise InputError(
            f"{folder / there}: is there already; move it away, then unpack {archive.name} again"
        )
    return tops


def _check_sizes(archive: Path, folder: Path, total: int) -> None:
    """Refuse a bomb, and what the disk cannot hold."""
    if total > _limit(archive):
        raise InputError(f"{archive}: a decompression bomb; it is not safe to unpack")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InputError(
            f"{folder}: {total / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; make room"
        )


def _limit(archive: Path) -> int:
    """The most bytes that an archive of this size may hold."""
    return max(FREE_RATIO, archive.stat().st_size * MAX_RATIO)


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a member's path, without dots."""
    return tuple(part for part in PurePosixPath(name).parts if part != "/")


def _write(source: IO[bytes], target: Path, size: int, archive: Path) -> None:
    """Copy one member; more or fewer bytes than were announced are refused."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source, open(target, "xb") as out:
        while block := source.read(1 << 20):
            written += len(block)
            if written > size:
                break
            out.write(block)
    if written != size:
        raise InputError(f"{archive}: {target.name} is not as long as it says; download it again")


def _move(room: Path, folder: Path, tops: list[str]) -> tuple[Path, ...]:
    """Move the finished entries to their place."""
    for top in tops:
        os.rename(room / top, folder / top)
    return tuple(folder / top for top in tops)
