"""What a GPU makes of the method: `python tests/speed/gpu.py`, under 8 minutes on one card.

Image towers of the real sizes (random weights) against the card's own rate of multiplying matrices; transport, steps
and closed form; joined encoders; 1.8 million rows; each in float32, TF32 and bfloat16. Steps stand beside the limit of
the card (`kpl_lib.benchmark.speed`), beside the same steps in plain PyTorch, and with the times that the host reads.
Then whether every classifier gives the labels of the CPU; it ends with code 1 where one does not. Writes
data/results/gpu_speed.json.

`--small` runs all of it on tiny inputs, without a GPU too, and writes nothing unless `--out` names a file.
"""

import argparse
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import open_clip
from core_world import bank_of, world
from pretended_device import INDEXED, MOVES, READS
from torch.utils._python_dispatch import TorchDispatchMode

from kpl_lib import __version__
from kpl_lib.benchmark import speed
from kpl_lib.classifiers import available, create
from kpl_lib.common.errors import InputError
from kpl_lib.encoders import load_encoder
from kpl_lib.encoders.encoder import Encoder
from kpl_lib.features import Features, TextBank, join
from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "data" / "results" / "gpu_speed.json"
PRECISIONS = ("float32", "TF32", "bfloat16")
SECONDS = 420  # no part is begun later, so that the whole stays under 8 minutes
MARGIN = 2e-3  # labels may differ where the two likeliest classes are this close on the CPU
PLACES = (1_803_460, 768, 365)  # images, dimensions and classes of the largest set of the paper


@dataclass(frozen=True)
class Sizes:
    """What is measured, at what size; (images, dimensions, classes) for the solvers."""

    towers: tuple[tuple[str, int], ...] = (("ViT-B-32", 512), ("ViT-B-16", 256), ("ViT-L-14-336", 64))
    matrix: int = 8192
    solvers: tuple[tuple[int, int, int], ...] = ((600, 768, 4), (50_000, 768, 1000))
    large: tuple[int, int, int] = PLACES
    joined: tuple[int, int, int] = (5000, 512, 10)
    labels: tuple[int, int, int] = (600, 128, 6)
    steps: int = 50
    repeats: int = 3


SMALL = Sizes((("phantom", 8),), 128, ((60, 16, 4),), (2000, 16, 5), (60, 16, 4), (90, 24, 3), 5, 1)


@dataclass
class Bench:
    """One device, the rows that were measured on it, what no time was left for, and its operations a second."""

    device: torch.device
    sizes: Sizes
    rows: list[dict] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    products: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Median of the runs after a first one."""
        work()
        times = []
        for _ in range(self.sizes.repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def row(self, what: str, precision: str, seconds: float, **told) -> None:
        """Keep a figure, and say it."""
        row = {"what": what, "precision": precision, "seconds": round(seconds, 6), **told}
        if self.device.type == "cuda":
            row["peak_gb"] = round(torch.cuda.max_memory_allocated(self.device) / 1e9, 2)
            torch.cuda.reset_peak_memory_stats(self.device)
        self.rows.append(row)
        print(f"{time.perf_counter() - self.start:5.0f} s  {row}", flush=True)

    def part(self, name: str, work: Callable[[str], None], precisions: tuple[str, ...] = PRECISIONS) -> None:
        """One part in each precision, while there is time and memory for it."""
        for precision in precisions:
            if time.perf_counter() - self.start > SECONDS:
                self.left_out.append(f"{name}, {precision}: no time")
                continue
            try:
                with computing(precision):
                    work(precision)
            except torch.OutOfMemoryError:
                self.left_out.append(f"{name}, {precision}: no memory")
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


@contextmanager
def computing(precision: str) -> Iterator[None]:
    """Float32 products as asked for; bfloat16 is a matter of what is multiplied."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "TF32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def dtype_of(precision: str) -> torch.dtype:
    """What images are kept in."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def encoding(bench: Bench) -> None:
    """Images a second of each tower, and its operations as a share of what a product of matrices reaches."""
    limits = bench.products

    def limit(precision: str) -> None:
        n = bench.sizes.matrix
        a, b = torch.randn(2, n, n, device=bench.device).to(dtype_of(precision))
        taken = bench.seconds(lambda: a @ b)
        limits[precision] = 2 * n**3 / taken
        bench.row("product of matrices", precision, taken, size=[n, n, n], tflops=limits[precision] / 1e12)

    bench.part("product of matrices", limit)
    for name, batch in bench.sizes.towers:
        encoder = tower(name, bench.device)
        side = encoder.model.visual.image_size
        side = side[0] if isinstance(side, tuple) else side
        pixels = torch.randn(batch, 3, side, side, device=bench.device)
        with (
            FlopCounterMode(display=False) as counter,
            torch.enable_grad(),
        ):  # with gradients no layer is fused away
            encoder.model.encode_image(pixels[:1])
        flop = counter.get_total_flops()

        def encode(precision: str, encoder=encoder, pixels=pixels, flop=flop, name=name) -> None:
            mixed = torch.bfloat16 if precision == "bfloat16" else None
            used = replace(encoder, mixed=mixed)
            taken = bench.seconds(lambda: used.encode_pixels(pixels))
            rate = len(pixels) / taken
            share = rate * flop / limits[precision]
            told = {"batch": len(pixels), "gflop": flop / 1e9, "images_per_second": rate, "of_limit": share}
            bench.row(f"encode, {name}", precision, taken, **told)

        bench.part(f"encode, {name}", encode)
        del encoder, encode


def tower(name: str, device: torch.device) -> Encoder:
    """An encoder of this size; its weights do not matter for its speed."""
    if name == "phantom":
        return load_encoder("phantom", device=str(device))
    model = open_clip.create_model(name, device=device).eval()
    return Encoder(name, model, None, None, device)


def scene(shape: tuple[int, int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `[N, D]` in a cone and texts `[C, D]`, made where they are used."""
    n, d, c = shape
    torch.manual_seed(0)
    cone, means = 2 * torch.randn(d, device=device), torch.randn(c, d, device=device)
    images = torch.empty(n, d, device=device)
    for part in images.split(1 << 16):
        part.normal_()
        part += cone + means[torch.randint(c, (len(part),), device=device)]
        F.normalize(part, dim=1, out=part)
    return images, F.normalize(cone + means + 0.5 * torch.randn(c, d, device=device), dim=1)


class Reads(TorchDispatchMode):
    """Counts inside its block how often the host waits for a number of the device, as `pretended_device` does."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation._schema.name.partition("::")[2]
        found = operation(*args, **(kwargs or {}))
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        moved = name in MOVES and isinstance(found, torch.Tensor) and found.device.type == "cpu"
        moved = moved and any(x.device.type != "cpu" for x in tensors)
        masked = name in INDEXED and any(x is not None and x.dtype == torch.bool for x in args[1])
        self.count += name in READS or moved or masked
        return found


def reads_of(work: Callable[[], object]) -> int:
    """Host reads of one call."""
    with Reads() as reads:
        work()
    return reads.count


def solvers(bench: Bench, shape: tuple[int, int, int], steps: int) -> None:
    """Transport of 20 sweeps, steps, and the closed form; and whether labels are those of float32."""
    first: dict[str, torch.Tensor] = {}
    images, text = scene(shape, bench.device)
    n, d, c = shape

    def solve(precision: str) -> None:
        x = images.to(dtype_of(precision))
        reading = bench.seconds(x.sum)
        bench.row(
            "pass over the images", precision, reading, size=shape, gb_per_second=x.nbytes / reading / 1e9
        )
        # images that are stored in half are multiplied in float32
        rate = bench.products.get("TF32" if precision == "TF32" else "float32", float("inf"))
        least, limit = speed.Rates(rate, rate, {"images": x.nbytes / reading}).limit(
            "images", x.nbytes, 4 * n * d * c
        )
        transport = partial(sinkhorn, x.float() @ text.T)
        taken = bench.seconds(transport)
        bench.row("transport, 20 sweeps", precision, taken, size=shape, host_reads=reads_of(transport))
        labels = transport().pseudo_labels
        works = {
            "steps": lambda: fit_proxies(x, text, labels, steps=steps),
            "closed form": lambda: ridge_proxies(x, labels, intercept=True),
        }
        took = {}
        for what, work in works.items():
            took[what] = bench.seconds(work)
            said = work().scores(x).argmax(dim=1)
            same = float((said == first.setdefault(what, said)).double().mean())
            told = {"labels_of_float32": same, "host_reads": reads_of(work)}
            if what == "steps":
                told |= {"steps": steps, "seconds_a_step": took[what] / steps}
                told |= {"of_limit": least * steps / took[what], "limit": limit}
            bench.row(what, precision, took[what], size=shape, **told)
        plain = bench.seconds(lambda: speed.published_steps(x.float(), text, labels, steps, transposed=True))
        told = {"steps": steps, "seconds_a_step": plain / steps, "ours_is_faster": plain / took["steps"]}
        bench.row("steps, plain PyTorch", precision, plain, size=shape, **told)

    bench.part(f"solvers {list(shape)}", solve)


def fitting(shape: tuple[int, int, int], device: torch.device) -> tuple[int, int, int]:
    """The shape with as many images as the free memory takes; half, a quarter and so on of it where it is small."""
    n, d, c = shape
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        while n * (8 * d + 40 * c) > free:
            n //= 2
    return n, d, c


def several(bench: Bench) -> None:
    """Methods on two encoders side by side."""
    features, bank = view(bench.sizes.joined, 0, bench.device)
    other, texts = view(bench.sizes.joined, 1, bench.device)
    images, bank = join([features, other]), join([bank, texts])
    for name in ("kpl-closed-form", "sota", "kpl-adaptive"):

        def fit(precision: str, name=name) -> None:
            taken = bench.seconds(lambda: create(name).fit_predict(images, bank))
            bench.row(f"joined encoders, {name}", precision, taken, size=[*bench.sizes.joined, 2])

        bench.part(f"joined encoders, {name}", fit, ("float32", "TF32"))  # features are float32 throughout


def view(shape: tuple[int, int, int], seed: int, device: torch.device) -> tuple[Features, TextBank]:
    """Labelled images and a bank with controls."""
    n, d, c = shape
    images, texts, labels = world(n, d, c, 12, seed=seed, dtype=torch.float32)
    bank = bank_of(texts)
    bank = replace(bank, controls={"random": bank.descriptions})
    return Features(images, labels, bank.class_names).to(device), bank.to(device)


def same_labels(bench: Bench) -> list[dict]:
    """Each classifier here and on the CPU: labels that differ, of them no near ties, and probabilities."""
    features, bank = view(bench.sizes.labels, 0, torch.device("cpu"))
    x = features.images
    tokens = F.normalize(x[:, None] + 0.3 * x.roll(1, 0)[:, None].expand(-1, 4, -1), dim=2)
    found = []
    for name in available(patches=True):
        try:
            expected = create(name).fit_predict(features, bank, patches=tokens)
        except InputError as error:  # an extra that is not installed
            bench.left_out.append(f"classifier {name}: {error}")
            continue
        got = create(name).fit_predict(features.to(bench.device), bank, patches=tokens.to(bench.device))
        best = expected.probabilities.topk(2, dim=1).values
        other = got.labels.cpu() != expected.labels
        wrong = int((other & (best[:, 0] - best[:, 1] > MARGIN)).sum())
        apart = float((got.probabilities.cpu() - expected.probabilities).abs().max())
        found.append({"classifier": name, "other": int(other.sum()), "wrong": wrong, "apart": apart})
        print(f"{time.perf_counter() - bench.start:5.0f} s  {found[-1]}", flush=True)
    return found


def report(bench: Bench, labels: list[dict], small: bool) -> dict:
    cuda = bench.device.type == "cuda"
    card = torch.cuda.get_device_properties(bench.device) if cuda else None
    return {
        "what": "Seconds of the method on one accelerator, and whether classifiers give the labels of the CPU.",
        "by": "python tests/speed/gpu.py" + (" --small" if small else ""),
        "device": card.name if cuda else f"CPU {platform.machine()}",
        "memory_gb": round(card.total_memory / 1e9, 1) if cuda else None,
        "versions": {
            "kpl_lib": __version__,
            "torch": torch.__version__,
            "cuda": torch.version.cuda if cuda else None,
            "open_clip": open_clip.__version__,
        },
        "date": date.today().isoformat(),
        "seconds": round(time.perf_counter() - bench.start, 1),
        "left_out": bench.left_out,
        "rows": bench.rows,
        "labels": labels,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--small", action="store_true", help="tiny inputs, without a GPU too")
    parser.add_argument(
        "--out", type=Path, help="where to write; data/results/gpu_speed.json without --small"
    )
    asked = parser.parse_args(arguments)
    if not asked.small and not torch.cuda.is_available():
        print("gpu.py: there is no GPU here; add --small to run it on tiny inputs", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore", UserWarning)  # of methods, about the random world
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    bench = Bench(device, SMALL if asked.small else Sizes())
    with computing("float32"):
        labels = same_labels(bench)
    encoding(bench)
    for shape in bench.sizes.solvers:
        solvers(bench, shape, bench.sizes.steps)
    several(bench)
    solvers(bench, fitting(bench.sizes.large, device), max(1, bench.sizes.steps // 5))
    out = asked.out or (None if asked.small else OUT)
    if out:
        out.write_text(json.dumps(report(bench, labels, asked.small), indent=1) + "\n", encoding="utf-8")
    wrong = [row["classifier"] for row in labels if row["wrong"]]
    if wrong:
        print(f"gpu.py: other labels than on the CPU: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
