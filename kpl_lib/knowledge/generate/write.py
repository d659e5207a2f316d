"""Generate a knowledge base: a language model describes each class. Cached, resumable, screened.

A bounded number of threads, each busy with one class until it is whole; answers are kept on disk, a small file a class.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from threading import Event, Lock

from tqdm import tqdm

from kpl_lib import __version__
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, check_writable
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.description import Description
from kpl_lib.knowledge.generate.answers import parse_answer, screen
from kpl_lib.knowledge.generate.endpoint import Answer, Endpoint, EndpointError
from kpl_lib.knowledge.generate.prompts import Prompt, load_prompt

_LOCK = Lock()  # one write at a time: each looks at what is there
COUNTS = ("calls", "retries", "tokens_in", "tokens_out", "uncounted")

MAX_LETTERS = 200


@dataclass(frozen=True)
class WrittenClass:
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
        check_writable(self.folder / "try.json")

    def path(self, class_name: str) -> Path | None:
        """The file of one class."""
        if self.folder is None:
            return None
        spelled = json.dumps({**self._question, "class": class_name}, sort_keys=True)
        return self.folder / f"{hashlib.sha256(spelled.encode()).hexdigest()[:32]}.json"

    def load(self, class_name: str) -> WrittenClass | None:
        """What is kept of one class; None if there is nothing, or nothing that can be read."""
        path = self.path(class_name)
        if path is None:
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = WrittenClass(**{**content, "refused": Counter(content["refused"])})
            found = replace(found, descriptions=tuple(found.descriptions))
            texts = all(isinstance(text, str) for text in (found.date, *found.descriptions))
            whole = all(isinstance(getattr(found, key), int) for key in ("wanted", *COUNTS))
            return found if texts and whole and found.class_name == class_name else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def store(self, written: WrittenClass) -> None:
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

    before: WrittenClass
    written: WrittenClass
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

    def write(self, before: WrittenClass, stop: Event) -> Attempt:
        """Write one class; start from what is kept of it."""
        kept = self.cache.load(before.class_name)  # another process may have been faster
        if kept and kept.complete:
            return Attempt(kept, kept)
        attempt = self._rounds(before, stop)
        if attempt.written != before and (attempt.written.descriptions or attempt.written.refused):
            self.cache.store(attempt.written)  # not where no answer came at all
        return attempt

    def _rounds(self, before: WrittenClass, stop: Event) -> Attempt:
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

    def _added(self, now: WrittenClass, answer: Answer) -> tuple[WrittenClass, str]:
        """Add what an answer brings; say what was wrong with it."""
        items = parse_answer(answer.text)
        if not items:
            fault = answer.fault or "no list"
            return replace(now, refused=now.refused + Counter({fault: 1})), fault
        found = screen(items, now.class_name, self.prompt.template, now.descriptions)
        texts = (*now.descriptions, *found.accepted)[: now.wanted]
        return replace(now, descriptions=texts, refused=now.refused + found.refused), "nothing to accept"


def _counted(now: WrittenClass, answer: Answer) -> WrittenClass:
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
    todo: Sequence[WrittenClass], writer: Writer, concurrency: int, done: Callable[[Attempt], None]
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

    def write(before: WrittenClass) -> Attempt:
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


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any currency: of the questions and of the answers.

    Args:
        tokens_in: price of a million tokens of the questions.
        tokens_out: price of a million tokens of the answers.

    Chapter: ch-knowledge
    """

    tokens_in: float = 0.0
    tokens_out: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.tokens_in < inf and 0 <= self.tokens_out < inf):
            raise InputError(f"prices must be 0 or more, not {self.tokens_in} and {self.tokens_out}")

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """The estimate.

        Example:
            >>> Prices(1.0, 2.0).cost(500_000, 1_000_000)
            2.5
        """
        return (self.tokens_in * tokens_in + self.tokens_out * tokens_out) / 1e6


@dataclass(frozen=True)
class GenerationReport:
    """What a run did; what the cache brought is not counted again.

    Args:
        classes: of the base.
        cached: classes that were whole in the cache.
        calls: answers and failures, without retries.
        retries: calls that failed and were repeated.
        tokens_in: tokens of the questions.
        tokens_out: tokens of the answers.
        uncounted: calls whose tokens the server did not count.
        refused: reason -> how many texts or answers.
        short: class -> how many descriptions are missing.
        cost: the estimate, None without prices.

    Chapter: ch-knowledge
    """

    classes: int
    cached: int
    calls: int
    retries: int
    tokens_in: int
    tokens_out: int
    uncounted: int
    refused: Mapping[str, int]
    short: Mapping[str, int]
    cost: float | None

    def __str__(self) -> str:
        head = f"{self.classes} classes, {self.cached} of them from the cache; "
        head += f"{self.calls} calls, {self.retries} retries"
        tokens = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        tokens += f" ({self.uncounted} calls not counted)" if self.uncounted else ""
        cost = "" if self.cost is None else f", cost about {self.cost:.4f}"
        lines = [head, f"{tokens}{cost}"]
        if self.refused:
            lines.append(
                "refused: " + ", ".join(f"{n} {reason}" for reason, n in sorted(self.refused.items()))
            )
        if self.short:
            lines.append(f"short: {some([f'{name!r} lacks {n}' for name, n in self.short.items()])}")
        return "\n".join(lines)


def failure(found: Iterable[WrittenClass], faults: Mapping[str, Attempt], folder: Path | None) -> str:
    """One line: why, which classes, and what is kept."""
    found = list(found)
    worst = max(faults.values(), key=lambda attempt: (attempt.fatal, attempt.fault != "not asked"))
    whole = sum(item.complete for item in found)
    failed = [repr(name) for name, attempt in faults.items() if attempt.fault != "not asked"]
    kept = f"kept in {folder}: run the same command again" if folder else "lost, as no cache was named"
    return (
        f"{worst.fault}; {len(failed)} of {len(found)} classes failed: {some(failed)}; {whole} are finished"
        + (f" and {kept}" if whole else "")
    )


def some(words: Sequence[str], most: int = 20) -> str:
    """The first words, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def origin(made: Sequence[WrittenClass], model: str, host: str, prompt: Prompt, seed: int) -> str:
    """Who wrote the base, when and how; all calls that it took, those of earlier runs too."""
    total = Counter()
    for item in made:
        total.update({key: getattr(item, key) for key in COUNTS})
    uncounted = f" ({total['uncounted']} calls not counted)" if total["uncounted"] else ""
    return (
        "Written by a language model, not reviewed; not for clinical use. "
        f"Model: {model}. Endpoint: {host}. Prompt: {prompt.name}, sha256 {prompt.checksum}. "
        f"Seed: {seed}. Date: {max(item.date for item in made)}. Library: kpl_lib {__version__}. "
        f"Calls: {total['calls']}, retries: {total['retries']}. "
        f"Tokens: {total['tokens_in']} in, {total['tokens_out']} out{uncounted}."
    )


MODALITY = "photograph"
LIMITS = {
    "per_class": (1, 1000),
    "concurrency": (1, 256),
    "seed": (0, 2**31 - 1),
    "retries": (0, 100),
    "max_tokens": (16, 1_000_000),
}


@dataclass(frozen=True)
class Generation:
    """A generated base and what it took.

    Args:
        base: the knowledge base.
        report: calls, tokens and cost.

    Chapter: ch-knowledge
    """

    base: KnowledgeBase
    report: GenerationReport


def generate(
    class_names: Sequence[str],
    *,
    prompt: str | Path | Prompt = "visual",
    per_class: int = 50,
    model: str | None = None,
    modality: str = MODALITY,
    name: str = "generated",
    concurrency: int = 16,
    seed: int = 0,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    prices: Prices | None = None,
    timeout: float = 120.0,
    retries: int = 5,
    temperature: float = 0.7,
    max_tokens: int | None = None,
    environment: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Generation:
    """Let a language model describe classes.

    Each class is asked for in one call. What is missing after screening is asked for again, in at most 6 calls.

    Args:
        class_names: the classes.
        prompt: the name of a prompt, a prompt file, or a prompt.
        per_class: descriptions of each class.
        model: the model; None takes `KPL_LLM_MODEL`.
        modality: the kind of picture, as the prompt says it.
        name: of the base.
        concurrency: calls at the same time.
        seed: passed to the server; a part of the key of the cache.
        cache: folder of finished classes; None keeps none, so that a stop loses all.
        out: file to write; None writes none.
        prices: for the estimate of the cost.
        timeout: seconds that a call may be silent.
        retries: how often a failed call is repeated.
        temperature: of the sampling.
        max_tokens: the most tokens of an answer; None takes 4096, or 60 a description if that is more.
        environment: where the address and the key stand; None takes that of the process.
        progress: whether to show the classes done, and the cost or the tokens so far.

    Returns:
        The base and the report. The origin of the base says who wrote it, when, and how.

    Raises:
        InputError: for wrong input, and if a class has no answer at all after all retries; then nothing is written to
            `out`, and the finished classes stay in the cache.

    Chapter: ch-knowledge
    """
    if isinstance(class_names, str):
        raise InputError(f"classes must be a list of names, not {class_names!r}; see read_classes")
    names = checked("classes", [(f"number {i}", found) for i, found in enumerate(class_names, 1)])
    _check(per_class=per_class)
    max_tokens = max(4096, 60 * per_class) if max_tokens is None else max_tokens
    _check(concurrency=concurrency, seed=seed, retries=retries, max_tokens=max_tokens)
    if not (timeout > 0 and 0 <= temperature <= 2):
        raise InputError("timeout must be above 0 and temperature between 0 and 2")
    prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt)
    if out is not None:
        check_writable(out)  # now, and not after an hour of calls
    tuning = {"timeout": timeout, "retries": retries, "temperature": temperature, "max_tokens": max_tokens}
    asked = {"system": prompt.system, "user": prompt.user, "again": prompt.again, "template": prompt.template}
    asked |= {"modality": modality, "seed": seed, "per_class": per_class, "temperature": temperature}
    with closing(Endpoint(model, environment=environment, **tuning)) as endpoint:
        kept = Cache(cache, asked | {"model": endpoint.model})
        writer = Writer(endpoint, prompt, modality, seed, kept)
        made, report = _run(names, per_class, writer, concurrency, prices, progress)
    records = {item.class_name: [Description(text) for text in item.descriptions] for item in made}
    written = origin(made, endpoint.model, endpoint.host, prompt, seed)
    base = KnowledgeBase(name, records, modality, written, prompt.template)
    if out is not None:
        base.save(out)
    return Generation(base, report)


def _run(
    names: Sequence[str], wanted: int, writer: Writer, concurrency: int, prices: Prices | None, progress: bool
) -> tuple[list[WrittenClass], GenerationReport]:
    """Write what the cache does not hold; all classes in order, and the report."""
    found = {name: writer.cache.load(name) or WrittenClass(name, (), wanted) for name in names}
    todo = [item for item in found.values() if not item.complete]
    spent, refused, faults = Counter(), Counter(), {}
    with tqdm(total=len(names), initial=len(names) - len(todo), unit="class", disable=not progress) as bar:

        def done(attempt: Attempt) -> None:
            now, old = attempt.written, attempt.before
            found[now.class_name] = now
            if attempt.fault:
                faults[now.class_name] = attempt
            spent.update({key: getattr(now, key) - getattr(old, key) for key in COUNTS})
            refused.update(now.refused - old.refused)
            tokens = spent["tokens_in"], spent["tokens_out"]
            said = f"cost {prices.cost(*tokens):.4f}" if prices else f"{sum(tokens):,} tokens"
            bar.set_postfix_str(said, refresh=False)
            bar.update(not attempt.fault)

        write_all(todo, writer, concurrency, done)
    if faults:
        raise InputError(failure(found.values(), faults, writer.cache.folder))
    short = {name: wanted - len(item.descriptions) for name, item in found.items() if not item.complete}
    cost = prices.cost(spent["tokens_in"], spent["tokens_out"]) if prices else None
    counts = {key: spent[key] for key in COUNTS}
    report = GenerationReport(
        classes=len(names),
        cached=len(names) - len(todo),
        refused=dict(refused),
        short=short,
        cost=cost,
        **counts,
    )
    return list(found.values()), report


def _check(**values: int) -> None:
    for key, value in values.items():
        low, high = LIMITS[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{key} must be a whole number from {low} to {high}, not {value!r}")


def checked(source: object, named: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    """The names, if each is text, stands once and is neither empty nor too long.

    Args:
        source: where they come from, for messages.
        named: pairs of place and name.

    Returns:
        The names with single spaces.

    Raises:
        InputError: otherwise; says where.

    Example:
        >>> checked("pets.txt", [("line 1", "cat"), ("line 2", "Cat")])
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: pets.txt: line 2: class 'Cat' stands in line 1 already; drop one of them
    """
    if not named:
        raise InputError(f"{source}: no classes; give one name at least")
    places: dict[str, str] = {}
    names = []
    for place, name in named:
        if not isinstance(name, str):
            raise InputError(f"{source}: {place} must be a class name, not {name!r:.60}")
        name = " ".join(name.split())
        if not name or not name.isprintable():
            raise InputError(f"{source}: {place} is no class name ({name!r}); write it in letters")
        if len(name) > MAX_LETTERS:
            raise InputError(f"{source}: {place} has {len(name)} letters, at most {MAX_LETTERS}; shorten it")
        first = places.setdefault(name.casefold(), place)
        if first != place:
            raise InputError(f"{source}: {place}: class {name!r} stands in {first} already; drop one of them")
        names.append(name)
    return tuple(names)
