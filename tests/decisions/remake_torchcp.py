"""Write `torchcp.json`: thresholds and sets of torchcp 1.2.1 on random probabilities, which our own are held against.

torchcp stands under LGPL and GPL and wants a compiled torchsort and torch_geometric, so it is no dependency, not even
of the tests. Its part for classification needs neither:

    pip install --no-deps --target SCRATCH torchcp==1.2.1
    PYTHONPATH=SCRATCH:tests/worlds python tests/decisions/remake_torchcp.py
"""

import importlib.util
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from guesses import guess

RECORD = Path(__file__).with_name("torchcp.json")
CASES = [{"count": 400, "classes": 4, "seed": 0}, {"count": 700, "classes": 9, "seed": 1}]
CASES += [{"count": 120, "classes": 2, "seed": 2}]
SCORES = [("lac", {}), ("aps", {})]
SCORES += [("raps", {"penalty": penalty, "rank": rank}) for penalty, rank in ((0.01, 1), (0.1, 2))]
ALPHAS = (0.05, 0.1, 0.2)


def packed(sets: torch.Tensor) -> str:
    """Sets as hexadecimal bits, row by row."""
    return np.packbits(sets.cpu().numpy().astype(bool)).tobytes().hex()


def settings():
    """Each case, score, level, and whether classes have thresholds of their own."""
    for case in CASES:
        for score, options in SCORES:
            for alpha in ALPHAS:
                for by_class in (False, True):
                    yield {
                        "case": case,
                        "score": score,
                        "options": options,
                        "alpha": alpha,
                        "by_class": by_class,
                    }


def parts():
    """The scores and predictors of torchcp, without the parts that need more than torch."""
    for name in ("torchcp", "torchcp.classification"):  # their own __init__ would import everything
        package = types.ModuleType(name)
        package.__path__ = [
            str(folder) for folder in importlib.util.find_spec(name).submodule_search_locations
        ]
        sys.modules[name] = package
    from torchcp.classification.predictor.class_conditional import ClassConditionalPredictor
    from torchcp.classification.predictor.split import SplitPredictor
    from torchcp.classification.score import APS, LAC, RAPS

    return {"lac": LAC, "aps": APS, "raps": RAPS}, {False: SplitPredictor, True: ClassConditionalPredictor}


def record() -> list[dict]:
    """What torchcp says; the first half of the images calibrates, the second is classified."""
    kinds, predictors = parts()
    rows = []
    for row in settings():
        prediction, true = guess(**row["case"])
        p, y, half = prediction.probabilities, torch.from_numpy(true), len(true) // 2
        given = {} if row["score"] == "lac" else {"randomized": False}
        if row["score"] == "raps":
            given |= {"penalty": row["options"]["penalty"], "kreg": row["options"]["rank"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made = predictors[row["by_class"]](kinds[row["score"]](score_type="identity", **given))
        made.calculate_threshold(p[:half], y[:half], row["alpha"])
        thresholds = torch.as_tensor(made.q_hat).expand(p.shape[1]).tolist()
        rows.append(row | {"thresholds": thresholds, "sets": packed(made.predict_with_logits(p[half:]))})
    return rows


if __name__ == "__main__":
    RECORD.write_text("[\n" + ",\n".join(map(json.dumps, record())) + "\n]\n", encoding="utf-8")
