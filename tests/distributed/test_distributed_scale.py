"""A set of the size of Places365: features from disk in float16, plan, proxies, metrics; memory and time measured.

By hand, at full size: `python tests/test_distributed_scale.py 1800000` (about 10 GB of disk, 16 GB of memory).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

FULL, LIMIT = 1_800_000, 16.0  # images, and GiB
LIBRARIES = 0.6  # GiB of Python, torch and scikit-learn alone; all the rest is taken to grow with N

RUN = """
import json, sys, time
from pathlib import Path
import torch
import torch.nn.functional as F
from kpl_lib.classifiers import Prediction
from kpl_lib.metrics import evaluate
from kpl_lib.common.tensors import read_tensors, write_tensors
from kpl_lib.transport import sinkhorn
from kpl_lib.vision_proxies import ridge_proxies

def peak():  # in GiB; of this program alone: ru_maxrss starts at what the process that started it had
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20

def told(stage):
    print(json.dumps([stage, round(time.perf_counter() - start, 2), round(peak(), 3)]), flush=True)

n, folder, d, c, block, start = int(sys.argv[1]), Path(sys.argv[2]), 768, 365, 10_000, time.perf_counter()
generator = torch.Generator().manual_seed(0)
centres = torch.randn(c, d, generator=generator)
text = F.normalize(centres + 2 * torch.randn(c, d, generator=generator) + 1, dim=1)
truth = torch.arange(n) % c
for first in range(0, n, 10 * block):  # shards, as a cache keeps them
    shard = torch.empty(min(10 * block, n - first), d, dtype=torch.float16)
    for part, rows in zip(shard.split(block), truth[first:].split(block)):
        noise = torch.randn(len(part), d, generator=generator)
        part.copy_(F.normalize(centres[rows] + 5 * noise + 3, dim=1))
    write_tensors(folder / f"{first:09d}.safetensors", "FeatureShard", {"images": shard}, {})
del shard, part, noise
told("shards on disk")

images = torch.empty(n, d, dtype=torch.float16)
logits = torch.empty(n, c)
for first in range(0, n, 10 * block):
    shard = read_tensors(folder / f"{first:09d}.safetensors", "FeatureShard", ("images",))[0]["images"]
    images[first : first + len(shard)] = shard
    for x, row in zip(shard.split(block), range(first, n, block)):
        logits[row : row + len(x)] = x.float() @ text.T
del shard, x
told("features and logits in memory")

plan = sinkhorn(logits, temperature=0.02, iterations=20)
before = float((logits.argmax(dim=1) == truth).double().mean())
del logits
told("transport, 20 sweeps")

proxies = ridge_proxies(images, plan.pseudo_labels.div_(n), intercept=True)
column_error = plan.column_error
del plan
told("closed form")

scores = torch.empty(n, c)
for x, row in zip(images.split(block), range(0, n, block)):
    scores[row : row + len(x)] = proxies.scores(x)
probabilities = scores.div_(proxies.temperature)
for part in probabilities.split(block):
    part.copy_(part.softmax(dim=1))
prediction = Prediction(probabilities, probabilities, probabilities.argmax(dim=1))
del images, x
told("predictions")

found = evaluate(prediction, truth, intervals=False)
told("metrics")
print(json.dumps({"text": before, "column_error": column_error, "accuracy": found["accuracy"].value,
                  "macro_auroc": found["macro_auroc"].value}))
"""


def run(n: int, seconds: float) -> tuple[dict[str, tuple[float, float]], dict]:
    """Seconds and peak memory in GiB when each stage ended, and the figures of the last."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(n), folder],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    *stages, figures = map(json.loads, done.stdout.splitlines())
    return {stage: (took, peak) for stage, took, peak in stages}, figures


@pytest.mark.slow
def test_a_tenth_of_places365_from_disk_to_metrics():
    stages, figures = run(FULL // 10, 900)
    print(stages, figures)
    for stage, (_, peak) in stages.items():
        assert 10 * (peak - LIBRARIES) + LIBRARIES <= LIMIT, stage
    assert figures["accuracy"] >= figures["text"] + 0.02 and figures["column_error"] < 0.1


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), 7200), indent=1))
