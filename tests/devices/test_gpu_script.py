"""The script for a GPU, run on tiny inputs: each of its lines, so that it does not fail where minutes are paid for."""

import json
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.slow  # it imports and runs everything in a process of its own


def run(root, *given):
    return subprocess.run(
        [sys.executable, str(root / "tests" / "speed" / "gpu.py"), *given],
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_script_runs_to_its_end_and_writes_what_it_measured(root, tmp_path):
    out = tmp_path / "gpu_speed.json"
    done = run(root, "--small", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    measured = {(row["what"].partition(",")[0], row["precision"]) for row in found["rows"]}
    parts = {"product of matrices", "encode", "pass over the images", "transport", "steps", "closed form"}
    parts.add("joined encoders")
    every = {(what, precision) for what in parts for precision in ("float32", "TF32", "bfloat16")}
    assert every - measured == {("joined encoders", "bfloat16")}  # their features are float32 throughout
    assert found["left_out"] == [] and found["seconds"] > 0
    assert all(row["seconds"] > 0 for row in found["rows"])
    assert {row["size"][0] for row in found["rows"] if row["what"] == "closed form"} == {60, 2000}
    steps = [row for row in found["rows"] if row["what"] == "steps"]
    assert all(row["of_limit"] > 0 and row["limit"] in ("reading", "products") for row in steps)
    assert all(row["host_reads"] > 0 for row in steps)
    plain = [row for row in found["rows"] if row["what"] == "steps, plain PyTorch"]
    assert len(plain) == len(steps) and all(row["ours_is_faster"] > 0 for row in plain)
    assert len(found["labels"]) >= 20 and not any(row["wrong"] for row in found["labels"])


def test_without_a_gpu_it_says_so_in_one_line(root):
    if not torch.cuda.is_available():
        done = run(root)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--small" in done.stderr
