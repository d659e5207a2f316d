"""One class after another: asked for in rounds, screened, and kept on disk after each answer."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock

from kpl_lib.common.files import check_writable, make_folder, write_json
from kpl_lib.knowledge.generate.answers import parse_answer, screen
from kpl_lib.knowledge.generate.endpoint import Endpoint, EndpointError
from kpl_lib.knowledge.generate.prompts import Prompt

ROUNDS = 6  # answers for one class, before it stays short
COUNTS = ("calls", "retries", "tokens_in", "tokens_out", "uncounted")
NOT_ASKED = "not asked"

_LOCK = Lock()  # one write at a time: each looks at what is there


@dataclass(frozen=True)
class WrittenClass:
    """What a model wrote for one class."""

    class_name: str
    descriptions: tuple[str, ...]  # the accepted texts
    wanted: int
    date: str = ""  # of the last answer, YYYY-MM-DD
    spent: Counter = field(default_factory=Counter)  # what its answers took, see COUNTS

    @property
    def complete(self) -> bool:
        """Whether all that were wanted are there."""
        return len(self.descriptions) >= self.wanted


class Cache:
    """A folder of answers, a small file a class; several processes may share it. None keeps nothing.

    `question` is everything that an answer depends on beside the class.

    Raises:
        InputError: if the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path | None, question: dict) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._question = question
        if self.folder is None:
            return
        make_folder(self.folder)
        check_writable(self.folder / "try.json")

    def _path(self, class_name: str) -> Path:
        spelled = json.dumps({**self._question, "class": class_name}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(spelled.encode()).hexdigest()[:32]}.json"

    def load(self, class_name: str) -> WrittenClass | None:
        """What is kept of one class; None if there is nothing, or nothing that can be read."""
        if self.folder is None:
            return None
        try:
            content = json.loads(self._path(class_name).read_text(encoding="utf-8"))
            texts, date = tuple(content["descriptions"]), content["date"]
            spent = Counter({key: int(content[key]) for key in COUNTS})
            whole = content["class_name"] == class_name and all(isinstance(t, str) for t in (date, *texts))
            return WrittenClass(class_name, texts, int(content["wanted"]), date, spent) if whole else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def store(self, made: WrittenClass) -> None:
        """Keep one class, unless a whole answer is there and this is a part of one."""
        if self.folder is None:
            return
        content = {key: value for key, value in vars(made).items() if key != "spent"}
        content |= {key: made.spent[key] for key in COUNTS}
        with _LOCK:
            old = self.load(made.class_name)
            if made.complete or not (old and old.complete):
                write_json(self._path(made.class_name), content)


class Writer:
    """Writes classes, in any number of threads: asks, reads, refuses, and asks again for what is missing.

    Nothing more is asked after a fatal failure, or when as many classes as `patience` fail in a row. The first call for
    a class has the `seed`; each later one adds 1.
    """

    def __init__(
        self, endpoint: Endpoint, prompt: Prompt, modality: str, seed: int, cache: Cache, patience: int = 4
    ) -> None:
        self.endpoint, self.prompt, self.modality, self.seed = endpoint, prompt, modality, seed
        self.cache, self.patience = cache, patience
        self.spent, self.refused = Counter(), Counter()  # by this run
        self.stop = Event()
        self._lock, self._in_a_row = Lock(), 0

    def write(self, before: WrittenClass) -> WrittenClass:
        """Write one class; start from what is kept of it.

        Raises:
            EndpointError: if no usable answer came, or nothing is asked any more.
        """
        kept = self.cache.load(before.class_name)  # another process may have been faster
        if kept and kept.complete:
            return kept
        try:
            made = self._rounds(before)
        except EndpointError as error:
            with self._lock:  # decided here, before this thread takes its next class
                self._in_a_row += 1
                if error.fatal or self._in_a_row >= self.patience:
                    self.stop.set()  # the classes that still wait come back at once, as not asked
            raise
        with self._lock:
            self._in_a_row = 0
        return made

    def _rounds(self, now: WrittenClass) -> WrittenClass:
        """Ask until the class is whole, or the rounds are over."""
        fault = ""
        for _ in range(ROUNDS):
            if now.complete:
                break
            if self.stop.is_set():
                raise EndpointError(NOT_ASKED)
            missing = now.wanted - len(now.descriptions)
            messages = self.prompt.messages(now.class_name, missing, self.modality, now.descriptions)
            answer = self.endpoint.ask(messages, self.seed + now.spent["calls"])
            items = parse_answer(answer.text)
            found = screen(items, now.class_name, self.prompt.template, now.descriptions)
            fault = "nothing to accept" if items else answer.fault or "no list"
            with self._lock:
                self.spent += answer.spent
                self.refused += found.refused if items else Counter({fault: 1})
            texts = (*now.descriptions, *found.accepted)[: now.wanted]
            today = datetime.now(UTC).date().isoformat()
            now = replace(now, descriptions=texts, date=today, spent=now.spent + answer.spent)
            self.cache.store(now)
        if not now.descriptions:
            raise EndpointError(f"no usable answer in {ROUNDS} rounds, the last one with {fault}")
        return now
