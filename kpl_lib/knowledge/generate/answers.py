"""Read the answer of a language model: find the list, repair it where that is safe, refuse the rest."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from kpl_lib.knowledge.check import NEAR, TOKENS, token_counts
from kpl_lib.knowledge.description import fill
from kpl_lib.knowledge.words import Phrases, content_stems, words_of

MAX_WORDS = 30

STARTS = 40  # brackets that are tried as the beginning of the list

_LOCK = Lock()  # stemmer and tokenizer keep state: one thread at a time
_STRING = r'"(?:[^"\\]|\\.)*"'
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_TRAILING = re.compile(rf"({_STRING})|,(?=\s*[\]}}])", re.DOTALL)
_BULLET = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,4}[.):])\s+(.*\S)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Screened:
    """What became of the items of one answer.

    Args:
        accepted: the texts that stay.
        refused: reason -> how many.

    Chapter: ch-knowledge
    """

    accepted: tuple[str, ...]
    refused: Counter = field(default_factory=Counter)


def parse_answer(text: str) -> list[object]:
    """Find the list of descriptions in an answer.

    Read in this order: JSON; JSON in a code fence; JSON inside prose, without trailing commas; a list that was cut,
    up to its last whole string; lines with bullets or numbers.

    Args:
        text: the answer: a JSON list, or an object with `descriptions`, as it should be.

    Returns:
        The items, not yet screened; none where no list was found.

    Example:
        >>> parse_answer('Sure! ```json\\n["whiskers", "a long tail",]\\n``` Ask for more!')
        ['whiskers', 'a long tail']
        >>> parse_answer("1. whiskers\\n2. a long tail")
        ['whiskers', 'a long tail']

    Chapter: ch-knowledge
    """
    text = _THOUGHT.sub("", text).strip().lstrip("\ufeff")
    for candidate in (text, *_FENCE.findall(text)):
        items = _whole(candidate)
        if items:
            return items
    lines = [line.strip(" ,") for line in _BULLET.findall(text)]
    return _inside(_TRAILING.sub(lambda found: found[1] or "", text)) or _cut(text) or lines


def screen(texts: Iterable[object], class_name: str, template: str, known: Sequence[str] = ()) -> Screened:
    """Refuse what no knowledge base should hold.

    Refused: no text, empty, more than 30 words or 70 tokens of CLIP in the sentence, the name of the class, and a text
    that is there already, or whose stems overlap with those of another by more than 0.6.

    Args:
        texts: the items of an answer.
        class_name: the class.
        template: the sentence around one.
        known: the texts that are there already.

    Returns:
        The accepted texts in their order, and how many were refused and why.

    Example:
        >>> screen(["whiskers", "Whiskers.", "a cat's eye", " "], "cat", "{description}").accepted
        ('whiskers',)

    Chapter: ch-knowledge
    """
    accepted, refused = [], Counter()
    with _LOCK:
        seen = [(words_of(text), content_stems(text)) for text in known]
        leak = Phrases([class_name], slack=2)
        for item in texts:
            text = " ".join(item.split()).strip("\"'“”`* ") if isinstance(item, str) else None
            reason = _fault(text, class_name, template, leak, seen)
            if reason:
                refused[reason] += 1
            else:
                seen.append((words_of(text), content_stems(text)))
                accepted.append(text)
    return Screened(tuple(accepted), refused)


def _fault(text: str | None, class_name: str, template: str, leak: Phrases, seen: list[tuple]) -> str:
    """Why a text is refused; empty if it is not."""
    if text is None:
        return "no text"
    if not re.search(r"[^\W\d_]", text):
        return "empty"
    if not text.isprintable():
        return "unprintable"
    sentence = fill(template, class_name, text)
    if len(text.split()) > MAX_WORDS or token_counts([sentence], enough=TOKENS)[0] > TOKENS:
        return "too long"
    words, stems = words_of(text), content_stems(text)
    if leak.inside(words):
        return "class name"
    twin = any(words == old or len(stems & bare) > NEAR * len(stems | bare) for old, bare in seen)
    return "duplicate" if twin else ""


def _items(value: object) -> list[object]:
    """The list itself, or that of an object: under `descriptions`, or its only one."""
    if isinstance(value, dict):
        lists = [found for found in value.values() if isinstance(found, list)]
        value = value.get("descriptions", lists[0] if len(lists) == 1 else None)
    return value if isinstance(value, list) and any(isinstance(item, str) for item in value) else []


def _whole(text: str) -> list[object]:
    """The text as one JSON value."""
    try:
        return _items(json.loads(text, strict=False))
    except (ValueError, RecursionError):
        return []


def _inside(text: str) -> list[object]:
    """The longest JSON list that begins at one of the brackets."""
    decoder, best, end = json.JSONDecoder(strict=False), [], 0
    for found in list(re.finditer(r"[\[{]", text))[:STARTS]:
        if found.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        best = max(best, _items(value), key=len)
    return best


def _cut(text: str) -> list[object]:
    """The whole strings of a list that breaks off or breaks; each ends a line, or stands before a comma."""
    start = text.find("[")
    if start < 0:
        return []
    found, place = [], start + 1
    while match := re.compile(rf"\s*({_STRING})\s*(,|\]|\n|\Z)", re.DOTALL).match(text, place):
        try:
            found.append(json.loads(match[1], strict=False))
        except ValueError:
            break
        place = match.end()
    return found
