"""Which descriptions say nearly the same: the Jaccard overlap of their content stems, and all pairs above a bound."""

from collections.abc import Iterator, Sequence, Set

import numpy as np
from scipy.sparse import csr_matrix

from kpl_lib.knowledge_words import content_stems

_BLOCK = 256  # texts compared at once, so that memory stays small


def overlap(first: str, second: str) -> float:
    """Jaccard overlap of the content stems of two texts; 0 where neither has any.

    `J(a, b) = |a ∩ b| / |a ∪ b|`

    Args:
        first: a text.
        second: another one.

    Returns:
        J, from 0 to 1.

    Example:
        >>> overlap("small red dots", "a red dot")
        0.6666666666666666

    Chapter: ch-knowledge
    """
    a, b = content_stems(first), content_stems(second)
    return len(a & b) / len(a | b) if a | b else 0.0


def near_pairs(
    sets: Sequence[Set[str]], above: float = 0.6
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of sets with a Jaccard overlap above a bound, found without looking at every pair.

    `J(a, b) > t` needs `|a ∩ b| > t |a|`. So of the rarest `|a| - o + 2` words of each, where
    `o = floor(t |a|) + 1`, the two share at least two. A sparse product counts these for all pairs, and only
    pairs that pass are compared in full.

    Args:
        sets: n sets; empty ones match nothing.
        above: the bound t, 0 < t < 1.

    Yields:
        Blocks of pairs: numbers i, numbers j < i, and overlaps; all `[pairs]`, in the order of i, then j.

    Example:
        >>> [[found.tolist() for found in block] for block in near_pairs([set("abc"), set("xy"), set("abcd")])]
        [[[2], [0], [0.75]]]

    Source: prefix filtering, Chaudhuri et al. 2006, doi 10.1109/ICDE.2006.9; with two shared words as in Wang
    et al. 2012, doi 10.1145/2213836.2213847.
    Chapter: ch-knowledge
    """
    if not any(sets):
        return
    full, start = _incidence(sets, above)
    sizes = np.array([len(words) for words in sets])
    for low in range(0, len(sets), _BLOCK):
        high = min(low + _BLOCK, len(sets))
        counts = start[low:high] @ start[:high].T
        strong = np.flatnonzero(counts.data >= 2)
        i = low + np.searchsorted(counts.indptr, strong, side="right") - 1
        j = counts.indices[strong]
        small, large = np.minimum(sizes[i], sizes[j]), np.maximum(sizes[i], sizes[j])
        likely = (j < i) & (small > above * large)
        i, j = i[likely], j[likely]
        shared = np.asarray(full[i].multiply(full[j]).sum(axis=1)).ravel()
        value = shared / (sizes[i] + sizes[j] - shared)
        near = np.flatnonzero(value > above)
        near = near[np.lexsort((j[near], i[near]))]
        if len(near):
            yield i[near], j[near], value[near]


def _incidence(sets: Sequence[Set[str]], above: float) -> tuple[csr_matrix, csr_matrix]:
    """Which set holds which word, `[n, V]`: all words, and the rarest ones of each set alone."""
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(word, len(numbers)) for words in sets for word in sorted(words)]
    sizes = np.array([len(words) for words in sets])
    columns, rows = np.array(flat), np.repeat(np.arange(len(sets)), sizes)
    rarity = np.bincount(columns, minlength=len(numbers)).argsort(kind="stable").argsort()
    order = np.lexsort((rarity[columns], rows))
    columns, rows = columns[order], rows[order]
    place = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    needed = np.floor(above * sizes).astype(int) + 1
    early = place < (sizes - needed + 2)[rows]
    weight = np.where(needed == 1, 2, 1)[rows]  # where one shared word is enough, it counts as two

    def made(values: np.ndarray) -> csr_matrix:
        matrix = csr_matrix((values.astype(np.int32), (rows, columns)), shape=(len(sets), len(numbers)))
        matrix.eliminate_zeros()
        return matrix

    return made(np.ones(len(rows))), made(early * weight)
