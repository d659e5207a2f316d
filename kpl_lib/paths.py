"""Where things lie: the data that ships with the library, and files that are never half-written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from kpl_lib.errors import InputError


def data_dir() -> Path:
    """Folder of the data that ships: `data/` of a checkout, or `kpl_lib/data` of an installed wheel.

    Chapter: ch-how-to-use
    """
    here = Path(__file__).resolve().parent
    for candidate in (here / "data", here.parent / "data"):
        if (candidate / "knowledge").is_dir():
            return candidate
    raise InputError(
        f"the data folder is missing beside {here}: reinstall kpl_lib, or clone the repository again"
    )


_UMASK = Lock()


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; move it onto `target` only if the block ends well.

    Raises:
        InputError: if the folder of `target` does not exist or cannot be written.
    """
    target = Path(target)
    folder = target.parent
    if not folder.is_dir():
        raise InputError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; name a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=folder)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}; choose a folder that you may write to"
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with _UMASK:  # it can only be read by setting it, and all threads share it
            umask = os.umask(0)
            os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # a temporary file is private; the finished one an ordinary file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
