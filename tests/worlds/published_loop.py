"""The published step rule, as plainly as it can be written: the library is held against it."""

import torch
import torch.nn.functional as F


def published_loop(images, weights, plan, learning_rate=10.0, steps=2000, temperature=0.04, confidence=0.6):
    """Weights `[C, D]` after all steps; images `[N, D]`, weights `[C, D]`, plan `[N, C]` in one dtype."""
    best, index = plan.max(dim=1)
    plan = torch.where(best[:, None] > confidence, F.one_hot(index, plan.shape[1]).to(plan), plan)
    w, last, target = weights.T.contiguous(), float("inf"), images.T @ plan
    for _ in range(steps):
        gradient = images.T @ F.softmax(images @ w / temperature, dim=1) - target
        norm = gradient.norm()
        if norm > last:
            learning_rate /= 2
        last = norm
        w = F.normalize(w - learning_rate / (len(images) * temperature) * gradient, dim=0)
    return w.T.contiguous()
