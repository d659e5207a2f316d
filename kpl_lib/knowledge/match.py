"""Bring a knowledge base to the classes of a dataset: by name, never by position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kpl_lib.common.errors import InputError
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.words import left_over, pair_names


@dataclass(frozen=True)
class Matched:
    """A knowledge base brought to the classes of a dataset.

    Args:
        knowledge: the classes that were found, under the names and in the order of the dataset.
        missing: classes of the dataset that the base does not describe.
        left_over: classes of the base that the dataset does not have.
        renamed: name in the base -> name in the dataset, where they are spelled differently.
        nearest: missing class -> the most similar one that is left over; a hint, nothing was taken.

    Chapter: ch-real-data
    """

    knowledge: KnowledgeBase
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    renamed: Mapping[str, str]
    nearest: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every class of the dataset was found, and none of the base is left over."""
        return not self.missing and not self.left_over

    def __str__(self) -> str:
        found = len(self.knowledge.records)
        lines = [f"{self.knowledge.name}: {found} of {found + len(self.missing)} classes found"]
        lines += [f"  {old!r} taken for {new!r}" for old, new in self.renamed.items()]
        hints = {name: f" (is it {near!r}?)" for name, near in self.nearest.items()}
        lines += [f"  missing: {name!r}{hints.get(name, '')}" for name in self.missing]
        lines += [f"  left over: {name!r}" for name in self.left_over]
        return "\n".join(lines)


def match_classes(base: KnowledgeBase, class_names: Sequence[str]) -> Matched:
    """Find the classes of a dataset in a knowledge base.

    A name is taken where it stands as it is. Otherwise case, spaces, underscores, hyphens and trailing dots
    are forgiven, if exactly one class of the base and one of the dataset then read alike. Anything less
    certain is reported, not guessed.

    Args:
        base: the knowledge base.
        class_names: the names of the dataset, all different.

    Returns:
        What was found, and what was left over on both sides.

    Raises:
        InputError: if a name stands twice, or no class at all is found.

    Example:
        >>> from kpl_lib.knowledge import Description, KnowledgeBase
        >>> base = KnowledgeBase("pets", {"shiba-inu": [Description("a curled tail")]})
        >>> print(match_classes(base, ["Shiba Inu", "Pug"]))
        pets: 1 of 2 classes found
          'shiba-inu' taken for 'Shiba Inu'
          missing: 'Pug'

    Chapter: ch-real-data
    """
    names = [class_names] if isinstance(class_names, str) else list(class_names)
    if isinstance(class_names, str) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"class_names must be a list of names, not {str(class_names)[:40]!r}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"class_names holds {twice[0]!r} twice; each class once")
    own = tuple(base.records)
    source = pair_names(own, names)
    missing, left, nearest = left_over(own, names, source)
    if not source:
        first = missing[0]
        hint = f"; is {first!r} called {nearest[first]!r}?" if first in nearest else "; rename them"
        what = f"none of the {len(names)} classes of the dataset{hint}"
        raise InputError(f"knowledge base {base.name!r} describes {what}")
    order = [name for name in names if name in source]
    knowledge = replace(
        base,
        records={name: base.records[source[name]] for name in order},
        references={name: base.references[source[name]] for name in order if source[name] in base.references},
    )
    renamed = {source[name]: name for name in order if source[name] != name}
    return Matched(knowledge, missing, left, renamed, nearest)
