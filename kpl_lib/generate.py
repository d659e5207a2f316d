"""Generate a knowledge base: a language model describes each class. Cached, resumable, screened."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from kpl_lib.errors import InputError
from kpl_lib.generate_cache import COUNTS, Cache, Written, try_path
from kpl_lib.generate_classes import checked
from kpl_lib.generate_endpoint import Endpoint
from kpl_lib.generate_prompts import Prompt, load_prompt
from kpl_lib.generate_report import GenerationReport, Prices, failure, origin
from kpl_lib.generate_workers import Attempt, Writer, write_all
from kpl_lib.knowledge import Description, KnowledgeBase

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
        try_path(out)  # now, and not after an hour of calls
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
) -> tuple[list[Written], GenerationReport]:
    """Write what the cache does not hold; all classes in order, and the report."""
    found = {name: writer.cache.load(name) or Written(name, (), wanted) for name in names}
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
