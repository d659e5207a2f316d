"""What is wrong with a knowledge base, as far as its words tell."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        kind: `duplicate`, `shared`, `class name` or `uneven`.
        class_name: the class, or empty for the whole base.
        message: what and where, in one line.
        grave: True if it should be corrected, False if it is only worth knowing.
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
        findings: in class order.

    Example:
        >>> Report("pets", {"cat": 2}, ()).clean
        True
    """

    name: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing has to be corrected."""
        return not any(finding.grave for finding in self.findings)

    def __str__(self) -> str:
        head = f"{self.name}: {len(self.counts)} classes, {sum(self.counts.values())} descriptions"
        lines = [f"  {'!' if finding.grave else '-'} {finding.message}" for finding in self.findings]
        end = "clean" if self.clean else f"{sum(finding.grave for finding in self.findings)} to correct (!)"
        return "\n".join([head, *lines, f"  {end}"])


def check_records(name: str, classes: Mapping[str, list[str]]) -> Report:
    """Check the descriptions of all classes.

    Args:
        name: the knowledge base.
        classes: for each class its texts.

    Returns:
        Duplicates within a class, texts that classes share, class names in descriptions, uneven counts.

    Example:
        >>> print(check_records("pets", {"cat": ["a tail", "A tail."], "dog": ["a wet nose", "a bark"]}))
        pets: 2 classes, 4 descriptions
          ! class 'cat': 'A tail.' stands twice
          1 to correct (!)
    """
    findings = [finding for label, texts in classes.items() for finding in _within(label, texts)]
    findings += _across(classes)
    counts = {label: len(texts) for label, texts in classes.items()}
    if len(set(counts.values())) > 1:
        low, high = min(counts, key=counts.get), max(counts, key=counts.get)
        message = f"uneven: {low!r} has {counts[low]} descriptions, {high!r} has {counts[high]}"
        findings.append(Finding("uneven", "", message, grave=False))
    return Report(name, counts, tuple(findings))


def _within(label: str, texts: list[str]) -> list[Finding]:
    """Duplicates and the class name inside one class."""
    found, seen = [], set()
    spelled = _words(label)
    for text in texts:
        words = _words(text)
        if words in seen:
            found.append(Finding("duplicate", label, f"class {label!r}: {text!r} stands twice"))
        seen.add(words)
        if f" {spelled} " in f" {words} ":
            found.append(Finding("class name", label, f"class {label!r}: {text!r} says the class name"))
    return found


def _across(classes: Mapping[str, list[str]]) -> list[Finding]:
    """Texts that several classes have: they tell nothing apart."""
    owners: dict[str, list[str]] = {}
    for label, texts in classes.items():
        for words in dict.fromkeys(_words(text) for text in texts):
            owners.setdefault(words, []).append(label)
    return [
        Finding("shared", labels[0], f"{words!r} stands under {', '.join(map(repr, labels))}")
        for words, labels in owners.items()
        if len(labels) > 1
    ]


def _words(text: str) -> str:
    """Lower-case words with single spaces, without punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))
