"""Download one file: resumed where it stopped, and used only if its checksum is right."""

import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from kpl_lib.common.errors import InputError, one_line

CONNECT, SILENCE = 15, 60  # seconds to wait for a connection, and for the next bytes
BLOCK = 1 << 16  # bytes at a time; what a broken connection or a kill loses at most
PAUSES = (1, 5, 25, 60)  # seconds before a broken connection is taken up again; new bytes begin them anew


class Broken(Exception):
    """A connection that ends in the middle of a file."""


def download(
    url: str, target: str | Path, checksum: str, progress: bool = True, title: str | None = None
) -> Path:
    """Fetch a file, unless it is there with the right checksum.

    What arrives is kept as `target` + `.part`. A connection that breaks is taken up again after `PAUSES`; that, and a
    later call, goes on after the last byte where the server allows it, and starts anew where not. Only a file with
    the right checksum gets its name; a wrong one is thrown away. A web page in place of the file is refused, and what
    has arrived before is kept.

    The checksum is `md5:...` or `sha256:...`. Gives `target`; its folder is made when missing. The bar of the progress
    has a title, the file's name unless said.

    Raises:
        InputError: without a network, for a connection that breaks again and again, for an answer that is no file,
            and for a wrong checksum.
    """
    import requests

    target = Path(target)
    part = target.with_name(target.name + ".part")
    try:
        if target.is_file() and _has(target, checksum):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _persist(url, part, title or target.name, progress)
        if not _has(part, checksum):
            part.unlink()
            raise InputError(f"{url}: the checksum is not {checksum}; thrown away, repeat the command")
        os.replace(part, target)
    except Broken:
        tries = f"{len(PAUSES)} more tries brought nothing new"
        raise InputError(f"{url}: the connection broke, and {tries}; repeat the command to go on") from None
    except requests.HTTPError as error:
        code = error.response.status_code
        raise InputError(f"{url}: the server answers {code}; download it by hand and use --archive") from None
    except (requests.ConnectionError, requests.Timeout):
        host = urlsplit(url).hostname
        how = "go online and repeat the command, or download it by hand and use --archive"
        raise InputError(f"{url}: cannot reach {host}; {how}") from None
    except requests.RequestException as error:
        raise InputError(f"{url}: {one_line(error, 100)}; repeat the command to go on") from None
    except OSError as error:
        raise InputError(f"{target}: {error.strerror or error}; check disk and permissions") from None
    return target


def verify(path: str | Path, checksum: str) -> None:
    """Refuse a file whose checksum, `md5:...` or `sha256:...`, is another."""
    kind, _, wanted = checksum.partition(":")
    found = _digest(path, kind)
    if found != wanted.lower():
        raise InputError(f"{path}: its {kind} is {found}, not {wanted}; it is broken or another file")


def _has(path: Path, checksum: str) -> bool:
    kind, _, wanted = checksum.partition(":")
    return _digest(path, kind) == wanted.lower()


def _digest(path: str | Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _persist(url: str, part: Path, title: str, progress: bool) -> None:
    """Fill the part file; once it has begun to arrive, a connection that breaks is taken up again."""
    import requests

    again, most, tries = (Broken,), 0, 0
    while True:
        try:
            return _resume(url, part, title, progress)
        except again:
            again = Broken, requests.ConnectionError, requests.Timeout
            size = part.stat().st_size
            most, tries = max(size, most), 0 if size > most else tries
            if tries == len(PAUSES):
                raise
            if progress:
                tqdm.write(f"{title}: the connection broke; again in {PAUSES[tries]} s", file=sys.stderr)
            time.sleep(PAUSES[tries])
            tries += 1


def _resume(url: str, part: Path, title: str, progress: bool) -> None:
    """Fill the part file; a broken connection keeps what has arrived."""
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as answer:
        if have and answer.status_code == 416:  # all is here, or another file: the checksum says
            return
        answer.raise_for_status()
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            how = "open it in a browser, download the file by hand and use --archive"
            raise InputError(f"{url}: the server answers with a web page, not the file; {how}")
        place = answer.headers.get("Content-Range", "")
        goes_on = answer.status_code == 206 and place.startswith(f"bytes {have}-")
        _receive(answer, part, have if goes_on else 0, title, progress)


def _receive(answer, part: Path, done: int, title: str, progress: bool) -> None:
    """Write what arrives behind the first `done` bytes."""
    import requests

    left, free = int(answer.headers.get("Content-Length") or 0), shutil.disk_usage(part.parent).free
    if left > free:
        raise InputError(f"{part.parent}: {left / 1e9:.2f} GB are needed, {free / 1e9:.2f} free; make room")
    shown = {"desc": title, "unit": "B", "unit_scale": True, "disable": not progress, "delay": 2}
    bar = tqdm(total=done + left or None, initial=done, **shown)
    with open(part, "ab" if done else "wb") as out, bar:
        try:
            for block in answer.iter_content(BLOCK):
                out.write(block)
                bar.update(len(block))
        except requests.RequestException:
            raise Broken from None
        got = out.tell()
    if left and got < done + left:
        raise Broken
