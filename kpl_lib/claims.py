"""The statements of a page as data, and which of them come out on this machine.

`data/claims/PAGE.toml` holds what a page says: the sentence, the numbers in it with the expressions that measure them,
and conditions for what it says without a number. A chapter ends with `notebook.claims("PAGE")`.
"""

import hashlib
import html
import json
import os
import platform
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, data_dir

KEYS = {"says", "measure", "said", "within", "holds"}
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
WORDS = {word: value for value, word in enumerate(NUMBERS.split(" "))}
HELD, DIFFERS, UNMEASURED = "comes out", "differs", "not measured"


@dataclass(frozen=True)
class Figure:
    """A number of a sentence, and the expression that measures it.

    Args:
        text: the number as it stands in the sentence.
        measure: a Python expression over the variables of the page.
        said: its value, in the sentence's unit.
        within: how far the measured value may be off.
        half: half of the last digit that is quoted.

    Chapter: ch-reproduced
    """

    text: str
    measure: str
    said: float
    within: float
    half: float = 0.5  # of the last digit that is quoted


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


@dataclass(frozen=True)
class Outcome:
    """What this machine says of a claim.

    Args:
        claim: the claim.
        measured: a number for each figure, None where its expression raised.
        held: yes or no for each condition, None where it raised.
        error: what was raised, in one line.

    Chapter: ch-reproduced
    """

    claim: Claim
    measured: tuple[float | None, ...]
    held: tuple[bool | None, ...] = ()
    error: str = ""

    @property
    def failed(self) -> tuple[str, ...]:
        """What does not come out: numbers that are too far off, conditions that do not hold."""
        numbers = [
            f"{value:.4g} where the page says {figure.text} (± {figure.within:.3g})"
            for value, figure in zip(self.measured, self.claim.figures, strict=True)
            if value is not None and not abs(value - figure.said) <= figure.within * (1 + 1e-9) + 1e-12
        ]
        pairs = zip(self.claim.conditions, self.held, strict=True)
        return (*numbers, *(f"it does not hold that {condition}" for condition, yes in pairs if yes is False))

    @property
    def status(self) -> str:
        """`comes out`, `differs`, or `not measured` where an expression raised."""
        return UNMEASURED if self.error else DIFFERS if self.failed else HELD

    @property
    def found(self) -> str:
        """What was measured where it differs, in words."""
        return self.error or "; ".join(self.failed)


@dataclass(frozen=True, repr=False)
class Outcomes:
    """What this machine says of the statements of a page; a notebook shows it as a short table.

    Args:
        page: the statements.
        rows: an outcome for each.
        machine: what figures may depend on, from `machine`.

    Chapter: ch-reproduced
    """

    page: Page
    rows: tuple[Outcome, ...]
    machine: dict[str, str]

    @property
    def differing(self) -> tuple[Outcome, ...]:
        """Those that did not come out."""
        return tuple(row for row in self.rows if row.status != HELD)

    @property
    def summary(self) -> str:
        """One line: how many came out, and on what machine."""
        held, here = len(self.rows) - len(self.differing), ", ".join(list(self.machine.values())[:4])
        return f"{held} of {len(self.rows)} statements of this page came out on this machine ({here})."

    def __repr__(self) -> str:
        lines = [f"- the page says: {row.claim.says}\n  here: {row.found}" for row in self.differing]
        return "\n".join([self.summary, *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(row.claim.says)}</td><td>{html.escape(row.found)}</td></tr>"
            for row in self.differing
        )
        head = "<thead><tr><th>The page says</th><th>Measured here</th></tr></thead>"
        table = f"<table>{head}<tbody>{cells}</tbody></table>" if cells else ""
        return f"<p>{html.escape(self.summary)}</p>{table}"

    def save(self, folder: str | Path) -> Path:
        """Write what was measured as FOLDER/PAGE.json."""
        path = Path(folder) / f"{self.page.name}.json"
        rows = [_record(row) for row in self.rows]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            head = {"page": self.page.name, "digest": self.page.digest, "machine": self.machine}
            record = json.dumps(head | {"claims": rows}, indent=1, ensure_ascii=False)
            temporary.write_text(record, encoding="utf-8")
        return path


def _record(row: Outcome) -> dict:
    """An outcome as JSON keeps it."""
    told = {"says": row.claim.says, "status": row.status, "error": row.error}
    return told | {"measured": list(row.measured), "held": list(row.held)}


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
    if (
        unknown
        or not isinstance(content.get("claim", []), list)
        or not isinstance(content.get("prepare", ""), str)
    ):
        raise InputError(
            f"{path.name}: it holds `prepare` and entries [[claim]], not {', '.join(unknown) or 'this'}"
        )
    claims = tuple(
        _claim(path.name, number, entry) for number, entry in enumerate(content.get("claim", []), 1)
    )
    return Page(path.stem, claims, content.get("prepare", ""))


def _claim(file: str, number: int, entry: dict) -> Claim:
    """One entry of a file."""
    says = entry.get("says", "")
    where = f"{file}, claim {number} ({str(says)[:40]!r})"
    if set(entry) - KEYS or not isinstance(says, str) or not says.strip():
        raise InputError(
            f"{where}: an entry has `says` and may have {', '.join(sorted(KEYS - {'says'}))}, no more"
        )
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
        _compiled(expression, where)
    return Claim(" ".join(says.split()), figures, conditions)


def _figure(where: str, says: str, text: str, measure: str, entry: dict) -> Figure:
    """One number of a sentence."""
    if not re.search(rf"(?<![\w.,]){re.escape(text)}(?!\w|[.,]\d)", " ".join(says.split())):
        raise InputError(f"{where}: {text!r} does not stand in its sentence")
    digits = re.match(r"[-−+±~]?(\d+(?:,\d{3})*)(\.\d+)?", text)
    said = entry.get("said", {}).get(text)
    if said is None and digits is None and text.lower() not in WORDS:
        raise InputError(f"{where}: {text!r} is no number; give said.{text!r}")
    if said is None and digits is None:
        said = WORDS[text.lower()]
    elif said is None:
        said = float(digits[0].replace("−", "-").replace(",", "").lstrip("+±~"))
    step = 10.0 ** -len((digits[2] or ".")[1:]) if digits else 1.0
    within = entry.get("within", {}).get(text, 0.5 * step)
    if not isinstance(said, int | float) or not isinstance(within, int | float) or within < 0:
        raise InputError(f"{where}: `said` and `within` of {text!r} are numbers")
    return Figure(text, measure, float(said), float(within), 0.5 * step)


def _compiled(expression: object, where: str) -> Any:
    """The code of an expression."""
    try:
        return compile(expression.strip(), where, "eval")
    except (SyntaxError, AttributeError) as error:
        raise InputError(f"{where}: no expression: {expression!r} ({error})") from None


def machine() -> dict[str, str]:
    """Say what figures may depend on: processor, instruction set, threads, device, versions.

    Returns:
        A short text for each.

    Example:
        >>> list(machine())
        ['processor', 'instructions', 'threads', 'device', 'versions']

    Chapter: ch-reproduced
    """
    names = re.findall(r"model name\s*:\s*(.+)", _text("/proc/cpuinfo"))
    cuda = torch.cuda.is_available()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    threads = torch.get_num_threads()
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": f"{threads} thread" + "s" * (threads > 1),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _text(path: str) -> str:
    """A small text file, or nothing."""
    return Path(path).read_text(errors="replace") if os.path.isfile(path) else ""


def measure(page: Page, namespace: Mapping[str, Any]) -> Outcomes:
    """Measure the statements of a page with the variables that its code left behind.

    An expression that raises makes its statement `not measured`; nothing raises here.

    Args:
        page: the statements, from `read_claims`.
        namespace: the variables; they are not changed by name.

    Returns:
        One row for each statement, in the order of the page, and the machine.

    Example:
        >>> claim = Claim("It is 2.", (Figure("2", "x + 1", 2.0, 0.5),), ("x > 0",))
        >>> measure(Page("toy", (claim,)), {"x": 1}).rows[0].status
        'comes out'

    Chapter: ch-reproduced
    """
    scope, error = dict(namespace), ""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            exec(compile(page.prepare, f"{page.name}.toml, prepare", "exec"), scope)
        except Exception as reason:
            error = f"prepare raises {_line(reason)}"
        rows = tuple(_outcome(claim, scope, error) for claim in page.claims)
    return Outcomes(page, rows, machine())


def _outcome(claim: Claim, scope: dict, prepared: str) -> Outcome:
    """One statement, measured."""
    expressions = [*(figure.measure for figure in claim.figures), *claim.conditions]
    found, errors = [], []
    for expression in expressions:
        try:
            found.append(_array(eval(_compiled(expression, ""), scope)))
        except Exception as reason:
            found.append(None)
            errors.append(f"{expression!r} raises {_line(reason)}")
    split = len(claim.figures)
    measured = tuple(
        None if values is None or not values.size else _worst(values, figure.said)
        for values, figure in zip(found[:split], claim.figures, strict=True)
    )
    held = tuple(None if value is None else bool(value.all()) for value in found[split:])
    if None in measured and not errors:
        errors.append("an expression gives no number")
    if errors and prepared:
        errors.append(prepared)
    return Outcome(claim, measured, held, "; ".join(errors))


def _worst(values: np.ndarray, said: float) -> float:
    """A number, or that number of several which lies farthest from what is said."""
    found = values.astype(float).ravel()
    return float(found[np.argmax(np.abs(found - said))])


def _array(value: Any) -> np.ndarray:
    """A tensor on any device, a table or a number as an array."""
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def _line(error: Exception) -> str:
    """An error as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
