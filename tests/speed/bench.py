"""What the library takes on this machine, beside its limit and beside plain code: `make bench`.

The solvers on one thread (`kpl_lib.benchmark.speed`), a sweep over ten k, encoding from files, and the metrics, as one
table. No bound stops it: a row that misses its bound says so, and what would be possible here. It ends with code 1
only where labels are not those of the published loop in float64. KPL_BENCH_OUT names a JSON file to write.

`--store` writes data/results/speed.json; a machine with AVX-512 runs the solvers with AVX2 too. `--small` runs every
line on tiny inputs.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries that read it are imported
os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from bench_encoding import encoding
from bench_metrics import resampling
from core_world import DoubleBank

from kpl_lib import __version__
from kpl_lib.benchmark import speed
from kpl_lib.sweep import sweep
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import VisionProxies, fit_proxies, ridge_proxies

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "data" / "results" / "speed.json"
NATURAL = Path(os.environ.get("KPL_SHARED", ROOT.parent / "shared")) / "real" / "natural7_clip_vitb32.npz"
OLDER = {  # AVX2 on a machine that has AVX-512; numba takes the features of the machine unless told
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2",
}
SAME = 0.999  # share of images that must get the label of the float64 loop
SHARE = 0.8  # of its limit that a step should reach
BUSY = 0.2  # cores that other programs use, from which on a run says that the machine was not quiet


@dataclass(frozen=True)
class Case:
    """Vectors, the steps that are timed on them, and the ratios to the plain loop that are hoped for."""

    name: str
    shape: tuple[int, int, int] | None
    steps: int
    bounds: dict[str, float] = field(default_factory=dict)
    to_the_end: bool = False

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images `[N, D]` and texts `[C, M, D]`; without a shape those of real CLIP."""
        if self.shape:
            return speed.example(*self.shape)
        with np.load(NATURAL) as file:
            images, text = (torch.from_numpy(file[f"{kind}_features"]) for kind in ("image", "text"))
        return F.normalize(images, dim=1), F.normalize(text, dim=1)[:, None]


NEVER = {"gradient step": 1 / 1.1}
REAL = {"gradient step": 2, "2,000 released steps": 12, "closed form": 60}
CASES = (
    Case("real CLIP", None, 400, REAL, True),
    Case("random", (1803, 512, 7), 400, REAL, True),
    Case("random", (5000, 512, 100), 80, {"gradient step": 2}),
    Case("random", (138, 768, 2), 500, NEVER),
    Case("random", (600, 768, 4), 200, NEVER),
    Case("random", (27558, 768, 2), 15, NEVER),
)
SMALL = (Case("random", (90, 24, 3), 5, REAL, True), Case("random", (60, 16, 4), 5, NEVER))


def solvers(cases: tuple[Case, ...], repeats: int) -> Iterator[dict]:
    """A row for each solver and case."""
    for case in cases:
        if case.shape is None and not NATURAL.exists():
            print(f"{NATURAL.name} is not in shared/: that case is left out", file=sys.stderr)
            continue
        images, texts = case.inputs()
        found, rates = speed.solver_speeds(images, texts, case.steps, repeats, case.to_the_end)
        same = labels(images, texts[:, 0].contiguous(), found)
        size = [*images.shape, len(texts)]
        measured = {
            "single": rates.single,
            "double": rates.double,
            **{f"read {k}": v for k, v in rates.read.items()},
        }
        for row in found:
            told = {"bound": case.bounds.get(row.what), "labels": same.get(row.what)}
            yield {"inputs": case.name, "shape": size, **asdict(row), **told, "rates": measured}


def labels(images: torch.Tensor, text: torch.Tensor, found: tuple[speed.Speed, ...]) -> dict[str, float]:
    """Share of images with the label of the published loop in float64, for each row that has steps beside it."""
    logits, exact, same = images @ text.T, images.double(), {}
    done = {row.what: row.steps for row in found}
    converged, released = sinkhorn(logits, iterations=1000), greenkhorn(logits, start="released")

    def loop(plan: torch.Tensor, steps: int) -> torch.Tensor:
        w = speed.published_steps(exact, text.double(), plan.double(), steps, transposed=True)
        return (exact @ w.T).argmax(dim=1)

    def agree(fit: VisionProxies, truth: torch.Tensor) -> float:
        return float((fit.scores(images).argmax(dim=1) == truth).double().mean())

    plan, steps = converged.pseudo_labels, done["gradient step"]
    same["gradient step"] = agree(fit_proxies(images, text, plan, steps=steps), loop(plan, steps))
    if "2,000 released steps" in done:
        plan = released.pseudo_labels
        truth = loop(plan, speed.STEPS)
        same["2,000 released steps"] = agree(fit_proxies(images, text, plan), truth)
        same["closed form"] = agree(ridge_proxies(images, plan), truth)
    return same


def sweeps(small: bool, repeats: int) -> Iterator[dict]:
    """Ten k at once beside ten plain loops of as many steps."""
    (n, d, c), steps = ((60, 16, 4), 5) if small else ((600, 768, 4), 250)
    images, texts = speed.example(n, d, c, 50)
    bank, ks, text = DoubleBank(texts), range(5, 55, 5), texts[:, 0].contiguous()
    plan = sinkhorn(images @ text.T, iterations=1000).pseudo_labels
    works = {
        "plain": lambda: speed.published_steps(images, text, plan, steps),
        "steps, converged plan": lambda: sweep(bank, images, ks, steps=steps),
        "steps, released plan": lambda: sweep(bank, images, ks, plan="released"),
        "closed form": lambda: sweep(bank, images, ks, plan="released", closed_form=True),
    }
    with speed.one_thread():
        took, _ = speed.interleaved(works, {"images": images}, repeats)
    for what, bound in (("steps, converged plan", 6), ("steps, released plan", 6), ("closed form", 300)):
        plain = len(ks) * took["plain"] * (1 if "converged" in what else speed.STEPS / steps)
        told = {"seconds": took[what], "plain_seconds": plain, "ratio": plain / took[what], "bound": bound}
        yield {"inputs": "random", "shape": [n, d, c], "what": f"sweep of ten k, {what}", **told}


def times(ratio: float) -> str:
    """A ratio in few digits."""
    return f"{ratio:.0f}x" if ratio >= 10 else f"{ratio:.3g}x"


def said(row: dict) -> str:
    """Whether the bounds of a row are met and, where they are not, what this machine would allow."""
    bound, share, limit = row.get("bound"), row.get("share"), row.get("limit_seconds")
    if bound is None:
        return ""
    if row["ratio"] < bound:
        found = f"below the bound: {times(row['ratio'])} of {times(bound)}"
        if limit and bound > 1:
            found += f", at most {times(row['plain_seconds'] / limit)} here"
    else:
        found = f"meets {times(bound)}"
    if row["what"] == "gradient step" and bound > 1 and share < SHARE:
        found += f"; {share:.0%} of its limit, not {SHARE:.0%}"
    return found


def printed(row: dict) -> str:
    """One line of the table."""

    def told(key: str, form: str) -> str:
        return "" if row.get(key) is None else format(row[key], form)

    where = f"{row['inputs']} {' x '.join(map(str, row['shape']))}"
    took = f"{1e3 * row['seconds']:.3f} ms"
    limit = f"{told('share', '.0%')} of {row['limit']}" if row.get("limit") else ""
    same, ratio = told("labels", ".2%"), times(row["ratio"]) if row.get("ratio") else ""
    return f"{where:26} {row['what']:38} {took:>13} {ratio:>6} {limit:16} {same:8} {said(row)}"


def run(small: bool, only_solvers: bool, repeats: int) -> dict:
    """All rows of one instruction set, printed as they come."""
    load, instructions = others(), torch.backends.cpu.get_cpu_capability()
    print(f"{processor()}, {instructions}, one thread; other programs keep {load:.1f} cores busy")
    print(f"{'inputs':26} {'what':38} {'takes':>13} {'ratio':>6} {'of its limit':16} {'labels':8} bound")
    parts = [solvers(SMALL if small else CASES, repeats), sweeps(small, repeats)]
    if not only_solvers:
        parts += [encoding(small, repeats), resampling(small)]
    rows = []
    for row in (row for part in parts for row in part):
        rows.append(row)
        print(printed(row), flush=True)
    about = {"machine": processor(), "instructions": instructions, "threads": 1, "repeats": repeats}
    return {
        **about,
        "load": round(load, 1),
        "quiet": load < BUSY,
        "date": date.today().isoformat(),
        "rows": rows,
    }


def others() -> float:
    """Cores that other programs keep busy, over two seconds."""
    return psutil.cpu_percent(interval=2) / 100 * psutil.cpu_count()


def processor() -> str:
    """The name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def written(runs: list[dict], path: Path) -> None:
    """The file of rows."""
    found = {
        "what": "Seconds of a core that solvers take, beside the limit of the machine and the published loop.",
        "by": "python tests/speed/bench.py --store",
        "versions": {"kpl_lib": __version__, "torch": torch.__version__},
        "runs": runs,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def elsewhere(folder: Path, environment: dict[str, str], given: list[str]) -> dict:
    """The run of a process of its own, in that environment."""
    out = folder / "run.json"
    settings = {**os.environ, **environment, "KPL_BENCH_OUT": str(out)}
    subprocess.run([sys.executable, __file__, *given], env=settings, check=True)
    return json.loads(out.read_text(encoding="utf-8"))["runs"][0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--small", action="store_true", help="tiny inputs")
    parser.add_argument("--solvers", action="store_true", help="without encoding and metrics")
    parser.add_argument("--store", action="store_true", help="write data/results/speed.json")
    asked = parser.parse_args()
    warnings.simplefilter(
        "ignore", UserWarning
    )  # of plans and conditions: they decide about labels, not about time
    given = ["--small"] * asked.small
    if asked.store:
        settings = [({}, [])]
        if torch.backends.cpu.get_cpu_capability() == "AVX512":
            settings.append((OLDER, ["--solvers"]))
        with tempfile.TemporaryDirectory() as folder:
            runs = [elsewhere(Path(folder), own, given + extra) for own, extra in settings]
        written(runs, OUT)
        return 0
    torch.set_num_threads(1)
    found = run(asked.small, asked.solvers, int(os.environ.get("KPL_BENCH_REPEATS", 5)))
    if os.environ.get("KPL_BENCH_OUT"):
        written([found], Path(os.environ["KPL_BENCH_OUT"]))
    other = [row["what"] for row in found["rows"] if (row.get("labels") or 1) < SAME]
    if other:
        print(f"bench.py: other labels than the float64 loop: {', '.join(other)}", file=sys.stderr)
    return 1 if other else 0


if __name__ == "__main__":
    raise SystemExit(main())
