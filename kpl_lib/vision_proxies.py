"""Vision proxies: gradient steps from pseudo labels, and their closed form, a ridge regression."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.text_proxies import mean_image
from kpl_lib.validation import (
    check_count,
    check_images,
    check_plan,
    check_positive,
    check_proxies,
    check_same_width,
    check_unit_rows,
    working_dtype,
)


@dataclass(frozen=True)
class VisionProxies:
    weights: Tensor
    steps: int
    converged: bool
    temperature: float
    axis: Tensor | None = None
    offset: Tensor | None = None

    def scores(self, images: Tensor) -> Tensor:
        """Scores `[N, C]`, larger is likelier; also for images that were not fitted."""
        check_unit_rows(images, "images")
        check_same_width(self.weights, images, "weights")
        x = images.to(working_dtype(images, self.weights))
        if self.axis is not None:
            x = x - (x @ self.axis)[:, None] * self.axis
        scores = x @ self.weights.T
        return scores if self.offset is None else scores + self.offset

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `[N, C]`."""
        return (self.scores(images) / self.temperature).softmax(dim=1)


def harden(pseudo_labels: Tensor, confidence: float) -> Tensor:
    """Copy of the pseudo labels with rows whose maximum is above `confidence` made one-hot."""
    best, index = pseudo_labels.max(dim=1, keepdim=True)
    one_hot = torch.zeros_like(pseudo_labels).scatter_(1, index, 1.0)
    return torch.where(best > confidence, one_hot, pseudo_labels)


def fit_proxies(
    images: Tensor,
    initial: Tensor,
    pseudo_labels: Tensor,
    *,
    temperature: float = 0.04,
    learning_rate: float = 10.0,
    steps: int = 2000,
    confidence: float = 0.6,
) -> VisionProxies:
    """Descend the cross-entropy on the unit sphere."""
    check_images(images)
    check_proxies(initial, images)
    check_plan(pseudo_labels, images)
    check_positive(temperature, "temperature")
    check_positive(learning_rate, "learning_rate")
    check_count(steps, "steps", 0)
    dtype = working_dtype(images, initial, pseudo_labels)
    x, w, y = images.to(dtype), initial.to(dtype).T.contiguous(), pseudo_labels.to(dtype)
    target = x.T @ harden(y, confidence)
    last = float("inf")
    for _ in range(steps):
        gradient = x.T @ F.softmax(x @ w / temperature, dim=1) - target
        norm = float(gradient.norm())
        if norm > last:
            learning_rate /= 2
        last = norm
        w = F.normalize(w - learning_rate / (len(x) * temperature) * gradient, dim=0)
    return VisionProxies(w.T.contiguous(), steps, True, temperature)


def ridge_proxies(
    images: Tensor, pseudo_labels: Tensor, *, temperature: float = 0.04, intercept: bool = False
) -> VisionProxies:
    """Closed form of the released proxies."""
    check_images(images)
    check_plan(pseudo_labels, images)
    check_positive(temperature, "temperature")
    dtype = working_dtype(images, pseudo_labels)
    x, y = images.double(), pseudo_labels.double()
    n, c = y.shape
    u = mean_image(images)
    length = u.norm()
    axis = u / length
    x = x - (x @ axis)[:, None] * axis
    b = y.T @ x * (1 / y.sum(0)[:, None] if intercept else c)
    a = x.T @ x / n + temperature * length * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    offset = None
    w = torch.linalg.solve(a, b.T).T
    if intercept:
        offset = (-(w * b).sum(1) / 2).to(dtype)
    else:
        w = w - w.mean(0)
    return VisionProxies(w.to(dtype), 1, True, 1.0, axis.to(dtype), offset)
