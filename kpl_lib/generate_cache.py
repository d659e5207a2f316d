"""Answers kept on disk: one small JSON file for each class, whole or not there."""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from kpl_lib.errors import InputError
from kpl_lib.paths import atomic_path

_LOCK = Lock()  # one write at a time: each looks at what is there
COUNTS = ("calls", "retries", "tokens_in", "tokens_out", "uncounted")


@dataclass(frozen=True)
class Written:
    """What a model wrote for one class.

    Args:
        class_name: the class.
        descriptions: the accepted texts.
        wanted: how many were wanted.
        date: the day of the last call, `YYYY-MM-DD`.
        calls: answers and failures, without retries.
        retries: calls that failed and were repeated.
        tokens_in: tokens of the questions.
        tokens_out: tokens of the answers.
        uncounted: calls whose tokens the server did not count.
        refused: reason -> how many texts or answers.
    """

    class_name: str
    descriptions: tuple[str, ...]
    wanted: int
    date: str = ""
    calls: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0
    refused: Counter = field(default_factory=Counter)

    @property
    def complete(self) -> bool:
        """Whether all that were wanted are there."""
        return len(self.descriptions) >= self.wanted


class Cache:
    """A folder of answers; several processes may share it.

    Args:
        folder: made where it is missing; None keeps nothing.
        question: everything that an answer depends on beside the class.

    Raises:
        InputError: if the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path | None, question: dict) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._question = question
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the cache {self.folder}: {error.strerror}; name another") from None
        try_path(self.folder / "try.json")

    def path(self, class_name: str) -> Path | None:
        """The file of one class."""
        if self.folder is None:
            return None
        spelled = json.dumps({**self._question, "class": class_name}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(spelled.encode()).hexdigest()[:32]}.json"

    def load(self, class_name: str) -> Written | None:
        """What is kept of one class; None if there is nothing, or nothing that can be read."""
        path = self.path(class_name)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = Written(**{**content, "refused": Counter(content["refused"])})
            found = replace(found, descriptions=tuple(found.descriptions))
            texts = all(isinstance(text, str) for text in (found.date, *found.descriptions))
            whole = all(isinstance(getattr(found, key), int) for key in ("wanted", *COUNTS))
            return found if texts and whole and found.class_name == class_name else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def store(self, written: Written) -> None:
        """Keep one class, unless a whole answer is there and this is a part of one."""
        path = self.path(written.class_name)
        if path is None:
            return
        text = json.dumps(vars(written), ensure_ascii=False, indent=1)
        with _LOCK:
            old = self.load(written.class_name)
            if written.complete or not (old and old.complete):
                with atomic_path(path) as temporary:
                    temporary.write_text(text + "\n", encoding="utf-8")


def try_path(path: str | Path) -> None:
    """Raise an InputError if nothing could be written to this path; leave it as it is."""
    with suppress(_TriedError), atomic_path(path):
        raise _TriedError


class _TriedError(Exception):
    """Leaves `atomic_path` without writing."""
