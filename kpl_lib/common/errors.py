"""The one error that means "your input, not our code"."""

import difflib
import json


class InputError(ValueError):
    """Bad input, said in one line: what is wrong, where, and what to do about it.

    The command line prints the line and exits with code 2; anything else that is raised is a bug in this library.

    Chapter: ch-own-images
    """


def nearest(word: str, known: tuple[str, ...]) -> str:
    """`did you mean ...? ` with the nearest known word; empty if none is near."""
    near = difflib.get_close_matches(word, known, 1, 0.4)
    return f"did you mean {near[0]!r}? " if near else ""


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
