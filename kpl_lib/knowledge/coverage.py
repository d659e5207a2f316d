"""How the descriptions of a knowledge base differ for an encoder, and how they meet images. No labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_count, check_images, check_same_space
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank, mean_image
from kpl_lib.gap import effective_rank
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.check import LIMIT, ROWS, Finding, capped, columns_of, too_long

BLOCK = 2048  # images compared with a class at once
SPLITS = 20  # how often the images are halved
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
        order = sorted(range(len(self.cosine)), key=lambda c: -self.cosine[c])
        lines = columns_of(("class", "texts", "cosine", "rank"), [self.cells(c) for c in order])
        legend = "cosine: mean of two texts of a class; rank: in how many directions they differ"
        head = f"Spread with encoder {self.encoder} ({legend})"
        return "\n".join([head, *capped(lines, None if limit is None else ROWS + 1, "classes")])

    def cells(self, c: int, *between: str) -> tuple[str, ...]:
        """Row c of a table: the class, its descriptions, what stands between, their cosine and rank."""
        name, count = list(self.counts.items())[c]
        return name, str(count), *between, number(self.cosine[c]), f"{self.rank[c]:.1f}"


def spread_of(bank: TextBank, encoder: str = "") -> Spread:
    """Mean pairwise cosine and effective rank of the descriptions of each class.

        mean cosine = (‖Σ_m t_m‖² − M) / (M (M − 1))
        effective rank = exp(−Σ_i p_i log p_i),  p_i = σ_i² / Σ_j σ_j²

    with σ the singular values of the rows `t_m − t̄`, as in `kpl_lib.gap.effective_rank`.

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
        flat = float((rows - rows.mean(dim=0)).norm()) < 1e-6  # all the same, to rounding
        rank.append(0.0 if flat else effective_rank(rows))
    counts = dict(zip(bank.class_names, bank.counts, strict=True))
    return Spread(encoder, counts, tuple(cosine), tuple(rank))


def findings_of(
    bank: TextBank,
    sentences: Mapping[str, list[str]],
    tokenizer: Callable | None = None,
    context: int = 0,
    encoder: str = "",
) -> list[Finding]:
    """What an encoder says of descriptions: sentences that it cuts, and texts that it hardly tells apart.

    Sentences are counted where its tokenizer is of CLIP's kind; those of more than `context` tokens are grave findings.
    A cosine above 0.98 to an earlier text of the class is not.
    """
    from open_clip.tokenizer import SimpleTokenizer  # seconds, and figures of coverage need it not

    found = []
    if isinstance(tokenizer, SimpleTokenizer):
        found += too_long(sentences, tokenizer, context, f"encoder {encoder}")
    for name, rows, texts in zip(bank.class_names, bank.descriptions, bank.texts, strict=True):
        value, earlier = (rows @ rows.T).tril(-1).max(dim=1)
        for i in (value > SAME).nonzero()[:, 0].tolist():
            first = texts[int(earlier[i])]
            message = f"class {name!r}: the encoder reads {texts[i]!r} like {first!r} (cosine {value[i]:.3f})"
            found.append(Finding("like to the encoder", name, message, grave=False))
    return found


def number(value: float) -> str:
    """Three digits, or a dash for NaN."""
    return "-" if value != value else f"{value:.3f}"


@dataclass(frozen=True)
class Coverage:
    """How descriptions of C classes meet N images, without their labels.

    Args:
        images: N.
        k: descriptions that retrieval keeps for each class.
        texts: for each class its descriptions.
        visual: whether each can be seen; None where nobody said.
        cosine: mean cosine of each description to the images.
        kept: whether it is among the k of its class.
        survives: whether it is kept, or in the upper half of its class for any half of the images.
        best: for each class, mean over images of the cosine of its best description.
        others: the same for the best description of all other classes; NaN where there is none.
        nearest: share of images whose best description is of this class; they sum to 1.
        spread: how much the descriptions of each class differ.

    Chapter: ch-knowledge
    """

    images: int
    k: int
    texts: dict[str, tuple[str, ...]]
    visual: tuple[tuple[bool | None, ...], ...]
    cosine: tuple[tuple[float, ...], ...]
    kept: tuple[tuple[bool, ...], ...]
    survives: tuple[tuple[bool, ...], ...]
    best: tuple[float, ...]
    others: tuple[float, ...]
    nearest: tuple[float, ...]
    spread: Spread

    @property
    def never(self) -> list[tuple[str, str, float]]:
        """Class, text and mean cosine of what does not survive; the farthest from the images first."""
        found = [
            (name, *row[:2])
            for (name, texts), *values in zip(self.texts.items(), self.cosine, self.survives, strict=True)
            for row in zip(texts, *values, strict=True)
            if not row[2]
        ]
        return sorted(found, key=lambda row: row[2])

    def text(self, limit: int | None = LIMIT) -> str:
        """A table, the classes that are covered worst against the others first; then what never survives."""
        order = sorted(range(len(self.best)), key=lambda c: self.best[c] - self.others[c])
        header = ("class", "texts", "best", "others", "nearest", "seen", "never", "cosine", "rank")
        lines = columns_of(header, [self._row(c) for c in order])
        never = [f"  {value:+.3f}  {name}: {text}" for name, text, value in self.never]
        return "\n".join(
            [
                f"Coverage of {self.images} images with encoder {self.spread.encoder}, without labels",
                "  (best: mean cosine of the class's best text; others: of the best text of all other classes;",
                f"  nearest: images whose best text is of the class; seen: visible among the {self.k} kept;",
                "  never: in the lower half of the class for every half of the images, and not kept;",
                "  cosine: mean of two texts of the class; rank: in how many directions they differ)",
                *capped(lines, None if limit is None else ROWS + 1, "classes"),
                "",
                f"Never retrieved, {len(never)} of {sum(map(len, self.texts.values()))} (mean cosine to the images)",
                *capped(never, limit, "texts"),
            ]
        )

    def _row(self, c: int) -> tuple[str, ...]:
        """One class of the table."""
        flags = [visual for visual, kept in zip(self.visual[c], self.kept[c], strict=True) if kept]
        seen = "-" if None in flags else f"{sum(flags)}/{len(flags)}"
        values = number(self.best[c]), number(self.others[c]), f"{self.nearest[c]:.0%}"
        return self.spread.cells(c, *values, seen, str(self.survives[c].count(False)))


@torch.no_grad()
def coverage_of(
    base: KnowledgeBase,
    bank: TextBank,
    images: Features | Tensor,
    k: int = 8,
    seed: int = 0,
    encoder: str = "",
) -> Coverage:
    """Compare the descriptions of each class with images, without labels.

    `s_m = u · t_m` with the mean image u; the k largest of a class are kept. A description never survives if
    it is not kept and no half of the images, of 40 random ones, puts it in the upper half of its
    class. Coverage of class c: `(1/N) Σ_i max_m x_i · t_m`.

    Args:
        base: the knowledge base; says what is visual.
        bank: its text features, of C classes.
        images: unit rows `[N, D]`, N >= 4.
        k: descriptions kept for each class.
        seed: of the halves.
        encoder: what made the bank; empty is what made the images.

    Returns:
        Coverage.

    Raises:
        InputError: if bank and images do not fit or come from two encoders, or there are fewer than 4 images.

    Chapter: ch-knowledge
    """
    made_by = images.meta.get("encoder") if isinstance(images, Features) else None
    if encoder and made_by not in (None, encoder):
        raise InputError(f"the images come from encoder {made_by!r}, not {encoder!r}; use one encoder")
    x = images.images if isinstance(images, Features) else images
    check_images(x, minimum=4)
    bank = bank.to(x.device)
    check_same_space(bank.names, x, "text features")
    check_count(k, "k")
    halves = _halves(x, seed)
    scores = [rows.double() @ mean_image(x) for rows in bank.descriptions]
    kept = [_top(score[:, None], k)[:, 0] for score in scores]
    upper = [_top(rows.double() @ halves, (len(rows) + 1) // 2).any(dim=1) for rows in bank.descriptions]
    best, others, nearest = _best(bank.descriptions, x)
    return Coverage(
        images=len(x),
        k=k,
        texts=dict(zip(bank.class_names, base.classes.values(), strict=True)),
        visual=tuple(tuple(d.visual for d in found) for found in base.records.values()),
        cosine=tuple(tuple(score.tolist()) for score in scores),
        kept=tuple(tuple(flags.tolist()) for flags in kept),
        survives=tuple(tuple((a | b).tolist()) for a, b in zip(kept, upper, strict=True)),
        best=best,
        others=others,
        nearest=nearest,
        spread=spread_of(bank, encoder or made_by or ""),
    )


def _halves(x: Tensor, seed: int) -> Tensor:
    """Mean images of random halves, `[D, 2 · SPLITS]`, float64."""
    generator = torch.Generator().manual_seed(seed)
    columns = []
    for _ in range(SPLITS):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        columns += [mean_image(x[part]) for part in order.tensor_split(2)]
    return torch.stack(columns, dim=1)


def _top(scores: Tensor, k: int) -> Tensor:
    """Whether each of `[M, H]` is among the k largest of its column; of equal ones the first."""
    rank = scores.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
    return rank < k


def _best(parts: Sequence[Tensor], x: Tensor) -> tuple[tuple, tuple, tuple]:
    """Mean best cosine of each class and of its rivals, and the share of images nearest to it; each `[C]`."""
    total, rivals, wins = (torch.zeros(len(parts), dtype=torch.float64, device=x.device) for _ in range(3))
    for block in x.float().split(BLOCK):
        reach = torch.stack([(block @ rows.T).amax(dim=1) for rows in parts], dim=1).double()
        first, winner = reach.max(dim=1)
        won = F.one_hot(winner, len(parts)).bool()
        second = reach.masked_fill(won, -torch.inf).amax(dim=1)
        total += reach.sum(dim=0)
        rivals += torch.where(won, second[:, None], first[:, None]).sum(dim=0)
        wins += won.sum(dim=0)
    if len(parts) == 1:
        rivals.fill_(torch.nan)
    return tuple(tuple((values / len(x)).tolist()) for values in (total, rivals, wins))
