"""Random predictions with some skill."""

import numpy as np
import torch

from kpl_lib.prediction import Prediction


def guess(
    count: int, classes: int, seed: int, skill: float = 1.0, steps: int = 0
) -> tuple[Prediction, np.ndarray]:
    """Random predictions with some skill; `steps` rounds probabilities, which makes ties."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    logits = rng.normal(size=(count, classes)) + skill * np.eye(classes)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = np.round(p * steps) / steps if steps else p
    p = torch.from_numpy(p)
    return Prediction(p, p, p.argmax(dim=1), tuple(f"c{i}" for i in range(classes))), true
