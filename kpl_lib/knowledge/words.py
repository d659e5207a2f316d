"""Words of descriptions: their stems, phrases inside texts, and which descriptions say nearly the same."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cache
from pathlib import Path

import numpy as np
import snowballstemmer

from kpl_lib.common.errors import closest
from kpl_lib.common.files import data_dir

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
                said = words[start : start + len(wanted)]
                if stems[start : start + len(wanted)] == wanted and all(
                    abs(len(a) - len(b)) <= self.slack for a, b in zip(spelled, said, strict=True)
                ):
                    found.setdefault(phrase)
        return list(found)


BLOCK = 256  # texts compared at once, so that memory stays small


def near_pairs(
    sets: Sequence[Set[str]], above: float = 0.6
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of sets with a Jaccard overlap above a bound; only pairs that share a word are looked at.

    `J(a, b) = |a ∩ b| / |a ∪ b|`, with all `|a ∩ b|` of a block of sets from one sparse product.

    Args:
        sets: n sets; empty ones match nothing.
        above: the bound t, 0 < t < 1.

    Yields:
        Blocks of pairs: numbers i, numbers j < i, and overlaps; all `[pairs]`, in the order of i, then j.

    Example:
        >>> [[found.tolist() for found in block] for block in near_pairs([set("abc"), set("xy"), set("abcd")])]
        [[[2], [0], [0.75]]]

    Chapter: ch-knowledge
    """
    from sklearn.feature_extraction.text import CountVectorizer  # takes a second to import

    if not any(sets):
        return
    words = CountVectorizer(analyzer=list, binary=True, dtype=np.int32).fit_transform(sets)
    sizes = np.array([len(found) for found in sets])
    for low in range(0, len(sets), BLOCK):
        shared = (words[low : low + BLOCK] @ words[: low + BLOCK].T).tocoo()
        i, j = low + shared.row, shared.col
        value = shared.data / (sizes[i] + sizes[j] - shared.data)
        near = np.flatnonzero((j < i) & (value > above))
        near = near[np.lexsort((j[near], i[near]))]
        if len(near):
            yield i[near], j[near], value[near]


def pair_names(own: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Wanted name -> own name, where it stands as it is, or surely means the same class.

    Example:
        >>> pair_names(["cat", "shiba-inu"], ["Shiba Inu", "pug"])
        {'Shiba Inu': 'shiba-inu'}
    """
    same = set(own) & set(wanted)
    alike: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((wanted, own)):
        for name in names:
            if name not in same:
                alike.setdefault(plain_name(name), ([], []))[side].append(name)
    sure = {w[0]: o[0] for key, (w, o) in alike.items() if key and len(w) == len(o) == 1}
    return {name: name for name in same} | sure


def left_over(
    own: Sequence[str], wanted: Sequence[str], pairs: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Wanted names without a pair, own names without one, and for the former the most similar of the latter.

    Example:
        >>> left_over(["cats", "dog"], ["cat", "dog"], {"dog": "dog"})
        (('cat',), ('cats',), {'cat': 'cats'})
    """
    missing = tuple(name for name in wanted if name not in pairs)
    taken = set(pairs.values())
    left = tuple(name for name in own if name not in taken)
    plain = {plain_name(name): name for name in left}
    near = {name: closest(plain_name(name), plain, above=0.6) for name in missing}
    return missing, left, {name: plain[found[0]] for name, found in near.items() if found}


def plain_name(name: str) -> str:
    """A name without case, underscores, hyphens, surplus spaces and trailing dots."""
    return re.sub(r"[\s_\-\u2010-\u2014]+", " ", name.casefold()).strip().rstrip(" .")
