"""Which statements of a page come out on this machine: measured with the variables that its code left behind.

A chapter ends with `notebook.claims("PAGE")`. The statements are data: see `claim_files`.
"""

import html
import platform
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kpl_lib.claim_files import Claim, Page, compiled
from kpl_lib.common.errors import one_line
from kpl_lib.common.files import make_folder, write_json

HELD, DIFFERS, UNMEASURED = "comes out", "differs", "not measured"


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
        told = [(html.escape(row.claim.says), html.escape(row.found)) for row in self.differing]
        cells = "".join(f"<tr><td>{says}</td><td>{found}</td></tr>" for says, found in told)
        head = "<thead><tr><th>The page says</th><th>Measured here</th></tr></thead>"
        table = f"<table>{head}<tbody>{cells}</tbody></table>" if cells else ""
        return f"<p>{html.escape(self.summary)}</p>{table}"

    def save(self, folder: str | Path) -> Path:
        """Write what was measured as FOLDER/PAGE.json."""
        path = Path(folder) / f"{self.page.name}.json"
        facts = ("status", "error", "measured", "held")
        claims = [{"says": row.claim.says} | {f: getattr(row, f) for f in facts} for row in self.rows]
        head = {"page": self.page.name, "digest": self.page.digest, "machine": self.machine}
        make_folder(path.parent)
        write_json(path, head | {"claims": claims})
        return path


def machine() -> dict[str, str]:
    """Say what figures may depend on: processor, instruction set, threads, device, versions.

    Returns:
        A short text for each.

    Example:
        >>> list(machine())
        ['processor', 'instructions', 'threads', 'device', 'versions']

    Chapter: ch-reproduced
    """
    listed = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", listed.read_text() if listed.is_file() else "")
    threads, cuda = torch.get_num_threads(), torch.cuda.is_available()
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": f"{threads} thread" + "s" * (threads > 1),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
    }


def measure(page: Page, namespace: Mapping[str, Any]) -> Outcomes:
    """Measure the statements of a page with the variables that its code left behind.

    An expression that raises makes its statement `not measured`; nothing raises here.

    Args:
        page: the statements, from `read_claims`.
        namespace: the variables; they are not changed by name.

    Returns:
        One row for each statement, in the order of the page, and the machine.

    Example:
        >>> from kpl_lib.claim_files import Figure
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
            error = f"prepare raises {one_line(reason, kind=True)}"
        rows = tuple(_outcome(claim, scope, error) for claim in page.claims)
    return Outcomes(page, rows, machine())


def _outcome(claim: Claim, scope: dict, prepared: str) -> Outcome:
    """One statement, measured."""
    found, errors = [], []
    for expression in (*(figure.measure for figure in claim.figures), *claim.conditions):
        try:
            value = eval(compiled(expression, ""), scope)
            found.append(np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value))
        except Exception as reason:
            found.append(None)
            errors.append(f"{expression!r} raises {one_line(reason, kind=True)}")
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
