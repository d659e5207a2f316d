"""The measured numbers of a text: those with a decimal point or a unit (%, points, seconds, times)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

NUMBER = r"(?<![\w./^_-])[-+−±~]?(\d+(?:,\d{3})*(?:\.\d+)?)(?![\d/]|\.\d|,\d|\w)"
UNIT = re.compile(
    r"\s?(%|percent|percentage points?|points?|seconds?|s|ms|milliseconds?|minutes?|min|hours?|times|fold|×)(?!\w)"
)
LINK = re.compile(r",?\s?%?,?\s?(?:to|and|or|against|but|–|±)?\s?")  # between numbers that share a unit
SCALES = {
    "%": (1, 100),
    "percent": (1, 100),
    "point": (1, 100),
    "ms": (1, 1000),
    "minute": (1, 60, 1 / 60),
    "hour": (1, 60, 1 / 60),
}


@dataclass(frozen=True)
class Quoted:
    """A number as the text has it: its value, the unit of its last digit, and the word after it."""

    text: str
    value: float
    digit: float
    unit: str

    @property
    def readings(self) -> list[tuple[float, float]]:
        """(value, last digit) as code may have it: 81.8 % is also 0.818."""
        scales = next((found for unit, found in SCALES.items() if self.unit.startswith(unit)), (1,))
        return [(self.value / scale, self.digit / scale) for scale in scales]


def results_of(maths: re.Match) -> str:
    """What a formula states as a result: the numbers after its equals signs, or the number that it is."""
    body = maths[1].replace("\\,", "").replace("{,}", "").replace("\\%", "%")
    alone = re.fullmatch(r"\s*-?[\d.]+\s?%?\s*", body)
    stated = re.findall(
        r"(?:=|\\approx|\\le|<|>)\s*(-?\d+(?:\.\d+)?)(?![\d.]|\s*(?:\\cdot|\^|/|\\times))(\s?%?)", body
    )
    return body if alone else " ; ".join(number + percent for number, percent in stated) or "m"


def plain(text: str) -> str:
    """The prose of a block: no links, roles or code, and formulas reduced to their results."""
    text = re.sub(r"\{[\w:-]+\}`[^`]*`|\]\([^)]*\)|https?://\S+", " ", text)
    text = re.sub(r"`([-\d.]+ ?%?)`", r"\1", text)
    text = re.sub(r"`[^`]*`", " ", text)
    return re.sub(r"\$\$?(.+?)\$?\$", results_of, text, flags=re.DOTALL)


def quoted(text: str) -> Iterator[Quoted]:
    """The measured numbers of a text, last first; "4 to 6 %" holds two."""
    unit, follower = "", None
    for match in reversed(list(re.finditer(NUMBER, text))):
        own = UNIT.match(text, match.end())
        shared = follower is not None and LINK.fullmatch(text[match.end() : follower])
        unit = own[1] if own else unit if shared else ""
        follower = match.start()
        digits = match[1].replace(",", "")
        if "." in digits or unit:
            yield Quoted(match[0], float(digits), 10.0 ** -len(digits.partition(".")[2]), unit)


def sentence(text: str, number: str) -> str:
    """The sentence, or the row of a table, that holds a number."""
    parts = re.split(r"\n(?=\|)|(?<=[.?!])\s+", text)
    return " ".join(next((part for part in parts if number in part), parts[0]).split())
