"""The statements of a page as data: `data/claims/PAGE.toml`, read and checked; `claims` measures them."""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

KEYS = {"says", "measure", "said", "within", "holds"}
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
WORDS = {word: value for value, word in enumerate(NUMBERS.split(" "))}
VAGUE = 0.02  # of the value that words state: "one quarter" stands for 0.245 to 0.255


@dataclass(frozen=True)
class Figure:
    """A number of a sentence, and the expression that measures it.

    Args:
        text: the number as it stands in the sentence.
        measure: a Python expression over the variables of the page.
        said: its value, in the sentence's unit.
        within: how far the measured value may be off.
        half: half of the last digit that is quoted; of "nine in ten" a fiftieth.

    Chapter: ch-reproduced
    """

    text: str
    measure: str
    said: float
    within: float
    half: float = 0.5


@dataclass(frozen=True)
class Claim:
    """A sentence as it stands on its page, its numbers, and what it states without one.

    Args:
        says: the sentence.
        figures: its numbers.
        conditions: Python expressions that are true where the sentence is.

    Chapter: ch-reproduced
    """

    says: str
    figures: tuple[Figure, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The statements of a page.

    Args:
        name: the name of its file in `data/claims`.
        claims: the statements, in the order of the page.
        prepare: code that computes what several of them use.

    Chapter: ch-reproduced
    """

    name: str
    claims: tuple[Claim, ...]
    prepare: str = ""

    @property
    def digest(self) -> str:
        """Of what is measured, so that a build knows whether a record is of today's statements; tolerances are not."""
        asked = [(c.says, [(f.text, f.measure) for f in c.figures], c.conditions) for c in self.claims]
        return hashlib.sha256(repr((self.prepare, asked)).encode()).hexdigest()


def claims_file(page: str) -> Path:
    """The file of a page's statements."""
    return data_dir() / "claims" / f"{page}.toml"


def read_claims(source: str | Path) -> Page:
    """Read the statements of a page: a page's name, such as `08_closed_form`, or a file.

    A claim has `says`, and `measure."NUMBER"` (the number as the sentence has it) with an expression, or `holds` with
    a condition or a list of them. `said."NUMBER"` gives a value that words state ("nine in ten"), `within."NUMBER"`
    how far the measured value may be off; without it, half of the last digit.

    Args:
        source: the name of a page, or a file that ends in .toml.

    Returns:
        The statements; no expression has been run.

    Raises:
        InputError: if the file is missing or an entry is not of this form; names the file and the entry.

    Example:
        >>> read_claims("_template").claims[0].figures[0].said
        0.96

    Chapter: ch-reproduced
    """
    path = Path(source) if str(source).endswith(".toml") else claims_file(str(source))
    if not path.is_file():
        raise InputError(f"{path.name}: there is no file of claims for this page in {path.parent}; write one")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name}: no valid TOML: {error}") from None
    unknown = set(content) - {"prepare", "claim"}
    entries, prepare = content.get("claim", []), content.get("prepare", "")
    if unknown or not isinstance(entries, list) or not isinstance(prepare, str):
        other = ", ".join(unknown) or "this"
        raise InputError(f"{path.name}: it holds `prepare` and entries [[claim]], not {other}")
    claims = tuple(_claim(path.name, number, entry) for number, entry in enumerate(entries, 1))
    return Page(path.stem, claims, prepare)


def _claim(file: str, number: int, entry: dict) -> Claim:
    """One entry of a file."""
    says = entry.get("says", "")
    where = f"{file}, claim {number} ({str(says)[:40]!r})"
    if set(entry) - KEYS or not isinstance(says, str) or not says.strip():
        rest = ", ".join(sorted(KEYS - {"says"}))
        raise InputError(f"{where}: an entry has `says` and may have {rest}, no more")
    says = " ".join(says.split())
    measures, holds = entry.get("measure", {}), entry.get("holds", [])
    conditions = tuple([holds] if isinstance(holds, str) else holds)
    if not measures and not conditions:
        raise InputError(f"{where}: it measures nothing; give `measure` or `holds`")
    for extra in ("said", "within"):
        stray = set(entry.get(extra, {})) - set(measures)
        if stray:
            raise InputError(f"{where}: `{extra}` of {', '.join(stray)}, which it does not measure")
    figures = tuple(_figure(where, says, text, measure, entry) for text, measure in measures.items())
    for expression in (*(figure.measure for figure in figures), *conditions):
        compiled(expression, where)
    return Claim(says, figures, conditions)


def _figure(where: str, says: str, text: str, measure: str, entry: dict) -> Figure:
    """One number of a sentence."""
    if not re.search(rf"(?<![\w.,]){re.escape(text)}(?!\w|[.,]\d)", says):
        raise InputError(f"{where}: {text!r} does not stand in its sentence")
    digits = re.match(r"[-−+±~]?(\d+(?:,\d{3})*)(\.\d+)?", text)
    own, half = WORDS.get(text.lower()), 0.5
    if digits:
        own = float(digits[0].replace("−", "-").replace(",", "").lstrip("+±~"))
        half = 0.5 * 10.0 ** -len((digits[2] or ".")[1:])
    said = entry.get("said", {}).get(text, own)
    if said is None:
        raise InputError(f"{where}: {text!r} is no number; give said.{text!r}")
    if own is None and isinstance(said, int | float):
        half = VAGUE * abs(said)
    within = entry.get("within", {}).get(text, half)
    if not isinstance(said, int | float) or not isinstance(within, int | float) or within < 0:
        raise InputError(f"{where}: `said` and `within` of {text!r} are numbers")
    return Figure(text, measure, float(said), float(within), half)


def compiled(expression: object, where: str) -> CodeType:
    """The code of an expression."""
    try:
        return compile(expression.strip(), where, "eval")
    except (SyntaxError, AttributeError) as error:
        raise InputError(f"{where}: no expression: {expression!r} ({error})") from None
