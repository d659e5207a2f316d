"""What is wrong with a knowledge base, as far as its words tell, as one page of text."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np

from kpl_lib.common.errors import InputError, did_you_mean
from kpl_lib.knowledge.description import Description
from kpl_lib.knowledge.words import (
    Phrases,
    content_stems,
    left_over,
    near_pairs,
    pair_names,
    word_list,
    words_of,
)

LIMIT = 6  # lines of one kind on the page
ROWS = 40  # classes in a table
NEAR = 0.6  # overlap of content stems above which two texts of one class say the same
TOKENS = 70  # of CLIP's context of 77, begin and end counted
ALIKE = 1000  # pairs across classes after which nobody reads on

Words = tuple[str, ...]  # those of one text


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        kind: such as `duplicate`, `near duplicate`, `class name` or `uneven`.
        class_name: the class, or empty for the whole base.
        message: what and where, in one line.
        grave: True if it should be corrected, False if it is only worth knowing.

    Chapter: ch-knowledge
    """

    kind: str
    class_name: str
    message: str
    grave: bool = True


@dataclass(frozen=True)
class Report:
    """Everything found in one knowledge base.

    Args:
        name: the knowledge base.
        counts: descriptions of each class.
        findings: kind by kind.

    Example:
        >>> Report("pets", {"cat": 2}, ()).clean
        True

    Chapter: ch-knowledge
    """

    name: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing has to be corrected."""
        return not any(finding.grave for finding in self.findings)

    def text(self, limit: int | None = LIMIT) -> str:
        """The report as text: grave findings first (!), then the others (-), kind by kind.

        Args:
            limit: the most lines of one kind; None gives all.
        """
        lines = [f"{self.name}: {len(self.counts)} classes, {sum(self.counts.values())} descriptions"]
        for kind in dict.fromkeys(f.kind for f in sorted(self.findings, key=lambda f: not f.grave)):
            shown = [f"  {'!' if f.grave else '-'} {f.message}" for f in self.findings if f.kind == kind]
            lines += capped(shown, limit, f"of these ({kind})")
        grave = sum(finding.grave for finding in self.findings)
        return "\n".join([*lines, f"  {grave} to correct (!)" if grave else "  clean"])

    __str__ = text


def capped(lines: list[str], limit: int | None, what: str) -> list[str]:
    """The first lines, and one that says how many more there are."""
    if limit is None or len(lines) <= limit:
        return lines
    return [*lines[:limit], f"    and {len(lines) - limit} more {what}"]


def columns_of(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns of equal width, the first one to the left.

    Example:
        >>> columns_of(("class", "n"), [("cat", "12")])
        ['  class   n', '  cat    12']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in (header, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *cells]))
    return lines


def token_counts(texts: Sequence[str], tokenizer: Callable | None = None, enough: int = 0) -> list[int]:
    """Tokens of each text for an open_clip tokenizer, None is CLIP's own; begin and end counted.

    A text that cannot have more tokens than `enough` is counted in bytes, which is quick.

    Example:
        >>> token_counts(["a photo of a cat"])
        [7]
    """
    size = cache(lambda word: len((tokenizer or _clip_tokenizer()).encode(word)))  # a word is cut by itself
    most = [len("".join(text.split()).encode()) + 2 for text in texts]  # a token holds a byte or more
    pairs = zip(texts, most, strict=True)
    return [bound if bound <= enough else 2 + sum(map(size, text.split())) for text, bound in pairs]


@cache
def _clip_tokenizer() -> Callable:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def check_base(
    name: str,
    records: Mapping[str, Sequence[Description]],
    sentences: Mapping[str, list[str]],
    whole: bool = False,
    class_names: Sequence[str] | None = None,
) -> Report:
    """Check everything that words tell; arguments and errors as of `KnowledgeBase.check`.

    Where `whole`, the descriptions are whole sentences themselves, and may say the class name.

    Returns:
        Duplicates and near duplicates within a class, texts that classes share or nearly share (where the Jaccard
        overlap of their content stems is above 0.6), class names in descriptions, uneven counts; sentences of more
        than 70 tokens of CLIP; words of what cannot be seen, where `visual` does not say so; tags that
        `data/words/tags.txt` lacks; classes that are missing, unknown, or in another order.
    """
    if isinstance(class_names, str):
        raise InputError(f"check: class_names must be a list of names, not {class_names!r}")
    rows = [(label, d.text, tuple(words_of(d.text))) for label, found in records.items() for d in found]
    twice: list[Finding] = []
    first: dict[tuple[str, Words], str] = {}  # class and words -> the first text that has them
    owners: dict[Words, dict[str, str]] = {}  # words -> class -> its first text that has them
    for label, text, words in rows:
        if (label, words) in first:
            twice.append(Finding("duplicate", label, f"class {label!r}: {text!r} stands twice"))
        else:
            first[label, words] = owners.setdefault(words, {})[label] = text
    counts = {label: len(found) for label, found in records.items()}
    findings = [
        *twice,
        *_near_within(first),
        *([] if whole else _names(rows, records)),
        *_shared(owners),
        *_near_across(owners),
        *_uneven(counts),
        *too_long(sentences),
        *_wording(records),
        *_tags(records),
        *([] if class_names is None else _against(tuple(records), tuple(class_names))),
    ]
    return Report(name, counts, tuple(findings))


def _nearest(blocks: Iterable) -> Iterator[tuple[int, int, float]]:
    """Of the pairs of each row i, the one with the largest overlap."""
    for i, j, value in blocks:
        order = np.lexsort((j, -value, i))
        best = order[np.unique(i[order], return_index=True)[1]]
        yield from zip(i[best].tolist(), j[best].tolist(), value[best].tolist(), strict=True)


def _near_within(first: Mapping[tuple[str, Words], str]) -> Iterator[Finding]:
    """Texts that nearly repeat an earlier one of their class."""
    rows = [(label, text) for (label, _), text in first.items()]
    stems = [frozenset((label, s) for s in content_stems(text)) for label, text in rows]
    for i, j, value in _nearest(near_pairs(stems, NEAR)):
        (label, text), (_, earlier) = rows[i], rows[j]
        message = f"class {label!r}: {text!r} nearly repeats {earlier!r} (overlap {value:.2f})"
        yield Finding("near duplicate", label, message)


def _near_across(owners: Mapping[Words, Mapping[str, str]]) -> Iterator[Finding]:
    """Texts that are nearly those of another class; they may still be right, so these are not grave."""
    rows = list(owners.values())
    firsts = [next(iter(row.items())) for row in rows]
    pairs = _nearest(near_pairs([content_stems(text) for _, text in firsts], NEAR))
    apart = ((i, j, value) for i, j, value in pairs if not rows[i].keys() & rows[j].keys())
    for i, j, value in islice(apart, ALIKE):
        (label, text), (other, earlier) = firsts[i], firsts[j]
        message = f"{text!r} of {label!r} is close to {earlier!r} of {other!r} (overlap {value:.2f})"
        yield Finding("close", label, message, grave=False)


def _names(rows: Sequence[tuple[str, str, Words]], names: Iterable[str]) -> Iterator[Finding]:
    """Descriptions that say the whole name of their class, or of another one."""
    phrases = Phrases([name for name in names if content_stems(name)])  # a class `A` is in every sentence
    for label, text, words in rows:
        own = f" {' '.join(words_of(label))} "
        for said in phrases.inside(words):
            if said == label:
                yield Finding("class name", label, f"class {label!r}: {text!r} says the class name")
            elif f" {' '.join(words_of(said))} " not in own:
                message = f"class {label!r}: {text!r} says the name of {said!r}"
                yield Finding("other name", label, message, grave=False)


def _shared(owners: Mapping[Words, Mapping[str, str]]) -> Iterator[Finding]:
    """Texts that several classes have: they tell nothing apart."""
    for words, labels in owners.items():
        if len(labels) > 1:
            some = [*map(repr, islice(labels, 4)), *([f"{len(labels) - 4} more"] if len(labels) > 4 else [])]
            message = f"{' '.join(words)!r} stands under {', '.join(some)}"
            yield Finding("shared", next(iter(labels)), message)


def _uneven(counts: Mapping[str, int]) -> Iterator[Finding]:
    if len(set(counts.values())) > 1:
        low, high = min(counts, key=counts.get), max(counts, key=counts.get)
        message = f"uneven: {low!r} has {counts[low]} descriptions, {high!r} has {counts[high]}"
        yield Finding("uneven", "", message, grave=False)


def too_long(
    sentences: Mapping[str, list[str]],
    tokenizer: Callable | None = None,
    limit: int = TOKENS,
    reader: str = "CLIP's tokenizer",
) -> Iterator[Finding]:
    """Sentences of more tokens than the limit; `reader` is what a message calls the tokenizer, None is CLIP's own."""
    flat = [(label, text) for label, texts in sentences.items() for text in texts]
    counts = token_counts([text for _, text in flat], tokenizer, limit)
    for (label, text), count in zip(flat, counts, strict=True):
        if count > limit:
            start = text if len(text) <= 60 else text[:57] + "..."
            message = f"class {label!r}: {count} tokens, at most {limit} with {reader}: {start!r}"
            yield Finding("tokens", label, message)


def _wording(records: Mapping[str, Sequence[Description]]) -> Iterator[Finding]:
    """Words of complaints, history, treatment and laboratory in lines that do not say that they cannot be seen."""
    phrases = Phrases(word_list("unseen"), slack=3)
    for label, found in records.items():
        for description in found:
            said = [] if description.visual is False else phrases.inside(words_of(description.text))
            if said:
                message = f"class {label!r}: {description.text!r} speaks of what is not seen ({said[0]})"
                yield Finding("wording", label, message, grave=False)


def _tags(records: Mapping[str, Sequence[Description]]) -> Iterator[Finding]:
    known = word_list("tags")
    counts = Counter(tag for found in records.values() for d in found for tag in d.tags if tag not in known)
    for tag, count in counts.items():
        hint = did_you_mean(tag, known)
        message = f"unknown tag {tag!r} on {count} descriptions: {hint}known: {', '.join(known)}"
        yield Finding("tags", "", message, grave=False)


def _against(own: tuple[str, ...], wanted: tuple[str, ...]) -> Iterator[Finding]:
    """Classes that are missing, unknown, or in another order; matched by name."""
    pairs = pair_names(own, wanted)
    missing, left, nearest = left_over(own, wanted, pairs)
    for name in missing:
        hint = f"; is it {nearest[name]!r}?" if name in nearest else ""
        yield Finding("missing class", name, f"class {name!r} of the dataset has no descriptions{hint}")
    for name in left:
        yield Finding("unknown class", name, f"class {name!r} is not in the dataset")
    order = [pairs[name] for name in wanted if name in pairs]
    if order != [name for name in own if name in pairs.values()]:
        message = "the classes stand in another order than in the dataset: match by name, not by position"
        yield Finding("order", "", message, grave=False)
