"""Small synthetic features for the tests of the method core."""

import torch
import torch.nn.functional as F

from kpl_lib.features import TextBank


def world(n=90, d=24, c=3, m=6, seed=0, cone=1.0, dtype=torch.float64):
    """Images `[N, D]` and texts `[C, M, D]` in two cones, noisy around shared class means, and labels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    means, labels = draw(c, d), torch.arange(n) % c
    images = F.normalize(cone * draw(d) + 0.6 * means[labels] + 0.8 * draw(n, d), dim=1)
    texts = cone * draw(d) + 0.6 * means[:, None] + 0.9 * draw(c, m, d)
    texts = F.normalize(texts, dim=2)
    return images.to(dtype), texts.to(dtype), labels


def bank_of(texts, counts=None):
    """A TextBank of `texts`, or of the first `counts[c]` of each class; the names are the first texts."""
    rows = [t if counts is None else t[: counts[i]] for i, t in enumerate(texts)]
    return TextBank(tuple(f"class {i}" for i in range(len(texts))), rows, texts[:, 0])


class DoubleBank:
    """The same without the bank's float32: what the float64 tests need."""

    def __init__(self, texts, counts=None):
        self.class_names = tuple(f"class {i}" for i in range(len(texts)))
        self.descriptions = [t if counts is None else t[: counts[i]] for i, t in enumerate(texts)]
        self.names, self.views, self.temperature = torch.stack([t[0] for t in texts]), (), 0.01

    def to(self, device):
        return self


def cosine_of_deviations(a, b):
    """Smallest cosine, over classes, of the deviations of two sets of proxies from their means."""
    a, b = (F.normalize(x.double() - x.double().mean(dim=0), dim=1) for x in (a, b))
    return float((a * b).sum(dim=1).min())
