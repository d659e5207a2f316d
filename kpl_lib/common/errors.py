"""What a user is told in one line: the one error that means "your input, not our code", and notes."""

import difflib
import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input, said in one line: what is wrong, where, and what to do about it.

    The command line prints the line and exits with code 2; anything else that is raised is a bug in this library.

    Chapter: ch-own-images
    """


def closest(word: object, known: Iterable[str], most: int = 1, above: float = 0.4) -> list[str]:
    """The known words that are spelled most alike.

    Example:
        >>> closest("phantom-chset", ["phantom-chest", "phantom-malaria"])
        ['phantom-chest']
    """
    return difflib.get_close_matches(str(word), known, most, above)


def did_you_mean(word: object, known: Iterable[str], above: float = 0.4) -> str:
    """`did you mean ...? ` with the nearest known word; empty if none is near."""
    near = closest(word, known, above=above)
    return f"did you mean {near[0]!r}? " if near else ""


def among(word: object, known: Iterable[str], above: float = 0.5) -> str:
    """The nearest known word, and all of them, for the end of a message.

    Example:
        >>> among("klp", ("kpl", "clip"))
        "did you mean 'kpl'? known: kpl, clip"
    """
    known = tuple(known)
    return f"{did_you_mean(word, known, above)}known: {', '.join(known) or 'none'}"


def one_line(error: BaseException, most: int = 120, kind: bool = False) -> str:
    """What an error says, in `most` letters, as part of a line; its kind in front, or where it says nothing.

    Example:
        >>> one_line(OSError("disk\\n full")), one_line(KeyError(1), kind=True)
        ('disk full', 'KeyError: 1')
    """
    name = type(error).__name__
    text = f"{name}: {error}" if kind else str(error)
    return " ".join(text.split())[:most] or name


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


@contextmanager
def noted(others: bool = False) -> Iterator[list[str]]:
    """Collect what the block warns of, each text once; the list is filled when it ends.

    What is no plain UserWarning is dropped, or with `others` warned of again at the end.

    Example:
        >>> with noted() as notes:
        ...     warnings.warn("k is clipped", stacklevel=1)
        >>> notes
        ['k is clipped']
    """
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    notes += dict.fromkeys(str(found.message) for found in caught if found.category is UserWarning)
    for found in caught if others else ():
        if found.category is not UserWarning:
            warnings.warn_explicit(found.message, found.category, found.filename, found.lineno)
