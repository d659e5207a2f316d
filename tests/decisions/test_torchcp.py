"""Thresholds and sets beside torchcp 1.2.1, as `remake_torchcp.py` recorded them."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from guesses import guess

sys.path.insert(0, str(Path(__file__).parent))
from remake_torchcp import RECORD, record, settings

from kpl_lib.decisions import calibrate
from kpl_lib.prediction import Prediction

ROWS = json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_holds_each_setting():
    held = [{key: row[key] for key in ("case", "score", "options", "alpha", "by_class")} for row in ROWS]
    assert held == list(settings())


@pytest.mark.parametrize("row", ROWS)
def test_thresholds_and_sets_are_those_of_torchcp(row):
    prediction, true = guess(**row["case"])
    half = len(true) // 2
    given = np.where(np.arange(len(true)) < half, true, -1)
    found = calibrate(
        prediction,
        given,
        coverage=1 - row["alpha"],
        score=row["score"],
        by_class=row["by_class"],
        **row["options"],
    )
    wanted = torch.tensor(row["thresholds"], dtype=torch.float64)
    torch.testing.assert_close(found.thresholds, wanted, atol=1e-6, rtol=0)
    p = prediction.probabilities[half:]
    sets = found.sets(Prediction(p, p, p.argmax(1), prediction.class_names)).sets
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["sets"]), dtype=np.uint8), count=p.numel())
    other = sets != torch.from_numpy(bits.astype(bool)).reshape(p.shape)
    # The least likely class of each image has the same score, 1 and the penalty: whether it lies below a threshold
    # that it has set itself is rounding at torchcp, and a tie here. No other class may differ.
    assert not bool((other & (p > p.amin(dim=1, keepdim=True))).any())
    tied = row["score"] != "lac" and (wanted - last_score(row, p.shape[1])).abs() < 1e-6
    assert not bool((other & ~torch.as_tensor(tied)).any())


def last_score(row: dict, classes: int) -> float:
    """What APS or RAPS gives the least likely of the classes."""
    options = row["options"] or {"penalty": 0, "rank": 0}
    return 1 + options["penalty"] * max(0, classes - options["rank"])


@pytest.mark.skipif(importlib.util.find_spec("torchcp") is None, reason="see remake_torchcp.py")
def test_the_record_is_still_what_torchcp_says():
    assert record() == ROWS
