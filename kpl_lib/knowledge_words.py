"""Words of descriptions: their stems, the ones that carry content, and phrases inside texts."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import snowballstemmer

from kpl_lib.paths import data_dir

_STEMMER = snowballstemmer.stemmer("english")


@cache
def word_list(name: str) -> tuple[str, ...]:
    """The lines of `data/words/NAME.txt` without comments.

    Args:
        name: of the list, such as `stop`.

    Returns:
        Its words, in the order of the file.

    Example:
        >>> "the" in word_list("stop")
        True

    Chapter: ch-knowledge
    """
    lines = (Path(data_dir()) / "words" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def words_of(text: str) -> list[str]:
    """Lower-case words in order, without punctuation.

    Args:
        text: any text.

    Returns:
        The words, as often as they stand there.

    Example:
        >>> words_of("Wet, wet noses!")
        ['wet', 'wet', 'noses']

    Chapter: ch-knowledge
    """
    return re.findall(r"[^\W_]+", text.casefold())


@cache
def stem(word: str) -> str:
    """The stem of a lower-case word.

    Args:
        word: one word, in lower case.

    Returns:
        The stem.

    Source: Porter's second English stemmer, run by snowballstemmer.

    Example:
        >>> stem("vessels"), stem("scattered")
        ('vessel', 'scatter')

    Chapter: ch-knowledge
    """
    return _STEMMER.stemWord(word)


def content_stems(text: str) -> frozenset[str]:
    """Stems of the words that carry content: all but those of `data/words/stop.txt`.

    Args:
        text: any text.

    Returns:
        The stems, each once.

    Example:
        >>> sorted(content_stems("a ring of red dots in the retina"))
        ['dot', 'red', 'retina', 'ring']

    Chapter: ch-knowledge
    """
    stops = _stop_words()
    return frozenset(stem(word) for word in words_of(text) if word not in stops)


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(word_list("stop"))


class Phrases:
    """Finds phrases inside texts, in any inflection of each word.

    Two words are the same if their stems are and their lengths differ by at most `slack` letters: with 2,
    `dogs` says `dog` and `dogged` does not.

    Args:
        phrases: what to look for.
        slack: letters by which inflections may differ.

    Example:
        >>> Phrases(["house cat"]).inside(words_of("like all house cats"))
        ['house cat']
    """

    def __init__(self, phrases: Iterable[str], slack: int = 2) -> None:
        self.slack = slack
        self._by_start: dict[str, list[tuple[str, list[str], list[str]]]] = {}
        for phrase in phrases:
            words = words_of(phrase)
            if words:
                stems = [stem(word) for word in words]
                self._by_start.setdefault(stems[0], []).append((phrase, words, stems))

    def inside(self, words: Sequence[str]) -> list[str]:
        """The phrases that stand in these words, each once, in order."""
        stems = [stem(word) for word in words]
        found: dict[str, None] = {}
        for start, first in enumerate(stems):
            for phrase, spelled, wanted in self._by_start.get(first, ()):
                end = start + len(wanted)
                if stems[start:end] == wanted and self._close(spelled, words[start:end]):
                    found.setdefault(phrase)
        return list(found)

    def _close(self, spelled: list[str], words: Sequence[str]) -> bool:
        """Whether the words are inflections within the slack."""
        return all(abs(len(a) - len(b)) <= self.slack for a, b in zip(spelled, words, strict=True))
