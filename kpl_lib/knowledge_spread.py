"""How much the descriptions of a class differ for an encoder."""

from dataclasses import dataclass

import torch

from kpl_lib.features import TextBank
from kpl_lib.knowledge_report import LIMIT, ROWS, Finding, capped, table

SAME = 0.98  # cosine above which an encoder hardly tells two sentences apart


@dataclass(frozen=True)
class Spread:
    """How much the descriptions of each of C classes differ for an encoder.

    Args:
        encoder: its name.
        counts: descriptions of each class, in class order.
        cosine: mean cosine of two descriptions of a class; NaN for a single one.
        rank: effective rank of their differences, that is in how many directions they differ; 0 if in none.

    Chapter: ch-knowledge
    """

    encoder: str
    counts: dict[str, int]
    cosine: tuple[float, ...]
    rank: tuple[float, ...]

    def text(self, limit: int | None = LIMIT) -> str:
        """A table, the classes that differ least first."""
        rows = list(zip(self.counts.items(), self.cosine, self.rank, strict=True))
        rows.sort(key=lambda row: -row[1])
        cells = [(name, str(n), number(cosine), f"{rank:.1f}") for (name, n), cosine, rank in rows]
        lines = table(("class", "texts", "cosine", "rank"), cells)
        most = None if limit is None else ROWS + 1
        legend = "cosine: mean of two texts of a class; rank: in how many directions they differ"
        head = f"Spread with encoder {self.encoder} ({legend})"
        return "\n".join([head, *capped(lines, most, "classes")])


def spread_of(bank: TextBank, encoder: str = "") -> Spread:
    """Mean pairwise cosine and effective rank of the descriptions of each class.

        mean cosine = (‖Σ_m t_m‖² − M) / (M (M − 1))
        effective rank = exp(−Σ_i p_i log p_i),  p_i = σ_i / Σ_j σ_j

    with σ the singular values of the rows `t_m − t̄`.

    Args:
        bank: M_c unit rows `[M_c, D]` for each of C classes.
        encoder: what made them.

    Returns:
        Spread.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(3), torch.ones(2, 3) / 3**0.5], torch.eye(3)[:2])
        >>> [round(value, 6) for value in spread_of(bank).rank]
        [2.0, 0.0]

    Source: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    Chapter: ch-knowledge
    """
    cosine, rank = [], []
    for rows in bank.descriptions:
        rows, count = rows.double(), len(rows)
        total = float(rows.sum(dim=0).square().sum())
        cosine.append((total - count) / (count * (count - 1)) if count > 1 else float("nan"))
        sigma = torch.linalg.svdvals(rows - rows.mean(dim=0))
        flat = float(sigma.sum()) < 1e-6  # all the same, to rounding
        rank.append(0.0 if flat else float(torch.special.entr(sigma / sigma.sum()).sum().exp()))
    counts = dict(zip(bank.class_names, bank.counts, strict=True))
    return Spread(encoder, counts, tuple(cosine), tuple(rank))


def same_to_encoder(bank: TextBank, above: float = SAME) -> list[Finding]:
    """Descriptions whose sentence the encoder puts beside an earlier one of the class: cosine above 0.98."""
    found = []
    for name, rows, texts in zip(bank.class_names, bank.descriptions, bank.texts, strict=True):
        value, earlier = (rows @ rows.T).tril(-1).max(dim=1)
        for i in (value > above).nonzero()[:, 0].tolist():
            first = texts[int(earlier[i])]
            message = f"class {name!r}: the encoder reads {texts[i]!r} like {first!r} (cosine {value[i]:.3f})"
            found.append(Finding("like to the encoder", name, message, grave=False))
    return found


def number(value: float) -> str:
    """Three digits, or a dash for NaN."""
    return "-" if value != value else f"{value:.3f}"
