"""What a check of a knowledge base has found, as one page of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpl_lib.knowledge_coverage import Coverage
    from kpl_lib.knowledge_spread import Spread

LIMIT = 6  # lines of one kind on the page
ROWS = 40  # classes in a table


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
        spread: how much the descriptions of each class differ for an encoder; None without one.
        coverage: how well the descriptions cover given images; None without images.

    Example:
        >>> Report("pets", {"cat": 2}, ()).clean
        True

    Chapter: ch-knowledge
    """

    name: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]
    spread: "Spread | None" = None
    coverage: "Coverage | None" = None

    @property
    def clean(self) -> bool:
        """Whether nothing has to be corrected."""
        return not any(finding.grave for finding in self.findings)

    def __str__(self) -> str:
        return self.text()

    def text(self, limit: int | None = LIMIT) -> str:
        """The report as text: grave findings first (!), then the others (-), kind by kind; then the tables.

        Args:
            limit: the most lines of one kind; None gives all.
        """
        kinds = dict.fromkeys(f.kind for f in sorted(self.findings, key=lambda f: not f.grave))
        lines = [f"{self.name}: {len(self.counts)} classes, {sum(self.counts.values())} descriptions"]
        for kind in kinds:
            found = [f for f in self.findings if f.kind == kind]
            shown = [f"  {'!' if f.grave else '-'} {f.message}" for f in found]
            lines += capped(shown, limit, f"of these ({kind})")
        grave = sum(finding.grave for finding in self.findings)
        lines.append("  clean" if self.clean else f"  {grave} to correct (!)")
        part = self.coverage or self.spread  # coverage says the spread too
        return "\n\n".join(["\n".join(lines), *([] if part is None else [part.text(limit)])])


def capped(lines: list[str], limit: int | None, what: str) -> list[str]:
    """The first lines, and one that says how many more there are.

    Example:
        >>> capped(["a", "b", "c"], 2, "lines")
        ['a', 'b', '    and 1 more lines']
    """
    if limit is None or len(lines) <= limit:
        return lines
    return [*lines[:limit], f"    and {len(lines) - limit} more {what}"]


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Columns of equal width, the first one to the left.

    Example:
        >>> table(("class", "n"), [("cat", "12")])
        ['  class   n', '  cat    12']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]
