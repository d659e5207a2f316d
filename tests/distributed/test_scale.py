"""From shards to metrics: what is streamed gives what the library gives in memory, alone and in two processes."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed_world import in_ranks

from kpl_lib import cli
from kpl_lib.common.errors import InputError
from kpl_lib.common.tensors import read_tensors
from kpl_lib.distributed import scale
from kpl_lib.metrics import evaluate
from kpl_lib.metrics.tally import make_cases, tally_once
from kpl_lib.prediction import Prediction
from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import ridge_proxies

N, D, C = 3001, 32, 12
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several shards, blocks and strips of classes, none of which divides another."""
    sizes = {"SHARD": 1100, "BLOCK": 256, "SWEPT": 100, "COLUMNS": 5, "FITTED": 700, "WIDTH": 7}
    for name, value in sizes.items():
        monkeypatch.setattr(scale, name, value)
    monkeypatch.setattr("kpl_lib.vision_proxies.CALIBRATE", 700)


def in_memory(folder):
    """The figures of the library, on the same images."""
    parts = [
        read_tensors(path, "FeatureShard")[0] for path in sorted(Path(folder).glob("[0-9]*.safetensors"))
    ]
    x, y = (torch.cat([part[name] for part in parts]) for name in ("images", "labels"))
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(C, D, generator=generator)
    text = torch.nn.functional.normalize(centres + 2 * torch.randn(C, D, generator=generator) + 1, dim=1)
    plan = sinkhorn(x.float() @ text.T, temperature=scale.TEMPERATURE, iterations=scale.SWEEPS)
    p = ridge_proxies(x, plan.pseudo_labels / len(x), intercept=True).probabilities(x)
    found = evaluate(Prediction(p, p, p.argmax(dim=1)), y, intervals=False)
    shown = float(((x.float() @ text.T).argmax(dim=1) == y).double().mean())
    told = {"text accuracy": shown, "column error": plan.column_error}
    return told | {name: found[name].value for name in found if "/" not in name}


def test_streamed_figures_are_those_in_memory(tmp_path):
    report = scale.run_at_scale(tmp_path / "shards", N, D, C, "cpu")
    assert report.found == pytest.approx(in_memory(tmp_path / "shards"), abs=2e-4)
    assert min(report.found["accuracy"], report.found["text accuracy"]) > 1.5 / C
    text = str(report)
    assert text.startswith(f"{N} x {D} images, {C} classes, processes: 1\n") and "\ntogether " in text
    assert [line.split("  ")[0] for line in text.splitlines()[2:8]] == list(report.stages)


def test_no_block_of_the_closed_form_leaves_an_array_behind(tmp_path, monkeypatch):
    """Small ones that stay between large ones that go tear the memory to pieces: 20 GiB for 1.8 million, not 8."""
    alive, blocks = [], scale.Shards.blocks

    def counted(self):
        for part in blocks(self):
            yield part
            alive.append(sum(type(each) is torch.Tensor for each in gc.get_objects()))

    monkeypatch.setattr(scale.Shards, "blocks", counted)
    scale.run_at_scale(tmp_path / "shards", N, D, C, "cpu")
    closed_form = alive[len(alive) // 3 : 2 * len(alive) // 3]  # the second of three passes
    assert len(closed_form) > 10 and len(set(closed_form[1:])) == 1


def test_two_processes_find_the_same(tmp_path):
    def work():
        return scale.run_at_scale(tmp_path / "shards", N, D, C, "cpu")

    ended = in_ranks(tmp_path / "ranks", 2, work)
    assert [end.code for end in ended] == [0, 0], [end.said for end in ended]
    first, second = (end.result for end in ended)
    assert first.processes == 2 and first.found == second.found
    assert first.found == pytest.approx(in_memory(tmp_path / "shards"), abs=2e-4)


def test_ranks_by_counting_are_those_by_sorting():
    """Also with ties, and with a class that has no image."""
    generator = np.random.default_rng(0)
    p = torch.tensor(generator.integers(0, 6, (400, 4)) / 5.0, dtype=torch.float32)
    true = torch.tensor(generator.integers(0, 3, 400))
    expected = tally_once(make_cases(Prediction(p, p, p.argmax(dim=1)), true))
    own = [p[true == c, c].sort().values.unique_consecutive(return_counts=True) for c in range(4)]
    counts = scale._between(p, [level for level, _ in own])
    found = [scale._ranked(part.numpy(), m.numpy()) for part, (_, m) in zip(counts, own, strict=True)]
    np.testing.assert_allclose(np.array(found).T, [expected.auroc[0], expected.auprc[0]], rtol=1e-12)


def test_the_command_prints_a_table_and_finds_its_shards_again(tmp_path, monkeypatch, capsys):
    arguments = ["--images", "500", "--dimensions", "16", "--classes", "4", "--device", "cpu"]
    arguments += ["--folder", str(tmp_path / "s"), "--out", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["kpl", "scale", *arguments])
    cli_main_ends(0)
    out, err = capsys.readouterr()
    assert "transport" in out and "macro_auroc: " in out and f"wrote {tmp_path / 'r.json'}" in err
    kept = json.loads((tmp_path / "r.json").read_text())
    assert (
        kept["images"] == 500 and kept["found"]["accuracy"] > 0.3 and set(kept["stages"]) == set(kept["peak"])
    )
    before = (tmp_path / "s" / "000000000.safetensors").stat().st_mtime_ns
    cli_main_ends(0)
    assert (tmp_path / "s" / "000000000.safetensors").stat().st_mtime_ns == before
    monkeypatch.setattr(sys, "argv", ["kpl", "scale", *arguments, "--classes", "5"])
    cli_main_ends(2)
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith("000000000.safetensors: a shard of another set; name another folder")


def cli_main_ends(code):
    """Run the command line to this exit code."""
    try:
        cli.main()
    except SystemExit as stop:
        assert (stop.code or 0) == code
    else:
        assert code == 0


def test_what_cannot_be_run_is_one_line(tmp_path, monkeypatch):
    for sizes, said in (
        ((10, 16, 20), "images must be"),
        ((50, 1, 5), "dimensions must"),
        ((50, 8, 2), "classes must"),
    ):
        with pytest.raises(InputError, match=said):
            scale.run_at_scale(tmp_path / "s", *sizes, "cpu")
        assert not (tmp_path / "s").exists()
    scale.run_at_scale(tmp_path / "s", 1200, 16, 4, "cpu")
    with pytest.raises(InputError, match=r"s: holds 000001100\.safetensors, which is not of this set"):
        scale.run_at_scale(tmp_path / "s", 600, 16, 4, "cpu")
    monkeypatch.setattr(scale, "TEMPERATURE", 1e-5)  # and most classes nobody's nearest
    with pytest.raises(InputError, match="has no mass at the temperature"):
        scale.run_at_scale(tmp_path / "t", 300, 3, 200, "cpu")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is told by /proc")
def test_a_set_of_1_8_million_will_need_no_more_than_13_gib(tmp_path):
    """By what an image more takes, with the 1,000 classes of the full set."""
    peak = {}
    for n in (100_000, 200_000):
        command = [sys.executable, "-m", "kpl_lib", "scale", "--folder", tmp_path / str(n), "--images", n]
        command += ["--dimensions", 64, "--device", "cpu", "--out", tmp_path / "r.json"]
        subprocess.run([*map(str, command)], cwd=ROOT, check=True, capture_output=True, timeout=600)
        peak[n] = max(json.loads((tmp_path / "r.json").read_text())["peak"].values())
    more = (peak[200_000] - peak[100_000]) / 100_000
    full = peak[200_000] + more * 1_600_000
    print(f"peak at 200,000 images {peak[200_000]:.2f} GiB, at 1,800,000 about {full:.1f} GiB")
    assert full <= 13.2
