"""How much faster than the plain loop: ratios, each a median of interleaved runs on one thread.

Run with `python -m pytest tests/benchmarks -s`. KPL_BENCH_OUT names a JSON file that collects the rows,
KPL_BENCH_REPEATS the runs of each (5 unless set). Outside the timed tests: a busy machine spoils a clock, not a test.
"""

import json
import os
import platform
import statistics
import sys
import time
from datetime import date
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "worlds"))
from core_world import DoubleBank, world
from published_loop import published_loop

from kpl_lib.sweep import sweep
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

REPEATS = int(os.environ.get("KPL_BENCH_REPEATS", 5))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def interleaved(slow, fast):
    """Seconds of both, medians of runs in turn."""
    fast()  # compiled code and caches are not what is measured
    times = ([], [])
    for _ in range(REPEATS):
        for run, seconds in zip((slow, fast), times, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return tuple(statistics.median(seconds) for seconds in times)


def record(what, shape, slow, fast, bound):
    ratio = slow / fast
    row = {
        "what": what,
        "shape": shape,
        "plain_seconds": round(slow, 4),
        "seconds": round(fast, 5),
        "ratio": round(ratio, 2),
        "bound": bound,
        "repeats": REPEATS,
        "threads": 1,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "date": date.today().isoformat(),
    }
    print(f"\n{what} {shape}: {slow:.3f} s -> {fast:.4f} s, {ratio:.1f}x (bound {bound})")
    out = os.environ.get("KPL_BENCH_OUT")
    if out:
        rows = json.loads(Path(out).read_text()) if Path(out).exists() else []
        rows = [r for r in rows if (r["what"], r["shape"]) != (what, shape)] + [row]
        Path(out).write_text(json.dumps(rows, indent=1) + "\n")
    assert ratio >= bound


def plan_of(name, images, text):
    logits = images @ text.T
    if name == "released":
        return greenkhorn(logits, start="released").pseudo_labels
    return sinkhorn(logits, iterations=1000).pseudo_labels


@pytest.mark.parametrize(("plan", "bound"), (("released", 8), ("converged", 3)))
def test_steps_on_real_features(natural7, plan, bound):
    images, text = natural7
    labels = plan_of(plan, images, text)
    slow, fast = interleaved(
        lambda: published_loop(images, text, labels), lambda: fit_proxies(images, text, labels)
    )
    record(f"steps, {plan} plan", "natural7 1803 x 512 x 7", slow, fast, bound)


@pytest.mark.parametrize("plan", ("released", "converged"))
@pytest.mark.parametrize(
    ("n", "d", "c", "steps"), ((138, 768, 2, 2000), (600, 768, 4, 2000), (5000, 512, 100, 200))
)
def test_steps_are_never_slower(n, d, c, steps, plan):
    images, texts, _ = world(n, d, c, 1, dtype=torch.float32)
    text = texts[:, 0]
    labels = plan_of(plan, images, text)
    slow, fast = interleaved(
        lambda: published_loop(images, text, labels, steps=steps),
        lambda: fit_proxies(images, text, labels, steps=steps),
    )
    record(f"steps, {plan} plan, {steps} steps", f"{n} x {d} x {c}", slow, fast, 1 / 1.1)


def test_closed_form_on_real_features(natural7):
    images, text = natural7
    labels = plan_of("released", images, text)
    slow, fast = interleaved(
        lambda: published_loop(images, text, labels), lambda: ridge_proxies(images, labels)
    )
    record("closed form", "natural7 1803 x 512 x 7", slow, fast, 100)


@pytest.mark.parametrize(
    ("plan", "closed_form", "bound"),
    (("converged", False, 6), ("released", False, 6), ("released", True, 500)),
)
def test_sweep_over_ten_k(plan, closed_form, bound):
    images, texts, _ = world(600, 768, 4, 50, dtype=torch.float32)
    bank, ks = DoubleBank(texts), range(5, 55, 5)
    points = sweep(bank, images, ks, plan=plan, closed_form=True, intercept=True)

    def one_by_one():
        for point in points:
            published_loop(images, point.text.weights, point.pseudo_labels)

    slow, fast = interleaved(one_by_one, lambda: sweep(bank, images, ks, plan=plan, closed_form=closed_form))
    kind = "closed form" if closed_form else "steps"
    record(f"sweep over 10 k, {plan} plan, {kind}", "600 x 768 x 4", slow, fast, bound)
