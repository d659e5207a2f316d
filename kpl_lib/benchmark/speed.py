"""How fast the solvers are where this runs: beside the limit of the machine, and beside a plain loop.

A solver has to read its arrays and to multiply, so it takes at least `max(bytes / read, operations / rate)` seconds.
Both rates are measured in the same run: a plain pass over an array of that size, and a product of large matrices.
Seconds are those of a core, not of the clock, so that other programs disturb them little.

- Gradient step: 4 N D bytes; 4 N D C operations.
- Closed form, with M = min(N, D): 4 N D bytes; N D M + 2 N D C operations, and M³/3 + 2 M² C in float64.
- Sweep of transport: 16 N C bytes; 4 N C operations in float64.
- Text proxies of S sentences: 4 N D + 4 S D bytes; N D operations, and 2 S D in float64.

A Gram matrix is symmetric, so N D M and not twice that. Exponentials, checks and what Python does are not counted.
With few classes our steps leave the last one out (`solvers.one_pass`): the limit is still that of all C.
"""

import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_count
from kpl_lib.common.files import data_dir
from kpl_lib.features import TextBank
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

SIDE = 768  # rows of the square product
PASS = 1 << 24  # bytes that are read to time a pass; small arrays are read several times
STEPS, SWEEPS = 2000, 200  # steps of the published method; sweeps that are timed together
#: On Windows the time of the process ticks 64 times a second.
CLOCK = time.perf_counter if os.name == "nt" else time.process_time


@dataclass(frozen=True)
class Speed:
    """One solver on one machine, on one thread.

    Args:
        what: the solver.
        seconds: median of the interleaved runs; of a step or a sweep where `what` says so.
        limit_seconds: no less is possible with these bytes and operations.
        limit: what takes that long: "reading" or "products".
        share: `limit_seconds / seconds`.
        plain_seconds: the published loop for the same, with the same number of steps; None where it has none.
        ratio: `plain_seconds / seconds`, or None.
        steps: gradient steps that were done, 0 for what makes none.

    Chapter: ch-closed-form
    """

    what: str
    seconds: float
    limit_seconds: float
    limit: str
    share: float
    plain_seconds: float | None = None
    ratio: float | None = None
    steps: int = 0


@dataclass(frozen=True)
class Rates:
    """What one thread of this machine can do.

    Args:
        single: operations a second of a large product in float32.
        double: the same in float64.
        read: bytes a second of a plain pass, by the name of the array that is passed over.

    Chapter: ch-closed-form
    """

    single: float
    double: float
    read: dict[str, float]

    def limit(self, where: str, read: float, single: float = 0, double: float = 0) -> tuple[float, str]:
        """Least seconds for so many bytes of that array and operations, and what takes them."""
        reading, products = read / self.read[where], single / self.single + double / self.double
        return (reading, "reading") if reading > products else (products, "products")


def example(n: int = 1803, d: int = 512, c: int = 7, sentences: int = 8) -> tuple[Tensor, Tensor]:
    """Random unit vectors in two cones, the same at each call.

    Args:
        n, d, c: numbers of images, dimensions and classes.
        sentences: texts for each class.

    Returns:
        Images `[N, D]` and texts `[C, M, D]`, float32.

    Example:
        >>> images, texts = example(30, 8, 3)
        >>> images.shape, texts.shape
        (torch.Size([30, 8]), torch.Size([3, 8, 8]))

    Chapter: ch-closed-form
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    means = 0.6 * draw(c, d)
    images = draw(d) + means[torch.arange(n) % c] + 0.8 * draw(n, d)
    texts = draw(d) + means[:, None] + 0.9 * draw(c, sentences, d)
    return F.normalize(images, dim=1), F.normalize(texts, dim=2)


def stored(name: str) -> dict | None:
    """Speeds that were measured for the book, with device, versions and date; None where nobody has measured them.

    Args:
        name: "speed", of processors, or "gpu_speed", of one card.

    Returns:
        What `data/results/NAME.json` holds.

    Example:
        >>> stored("abacus_speed") is None
        True

    Chapter: ch-closed-form, ch-scaling
    """
    path = data_dir() / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def published_steps(
    images: Tensor, text: Tensor, labels: Tensor, steps: int, transposed: bool = False
) -> Tensor:
    """The published loop, as plainly as PyTorch says it: the yardstick.

        G = (softmax(X Wᵀ/τ) − Y)ᵀ X,   lr ← lr/2 where ‖G‖ grew,   W ← normalize(W − lr/(N τ) G)

    Args:
        images: unit rows `[N, D]`.
        text: unit rows `[C, D]` to start from.
        labels: pseudo labels `[N, C]`.
        steps: how many.
        transposed: keep W as `[C, D]`, which is the same product to us and another to the matrix library; the
            released code keeps `[D, C]`.

    Returns:
        Weights `[C, D]`.

    Example:
        >>> x = torch.eye(2)
        >>> published_steps(x, x, x, steps=3).argmax(dim=1)
        tensor([0, 1])

    Chapter: ch-closed-form
    """
    tau, rate, last = 0.04, 10.0, float("inf")
    best, index = labels.max(dim=1)
    labels = torch.where(best[:, None] > 0.6, F.one_hot(index, labels.shape[1]).to(labels), labels)
    w = text if transposed else text.T.contiguous()
    target = labels.T @ images if transposed else images.T @ labels
    for _ in range(steps):
        if transposed:
            gradient = F.softmax(images @ w.T / tau, dim=1).T @ images - target
        else:
            gradient = images.T @ F.softmax(images @ w / tau, dim=1) - target
        norm = gradient.norm()
        rate, last = rate / 2 if norm > last else rate, norm
        w = F.normalize(w - rate / (len(images) * tau) * gradient, dim=1 if transposed else 0)
    return w if transposed else w.T.contiguous()


def solver_speeds(
    images: Tensor, texts: Tensor, steps: int = 60, repeats: int = 5, to_the_end: bool = True
) -> tuple[tuple[Speed, ...], Rates]:
    """Time the solvers, the plain loop and the machine in turn, on one thread; the medians, and the rates.

    Args:
        images: unit rows `[N, D]`, float32.
        texts: unit rows `[C, M, D]`.
        steps: steps that are timed, the same on both sides. The 2,000 of the published loop are so many times one.
        repeats: runs of each.
        to_the_end: also time the released method until its steps stop, which takes long with many classes.

    Returns:
        A Speed for each solver, and the Rates.

    Raises:
        InputError: if steps or repeats is below 1.

    Example:
        >>> found, rates = solver_speeds(*example(60, 16, 3), steps=5, repeats=1)
        >>> found[1].what, found[1].steps, rates.single > 0
        ('gradient step', 5, True)

    Chapter: ch-closed-form
    """
    check_count(steps, "steps")
    check_count(repeats, "repeats")
    text = texts[:, 0].contiguous()
    logits = images @ text.T
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of conditions that decide about labels, not about time
        converged = sinkhorn(logits, iterations=1000).pseudo_labels
        released = greenkhorn(logits, start="released").pseudo_labels
        bank = TextBank(tuple(map(str, range(len(text)))), list(texts), text)
        done = fit_proxies(images, text, converged, steps=steps).steps
        stopped = 0
        works = {
            "plain": lambda: published_steps(images, text, converged, done),
            "transposed": lambda: published_steps(images, text, converged, done, transposed=True),
            "step": lambda: fit_proxies(images, text, converged, steps=done),
            "closed form": lambda: ridge_proxies(images, released),
            "sweeps": lambda: sinkhorn(logits, iterations=SWEEPS),
            "texts": lambda: text_proxies(bank, images, k=min(8, texts.shape[1])),
        }
        if to_the_end:
            works["released"] = lambda: fit_proxies(images, text, released)
            stopped = works["released"]().steps
        arrays = {"images": images, "plan": converged.double()}
        seconds, rates = interleaved(works, arrays, repeats)
    return _rows(seconds, rates, (*images.shape, len(text)), texts.shape[1], done, stopped), rates


def _rows(
    seconds: dict[str, float], rates: Rates, shape: tuple[int, ...], sentences: int, done: int, stopped: int
) -> tuple[Speed, ...]:
    """What was timed, beside the least that it can take."""
    n, d, c = shape
    m, read = min(n, d), 4 * n * d
    plain = seconds["plain"] / done
    step = rates.limit("images", read, 4 * n * d * c)
    closed = rates.limit("images", read, n * d * m + 2 * n * d * c, m**3 / 3 + 2 * m * m * c)
    s = c * sentences
    listing = rates.limit("images", read + 4 * s * d, n * d, 2 * s * d)
    sweep = rates.limit("plan", 16 * n * c, 0, 4 * n * c)

    def row(what: str, took: float, limit: tuple[float, str], against: float | None, made: int = 0) -> Speed:
        ratio = None if against is None else against / took
        return Speed(what, took, *limit, limit[0] / took, against, ratio, made)

    rows = [row("transposed loop", seconds["transposed"] / done, step, plain, done)]
    rows.append(row("gradient step", seconds["step"] / done, step, plain, done))
    if stopped:
        limit = stopped * step[0], step[1]
        rows.append(row("2,000 released steps", seconds["released"], limit, STEPS * plain, stopped))
    return (
        *rows,
        row("closed form", seconds["closed form"], closed, STEPS * plain),
        row("sweep of transport", seconds["sweeps"] / SWEEPS, sweep, None),
        row("text proxies", seconds["texts"], listing, None),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def interleaved(
    works: dict[str, Callable[[], object]], arrays: dict[str, Tensor], repeats: int
) -> tuple[dict[str, float], Rates]:
    """Median seconds of each work, and the rates of the machine, from runs in turn."""
    single, double = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE, dtype=torch.float64)
    passes = {name: max(1, PASS // (x.nbytes)) for name, x in arrays.items()}
    machine = {f"read {a}": lambda x=x, n=passes[a]: [x.sum() for _ in range(n)] for a, x in arrays.items()}
    machine |= {"single": lambda: single @ single, "double": lambda: double @ double}
    every, times = works | machine, {name: [] for name in works | machine}
    for turn in range(repeats + 1):
        for name, work in every.items():
            start = CLOCK()
            work()
            if turn:  # the first compiles, and fills caches
                times[name].append(CLOCK() - start)
    took = {name: statistics.median(found) for name, found in times.items()}
    read = {name: passes[name] * x.nbytes / took[f"read {name}"] for name, x in arrays.items()}
    return took, Rates(2 * SIDE**3 / took["single"], 2 * SIDE**3 / took["double"], read)
