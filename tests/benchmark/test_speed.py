"""Speeds beside their limits: what is counted, and the script that prints them, without a word about seconds."""

import json
import os
import subprocess
import sys

import pytest
import torch
from published_loop import published_loop

from kpl_lib.benchmark import speed
from kpl_lib.common.errors import InputError


def test_the_yardstick_is_the_published_loop_in_either_order():
    images, texts = (x.double() for x in speed.example(80, 12, 3))
    plan = (images @ texts[:, 0].T / 0.01).softmax(dim=1)
    wanted = published_loop(images, texts[:, 0], plan, steps=30)
    for transposed in (False, True):
        found = speed.published_steps(images, texts[:, 0], plan, 30, transposed)
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=0)


def test_the_limit_is_what_takes_longest():
    rates = speed.Rates(single=4.0, double=2.0, read={"images": 10.0})
    assert rates.limit("images", 50, single=8) == (5.0, "reading")
    assert rates.limit("images", 50, single=8, double=8) == (6.0, "products")


def test_each_row_is_what_was_timed_beside_what_is_counted():
    took = {
        "plain": 8.0,
        "transposed": 4.0,
        "step": 2.0,
        "released": 10.0,
        "closed form": 40.0,
        "sweeps": 400.0,
    }
    rates = speed.Rates(1e3, 1e3, {"images": 1e9, "plan": 1e3})
    rows = speed._rows({**took, "texts": 5.0}, rates, (10, 5, 2), 3, done=4, stopped=20)
    found = {row.what: row for row in rows}
    step = found["gradient step"]
    assert (step.seconds, step.plain_seconds, step.ratio, step.steps) == (0.5, 2.0, 4.0, 4)
    assert (step.limit_seconds, step.limit, step.share) == (0.4, "products", 0.8)  # 4 · 10 · 5 · 2 operations
    assert found["2,000 released steps"].limit_seconds == 20 * 0.4
    assert found["closed form"].ratio == 2000 * 2.0 / 40.0
    products = 10 * 5 * 5 + 2 * 10 * 5 * 2 + 5**3 / 3 + 2 * 25 * 2
    assert found["closed form"].limit_seconds == pytest.approx(products / 1e3)
    sweep = found["sweep of transport"]
    assert (sweep.seconds, sweep.limit, sweep.limit_seconds, sweep.ratio) == (2.0, "reading", 0.32, None)


def test_the_number_of_threads_is_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    rows, rates = speed.solver_speeds(*speed.example(60, 16, 3), steps=5, repeats=1)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert all(row.seconds > 0 and row.limit_seconds > 0 for row in rows) and rates.double > 0
    with pytest.raises(InputError, match="repeats"):
        speed.solver_speeds(*speed.example(60, 16, 3), repeats=0)


def test_a_run_without_an_end_leaves_that_row_out():
    rows, _ = speed.solver_speeds(*speed.example(60, 16, 3), steps=5, repeats=1, to_the_end=False)
    assert "2,000 released steps" not in {row.what for row in rows}


def run(root, out, code):
    """The script on tiny inputs, in a process of its own."""
    given = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        f"import sys; sys.argv[1:] = ['--small']; import bench; {code}",
    ]
    folders = os.pathsep.join(map(str, (root / "tests" / "speed", root)))
    settings = {**os.environ, "KPL_BENCH_OUT": str(out), "KPL_BENCH_REPEATS": "1", "PYTHONPATH": folders}
    return subprocess.run(given, env=settings, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_missed_bound_is_said_and_stops_nothing(root, tmp_path):
    done = run(root, tmp_path / "speed.json", "sys.exit(bench.main())")
    assert done.returncode == 0, done.stderr
    assert "below the bound" in done.stdout and "x here" in done.stdout and "meets" in done.stdout
    (found,) = json.loads((tmp_path / "speed.json").read_text())["runs"]
    assert {"machine", "instructions", "threads", "load", "quiet", "date", "rows"} <= set(found)
    kinds = {row["what"].split(",")[0] for row in found["rows"]}
    assert {"gradient step", "closed form", "sweep of ten k", "encode", "20 resamples"} <= kinds
    assert all(row["labels"] == 1 for row in found["rows"] if row.get("labels") is not None)


@pytest.mark.slow
def test_other_labels_than_those_of_the_loop_end_it_with_code_1(root, tmp_path):
    code = "bench.labels = lambda *given: {'gradient step': 0.9}; sys.exit(bench.main())"
    done = run(root, tmp_path / "speed.json", code)
    assert done.returncode == 1
    assert "bench.py: other labels than the float64 loop: gradient step" in done.stderr.splitlines()[-1]
