"""A set of millions from shards on disk to metrics, alone or in several processes: what it takes, and where time goes.

Images are never in memory: each of three passes reads them, in half precision, from shards that are mapped. One array
`[N, C]` in float32 is kept. It holds the kernel of the transport plan, whose rows are made from it when they are
needed, and later the probabilities. Everything that processes share is as large as the proxies. The answers are those
of `sinkhorn`, `ridge_proxies` and `evaluate`, to the digits of float32.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import make_folder
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.distributed.group import Group, joined, slice_of
from kpl_lib.metrics.measures import measure_all, metric_names
from kpl_lib.metrics.tally import BINS, Tallies
from kpl_lib.solvers.temperature import softmax_temperature

TEMPERATURE, SWEEPS, RIDGE = 0.02, 20, 0.04
FITTED = 10_000  # images, evenly spaced, that the temperature of the probabilities is fitted to
SHARD = 100_000  # images of a shard
BLOCK = 4096  # images that are multiplied together
SWEPT = 1024  # images that are swept together: they fit into the cache of a processor
COLUMNS = 32  # classes whose columns are copied together
WIDTH = 192  # columns of the scatter that are made together


@dataclass(frozen=True)
class Shards:
    """Unit images and labels in files of a folder, with one text proxy a class; `rows` are those of this process."""

    folder: Path
    images: int
    text: Tensor
    rows: range

    def paths(self) -> dict[range, Path]:
        """The file of each range of rows."""
        starts = range(0, self.images, SHARD)
        return {range(i, min(i + SHARD, self.images)): self.folder / f"{i:09d}.safetensors" for i in starts}

    def parts(self, name: str, step: int) -> Iterator[tuple[slice, Tensor]]:
        """A tensor of the files, `step` rows at a time, as it is stored; with the place among the rows held here."""
        first = self.rows.start
        for held, path in self.paths().items():
            mine = range(max(first, held.start), min(self.rows.stop, held.stop))
            if not mine:
                continue
            with safe_open(path, framework="pt") as file:
                stored = file.get_slice(name)
                for start, stop in pairwise([*mine[::step], mine.stop]):
                    yield slice(start - first, stop - first), stored[start - held.start : stop - held.start]

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Images in float32, where the text is."""
        for at, x in self.parts("images", BLOCK):
            yield at, x.to(self.text.device).float()

    @cached_property
    def labels(self) -> Tensor:
        """True classes of the rows held here."""
        return torch.cat([part for _, part in self.parts("labels", SHARD)]).to(self.text.device)


@dataclass
class ScaleReport:
    """What a run took and found.

    Args:
        images, dimensions, classes, processes: N, D, C, and how many shared the work.
        stages: seconds of each, in order, on the clock of the first process.
        cores: seconds on a core, of all processes together.
        peak: most memory until the end of each stage, in GiB, of all processes together; nan where it is not told.
        found: figures, from the error of the columns to the metrics.

    Chapter: ch-scaling
    """

    images: int
    dimensions: int
    classes: int
    processes: int
    stages: dict[str, float] = field(default_factory=dict)
    cores: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def _stage(self, name: str, sums: Group) -> Iterator[None]:
        """Time the block."""
        clock, core = time.perf_counter(), time.process_time()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        (used,) = sums.gathered(torch.tensor([[time.process_time() - core, _peak()]]))
        self.cores[name], self.peak[name] = used.sum(dim=0).tolist()
        self.stages[name] = time.perf_counter() - clock

    def __str__(self) -> str:
        size = f"{self.images} x {self.dimensions} images, {self.classes} classes"
        lines = [
            f"{size}, processes: {self.processes}",
            f"{'':<26}{'seconds':>9}{'share':>7}{'core s':>9}{'peak GiB':>10}",
        ]
        total = sum(self.stages.values())
        for name, seconds in self.stages.items():
            share, peak = f"{100 * seconds / total:.0f} %", self.peak[name]
            lines.append(f"{name:<26}{seconds:>9.1f}{share:>7}{self.cores[name]:>9.1f}{peak:>10.2f}")
        most, cores = max(self.peak.values()), sum(self.cores.values())
        lines.append(f"{'together':<26}{total:>9.1f}{'':>7}{cores:>9.1f}{most:>10.2f}")
        return "\n".join([*lines, *(f"{name}: {value:.4g}" for name, value in self.found.items())])


def run_at_scale(
    folder: str | Path,
    images: int = 1_800_000,
    dimensions: int = 768,
    classes: int = 1000,
    device: str | None = None,
) -> ScaleReport:
    """Write made-up shards, or find them, and go from them to the metrics; called by each process of a launcher.

        K = softmax_rows(X Tᵀ/τ),   Y = plan of K,   W from Σ x, XᵀX and YᵀX,   metrics of softmax((X Wᵀ + o)/t)

    Args:
        folder: where the shards are, or will be: 2 N D bytes.
        images, dimensions, classes: N, D and C of the made-up set.
        device: where to compute; None chooses.

    Returns:
        ScaleReport, the same figures in each process.

    Raises:
        InputError: for a folder that holds another set, and for sizes that make no set.

    Chapter: ch-scaling
    """
    check_count(images, "images", classes)
    check_count(dimensions, "dimensions", 2)
    check_count(classes, "classes", 3)
    with joined(device) as place:
        sums = Group()
        report = ScaleReport(images, dimensions, classes, sums.world)
        with report._stage("shards, written or found", sums):
            text = sums.agreed(lambda: _made(Path(folder), images, dimensions, classes, sums))
        shards = Shards(Path(folder), images, text.to(place), slice_of(images, sums.rank, sums.world))
        with report._stage("logits, kernel, scatter", sums):
            kernel, *moments = _kernel(shards, sums, report)
        with report._stage("transport", sums):
            scaling = _sweeps(kernel, images, sums)
        with report._stage("closed form", sums):
            proxies = _closed_form(shards, kernel, scaling, moments, sums, report)
        with report._stage("predictions", sums):
            cases = _predict(shards, kernel, *proxies)
        with report._stage("metrics", sums):
            _measure(shards, kernel, cases, sums, report)
    return report


def _made(folder: Path, n: int, d: int, c: int, sums: Group) -> Tensor:
    """The text proxies of a made-up set; each process writes its share of the shards that are missing."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(c, d, generator=generator)
    text = F.normalize(centres + 2 * torch.randn(c, d, generator=generator) + 1, dim=1)
    make_folder(folder)
    paths = list(Shards(folder, n, text, range(n)).paths().items())
    strange = {path.name for path in folder.glob("[0-9]*.safetensors")} - {path.name for _, path in paths}
    if strange:
        raise InputError(f"{folder}: holds {min(strange)}, which is not of this set; name another folder")
    for rows, path in paths[sums.rank :: sums.world]:
        if path.is_file():
            found = read_tensors(path, "FeatureShard", ("images", "labels"))
            if found[0]["images"].shape == (len(rows), d) and found[1].get("classes") == c:
                continue
            raise InputError(f"{path}: a shard of another set; name another folder")
        generator, labels = torch.Generator().manual_seed(1 + rows.start), torch.tensor(rows) % c
        shard = torch.empty(len(rows), d, dtype=torch.float16)
        for part, of in zip(shard.split(BLOCK), labels.split(BLOCK), strict=True):
            noise = torch.randn(len(part), d, generator=generator)
            part.copy_(F.normalize(centres[of] + 5 * noise + 3, dim=1))
        write_tensors(path, "FeatureShard", {"images": shard, "labels": labels}, {"classes": c})
    return text


def _kernel(shards: Shards, sums: Group, report: ScaleReport) -> tuple[Tensor, Tensor, Tensor]:
    """Row softmax of the logits, `[n_r, C]`, and over all images `Σ x` and `XᵀX`, float64, in one pass over them."""
    c, d = shards.text.shape
    kernel = shards.text.new_empty(len(shards.rows), c)
    scatter, total = kernel.new_zeros(d, d, dtype=torch.float64), kernel.new_zeros(d, dtype=torch.float64)
    sharp, right = shards.text.T / TEMPERATURE, kernel.new_zeros((), dtype=torch.float64)
    for at, x in shards.blocks():
        logits = x @ sharp
        right += (logits.argmax(dim=1) == shards.labels[at]).sum()
        torch.softmax(logits, dim=1, out=kernel[at])
        total += x.sum(dim=0, dtype=torch.float64)
        for i in range(0, d, WIDTH):
            scatter[i:, i : i + WIDTH] += x[:, i:].T @ x[:, i : i + WIDTH]
    scatter = sums.total(scatter.tril() + scatter.tril(-1).T)
    report.found["text accuracy"] = float(sums.total(right)) / report.images
    return kernel, sums.total(total), scatter


def _sweeps(kernel: Tensor, n: int, sums: Group) -> Tensor:
    """Column scalings after all sweeps but the rows of the last: a row of the plan is one of `K b`, scaled to sum 1."""
    column = torch.zeros(kernel.shape[1], dtype=torch.float64, device=kernel.device)
    for k in kernel.split(SWEPT):
        column += k.sum(dim=0)
    for done in range(SWEEPS):
        b = n / len(column) / sums.total(column)
        if not bool(b.isfinite().all()):
            raise InputError(f"a class has no mass at the temperature {TEMPERATURE}: its images are too far")
        if done + 1 < SWEEPS:
            column, scaling = torch.zeros_like(column), b.to(kernel.dtype)
            for k in kernel.split(SWEPT):
                column += (k @ scaling).reciprocal_() @ k
    return b.to(kernel.dtype)


def _closed_form(
    shards: Shards, kernel: Tensor, scaling: Tensor, moments: list[Tensor], sums: Group, report: ScaleReport
) -> tuple[Tensor, Tensor]:
    """Directions and offsets of the closed form with an intercept, both over the temperature of the probabilities."""
    n, every, (total, scatter), seen = report.images, -(-report.images // FITTED), moments, 0
    # Room for them now: small arrays that stay, made between large ones that go, would tear the memory to pieces.
    x_fitted, y_fitted = (
        kernel.new_empty(len(shards.rows) // every + 1, k) for k in (len(total), len(scaling))
    )
    mass, label_sums = torch.zeros_like(total[:1]).expand(len(scaling)).clone(), 0
    for at, x in shards.blocks():
        y = kernel[at] * scaling
        y /= y.sum(dim=1, keepdim=True)
        mass += y.sum(dim=0, dtype=torch.float64)
        label_sums = label_sums + (y.T @ x).double()
        chosen = slice(-(shards.rows.start + at.start) % every, None, every)
        into = slice(seen, seen := seen + len(x[chosen]))
        x_fitted[into], y_fitted[into] = x[chosen], y[chosen]
    mass, label_sums = sums.total(mass), sums.total(label_sums)
    report.found["column error"] = float((mass / n - 1 / len(mass)).abs().sum())
    u = total / n
    axis = u / u.norm()
    across = torch.eye(len(u), dtype=u.dtype, device=u.device) - torch.outer(axis, axis)
    system = across @ (scatter / n) @ across
    system.diagonal().add_(RIDGE * u.norm())
    means = (label_sums @ across) / mass[:, None]
    weights = torch.cholesky_solve(means.T, torch.linalg.cholesky(system)).T
    offset = -(means * weights).sum(dim=1) / 2
    weights, offset = sums.first(weights - weights.mean(dim=0), offset - offset.mean())
    weights, offset = weights.to(kernel.dtype), offset.to(kernel.dtype)
    x, y = sums.gathered(x_fitted[:seen], y_fitted[:seen])
    t = softmax_temperature(x @ weights.cpu().T + offset.cpu(), y)
    return weights / t, offset / t


def _predict(shards: Shards, kernel: Tensor, weights: Tensor, offset: Tensor) -> list[Tensor]:
    """Probabilities, over the kernel; of each image the class that was said, its probability, that of the true one."""
    parts = []
    for at, x in shards.blocks():
        p = torch.softmax(torch.addmm(offset, x, weights.T), dim=1, out=kernel[at])
        confidence, said = p.max(dim=1)
        parts.append((said, confidence, p.gather(1, shards.labels[at, None])[:, 0]))
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _measure(
    shards: Shards, probabilities: Tensor, cases: list[Tensor], sums: Group, report: ScaleReport
) -> None:
    """The metrics of `evaluate`; a class is ranked by counts between its own images, so no column is sorted."""
    (said, confidence, own), true, c = cases, shards.labels, probabilities.shape[1]
    confusion = sums.total(torch.bincount(true * c + said, minlength=c * c)).view(c, c)
    bins = (confidence.double() * BINS).long().clamp(max=BINS - 1)
    gaps = torch.bincount(bins, confidence.double() - (said == true).double(), BINS)
    own, classes = sums.gathered(own, true)
    order = own.argsort()
    own = own[order][classes[order].argsort(stable=True)]
    values = own.to(probabilities.device).split(confusion.sum(dim=1).long().tolist())
    levels = [torch.unique_consecutive(value, return_counts=True) for value in values]
    counts = torch.cat(list(_between(probabilities, [level for level, _ in levels])))
    parts = sums.total(counts).cpu().split([2 * len(level) + 1 for level, _ in levels])
    figures = [_ranked(part.numpy(), m.cpu().numpy()) for part, (_, m) in zip(parts, levels, strict=True)]
    auroc, auprc = np.array(figures).T
    ece = float(sums.total(gaps).abs().sum()) / report.images
    tallies = Tallies(confusion.cpu().numpy()[None], auroc[None], auprc[None], np.array([ece]))
    report.found |= dict(zip(metric_names(), measure_all(tallies, None, False)[:, 0].tolist(), strict=False))


def _between(probabilities: Tensor, levels: list[Tensor]) -> Iterator[Tensor]:
    """For each class, images here below its first level, at it, between it and the second, ...: `[2 L + 1]`."""
    for first in range(0, len(levels), COLUMNS):
        wanted = slice(first, first + COLUMNS)
        columns = probabilities.new_empty(len(levels[wanted]), len(probabilities))
        for to, part in zip(columns.split(SWEPT, dim=1), probabilities.split(SWEPT), strict=True):
            to.copy_(part[:, wanted].T)  # a copy of all at once is six times as slow
        for level, x in zip(levels[wanted], columns, strict=True):
            if not len(level):
                yield torch.tensor([len(x)], device=x.device)
                continue
            place = torch.searchsorted(level, x)
            at = level[place.clamp(max=len(level) - 1)] == x
            yield torch.bincount(2 * place + at, minlength=2 * len(level) + 1)


def _ranked(counts: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision of a class, from images between and at its levels, and its own images at each."""
    positives, total = own.sum(), counts.sum()
    if not positives:
        return np.nan, np.nan
    others = counts.copy()
    others[1::2] -= own
    below, level = others[::2].cumsum()[:-1] + others[1::2].cumsum() - others[1::2], others[1::2]
    above, negatives = positives - own.cumsum() + own, total - positives
    precision = (own * above / (above + negatives - below)).sum() / positives
    won = (own * (below + 0.5 * level)).sum()
    return won / (positives * negatives) if negatives else np.nan, precision


def _peak() -> float:
    """Most memory of this process so far, in GiB; nan where the system does not tell it."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith("VmHWM")), float("nan"))
