"""Generate a knowledge base: a language model describes each class. Cached, resumable, screened.

A bounded number of threads, each busy with one class until it is whole.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tqdm import tqdm

from kpl_lib import __version__
from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import check_writable
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.description import Description
from kpl_lib.knowledge.generate.endpoint import Endpoint, EndpointError
from kpl_lib.knowledge.generate.prompts import Prompt, load_prompt
from kpl_lib.knowledge.generate.rounds import COUNTS, NOT_ASKED, Cache, Writer, WrittenClass

MODALITY = "photograph"
MAX_LETTERS = 200


@dataclass(frozen=True)
class GenerationReport:
    """What a run did; what the cache brought is not counted again.

    Args:
        classes: of the base.
        cached: classes that were whole in the cache.
        refused: reason -> how many texts or answers.
        short: class -> how many descriptions are missing.
        cost: the estimate, None without prices.
        calls: answers, without retries.
        retries: calls that failed and were repeated.
        tokens_in: tokens of the questions.
        tokens_out: tokens of the answers.
        uncounted: calls whose tokens the server did not count.

    Chapter: ch-knowledge
    """

    classes: int
    cached: int
    refused: Mapping[str, int]
    short: Mapping[str, int]
    cost: float | None
    calls: int
    retries: int
    tokens_in: int
    tokens_out: int
    uncounted: int

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", cost about {self.cost:.4f}"
        lines = [
            f"{self.classes} classes, {self.cached} of them from the cache; {self.calls} calls, {self.retries} retries",
            f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out{_not_counted(self.uncounted)}{cost}",
        ]
        if self.refused:
            refused = [f"{n} {reason}" for reason, n in sorted(self.refused.items())]
            lines.append(f"refused: {', '.join(refused)}")
        if self.short:
            lines.append(f"short: {_some([f'{name!r} lacks {n}' for name, n in self.short.items()])}")
        return "\n".join(lines)


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
    prices: tuple[float, float] | None = None,
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
        prices: what a million tokens cost, in the questions and in the answers; for the estimate in the report.
        timeout: seconds that a call may be silent.
        retries: how often a failed call is repeated.
        temperature: of the sampling.
        max_tokens: the most tokens of an answer; None takes 4096, or 60 a description if that is more.
        environment: where the address and the key stand; None takes that of the process.
        progress: whether to show the classes done.

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
    check_count(per_class, "per_class")
    check_count(concurrency, "concurrency")
    check_count(seed, "seed", 0)
    check_count(retries, "retries", 0)
    most = max(4096, 60 * per_class) if max_tokens is None else check_count(max_tokens, "max_tokens", 16)
    if not (timeout > 0 and 0 <= temperature <= 2):
        raise InputError("timeout must be above 0 and temperature between 0 and 2")
    if prices and not all(0 <= price < inf for price in prices):
        raise InputError(f"prices must be 0 or more, not {prices[0]} and {prices[1]}")
    prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt)
    if out is not None:
        check_writable(out)  # now, and not after an hour of calls
    tuning = {"timeout": timeout, "retries": retries, "temperature": temperature, "max_tokens": most}
    asked = {"system": prompt.system, "user": prompt.user, "again": prompt.again, "template": prompt.template}
    asked |= {"modality": modality, "seed": seed, "per_class": per_class, "temperature": temperature}
    with closing(Endpoint(model, environment=environment, **tuning)) as endpoint:
        kept = Cache(cache, asked | {"model": endpoint.model})
        writer = Writer(endpoint, prompt, modality, seed, kept, max(4, concurrency))
        found = {name: kept.load(name) or WrittenClass(name, (), per_class) for name in names}
        todo = [item for item in found.values() if not item.complete]
        found |= write_all(todo, writer, concurrency, len(names), progress)
    made = list(found.values())
    records = {item.class_name: [Description(text) for text in item.descriptions] for item in made}
    base = KnowledgeBase(name, records, modality, _origin(made, writer), prompt.template)
    if out is not None:
        base.save(out)
    return Generation(base, _report(made, len(todo), writer, prices))


def write_all(
    todo: Sequence[WrittenClass], writer: Writer, concurrency: int, total: int, progress: bool = True
) -> dict[str, WrittenClass]:
    """Write the classes that are not whole; gives them by name. The bar counts to `total`.

    Calls under way are waited for, as they may be paid for.

    Raises:
        InputError: if some failed; says why, which, and what is kept.
    """
    done, faults = {}, {}
    bar = tqdm(total=total, initial=total - len(todo), unit="class", disable=not progress)
    with bar, ThreadPoolExecutor(concurrency) as pool:
        futures = {pool.submit(writer.write, item): item.class_name for item in todo}
        try:
            for future in as_completed(futures):
                error, name = future.exception(), futures[future]
                if isinstance(error, EndpointError):
                    faults[name] = error
                else:
                    done[name] = future.result()
                    bar.update()
        except BaseException:
            writer.stop.set()
            raise
    if faults:
        whole = total - len(todo) + sum(item.complete for item in done.values())
        raise InputError(_failure(faults, total, whole, writer.cache.folder))
    return done


def _failure(faults: Mapping[str, EndpointError], total: int, whole: int, folder: Path | None) -> str:
    """One line: why, which classes, and what is kept."""
    asked = {name: error for name, error in faults.items() if str(error) != NOT_ASKED}
    worst = max(asked.values(), key=lambda error: error.fatal)
    said = f"{worst}; {len(asked)} of {total} classes failed: {_some([*map(repr, asked)])}"
    said += f"; {whole} are finished"
    kept = f"kept in {folder}: run the same command again" if folder else "lost, as no cache was named"
    return f"{said} and {kept}" if whole else said


def _report(
    found: Sequence[WrittenClass], written: int, writer: Writer, prices: tuple[float, float] | None
) -> GenerationReport:
    spent = writer.spent
    return GenerationReport(
        classes=len(found),
        cached=len(found) - written,
        refused=dict(writer.refused),
        short={item.class_name: item.wanted - len(item.descriptions) for item in found if not item.complete},
        cost=(prices[0] * spent["tokens_in"] + prices[1] * spent["tokens_out"]) / 1e6 if prices else None,
        **{key: spent[key] for key in COUNTS},
    )


def _origin(found: Sequence[WrittenClass], writer: Writer) -> str:
    """Who wrote the base, when and how; all answers that it took, those of earlier runs too."""
    spent = sum((item.spent for item in found), Counter())
    prompt = writer.prompt
    return (
        "Written by a language model, not reviewed; not for clinical use. "
        f"Model: {writer.endpoint.model}. Endpoint: {writer.endpoint.host}. "
        f"Prompt: {prompt.name}, sha256 {prompt.checksum}. Seed: {writer.seed}. "
        f"Date: {max(item.date for item in found)}. Library: kpl_lib {__version__}. "
        f"Calls: {spent['calls']}, retries: {spent['retries']}. "
        f"Tokens: {spent['tokens_in']} in, {spent['tokens_out']} out{_not_counted(spent['uncounted'])}."
    )


def _not_counted(calls: int) -> str:
    return f" ({calls} calls not counted)" if calls else ""


def _some(words: Sequence[str], most: int = 20) -> str:
    """The first words, and how many more there are."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def checked(source: object, named: Sequence[tuple[str, object]]) -> tuple[str, ...]:
    """The names, given with their places in `source`, if each is text, stands once and is neither empty nor too long.

    Example:
        >>> checked("pets.txt", [("line 1", "cat"), ("line 2", "Cat")])
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: pets.txt: line 2: class 'Cat' stands in line 1 already; drop one of them
    """
    if not named:
        raise InputError(f"{source}: no classes; give one name at least")
    names, places = [], {}
    for place, name in named:
        name = " ".join(name.split()) if isinstance(name, str) else name
        if not isinstance(name, str) or not name or not name.isprintable():
            raise InputError(f"{source}: {place} is no class name ({name!r:.60}); write it in letters")
        if len(name) > MAX_LETTERS:
            raise InputError(f"{source}: {place} has {len(name)} letters, at most {MAX_LETTERS}; shorten it")
        first = places.setdefault(name.casefold(), place)
        if first != place:
            raise InputError(f"{source}: {place}: class {name!r} stands in {first} already; drop one of them")
        names.append(name)
    return tuple(names)
