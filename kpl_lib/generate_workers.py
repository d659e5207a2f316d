"""Ask for all classes at once: a bounded number of threads, each busy with one class until it is whole."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event, Lock

from kpl_lib.generate_cache import Cache, Written
from kpl_lib.generate_endpoint import Answer, Endpoint, EndpointError
from kpl_lib.generate_parsing import parse_answer, screen
from kpl_lib.generate_prompts import Prompt

ROUNDS = 6  # answers for one class, before it stays short


@dataclass(frozen=True)
class Attempt:
    """What became of one class.

    Args:
        before: what was there.
        written: what is there now.
        fault: why it is not whole; empty if it is, or if the model just had no more to say.
        fatal: True if every other class would fail too.
    """

    before: Written
    written: Written
    fault: str = ""
    fatal: bool = False


@dataclass(frozen=True)
class Writer:
    """Writes one class: asks, reads, refuses, and asks again for what is missing.

    Args:
        endpoint: who is asked.
        prompt: what is asked.
        modality: the kind of picture.
        seed: of the first call for a class; each later one adds 1.
        cache: where each class is kept as soon as it is there.
    """

    endpoint: Endpoint
    prompt: Prompt
    modality: str
    seed: int
    cache: Cache

    def write(self, before: Written, stop: Event) -> Attempt:
        """Write one class; start from what is kept of it."""
        kept = self.cache.load(before.class_name)  # another process may have been faster
        if kept and kept.complete:
            return Attempt(kept, kept)
        attempt = self._rounds(before, stop)
        if attempt.written != before and (attempt.written.descriptions or attempt.written.refused):
            self.cache.store(attempt.written)  # not where no answer came at all
        return attempt

    def _rounds(self, before: Written, stop: Event) -> Attempt:
        """Ask until the class is whole, the rounds are over, or no answer comes."""
        now, fault = before, ""
        for _ in range(ROUNDS):
            if now.complete:
                break
            if stop.is_set():
                return Attempt(before, now, "not asked")
            missing = now.wanted - len(now.descriptions)
            messages = self.prompt.messages(now.class_name, missing, self.modality, now.descriptions)
            try:
                answer = self.endpoint.ask(messages, self.seed + now.calls)
            except EndpointError as error:
                return Attempt(before, _counted(now, Answer("", "", error.retries)), str(error), error.fatal)
            now, fault = self._added(_counted(now, answer), answer)
        empty = f"no usable answer in {ROUNDS} rounds, the last one with {fault}"
        return Attempt(before, now, "" if now.descriptions else empty)

    def _added(self, now: Written, answer: Answer) -> tuple[Written, str]:
        """Add what an answer brings; say what was wrong with it."""
        items = parse_answer(answer.text)
        if not items:
            fault = answer.fault or "no list"
            return replace(now, refused=now.refused + Counter({fault: 1})), fault
        found = screen(items, now.class_name, self.prompt.template, now.descriptions)
        texts = (*now.descriptions, *found.accepted)[: now.wanted]
        return replace(now, descriptions=texts, refused=now.refused + found.refused), "nothing to accept"


def _counted(now: Written, answer: Answer) -> Written:
    """Add one call to the counts."""
    counted = answer.tokens_in is not None and answer.tokens_out is not None
    return replace(
        now,
        date=datetime.now(UTC).date().isoformat(),
        calls=now.calls + 1,
        retries=now.retries + answer.retries,
        tokens_in=now.tokens_in + (answer.tokens_in or 0),
        tokens_out=now.tokens_out + (answer.tokens_out or 0),
        uncounted=now.uncounted + (not counted),
    )


def write_all(
    todo: Sequence[Written], writer: Writer, concurrency: int, done: Callable[[Attempt], None]
) -> None:
    """Write many classes; stop early where going on is of no use.

    Nothing more is asked after a fatal failure, or when as many classes as there are threads (4 at least) fail in a
    row. Calls under way are waited for, as they may be paid for.

    Args:
        todo: the classes.
        writer: writes one.
        concurrency: how many at the same time.
        done: told of each class that was tried, in this thread.
    """
    stop, lock, in_a_row = Event(), Lock(), 0

    def write(before: Written) -> Attempt:
        nonlocal in_a_row
        attempt = writer.write(before, stop)
        with lock:  # decided here, before this thread takes its next class
            in_a_row = in_a_row + 1 if attempt.fault else 0
            if attempt.fatal or in_a_row >= max(4, concurrency):
                stop.set()  # the classes that still wait come back at once, as not asked
        return attempt

    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(write, before) for before in todo]
        try:
            for future in as_completed(futures):
                done(future.result())
        except BaseException:
            stop.set()
            raise
