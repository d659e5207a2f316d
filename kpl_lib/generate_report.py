"""What a generation did: counts, cost, what failed, and the origin that stands in the file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from kpl_lib import __version__
from kpl_lib.errors import InputError
from kpl_lib.generate_cache import COUNTS, Written
from kpl_lib.generate_prompts import Prompt
from kpl_lib.generate_workers import Attempt


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


def failure(found: Iterable[Written], faults: Mapping[str, Attempt], folder: Path | None) -> str:
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


def origin(made: Sequence[Written], model: str, host: str, prompt: Prompt, seed: int) -> str:
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
