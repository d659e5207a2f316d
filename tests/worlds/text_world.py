"""Images and texts of three classes, as the tests of text evidence need them."""

import torch
import torch.nn.functional as F


def world(seed=0, n=300, c=3, d=24, m=8, noise=0.15):
    """Images around C directions, and m noisy texts for each of them."""
    g = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(d, d, generator=g)).Q
    shared = 2 * axes[c]
    labels = torch.arange(n) % c
    images = F.normalize(shared + axes[labels] + noise * torch.randn(n, d, generator=g), dim=1)
    texts = [
        F.normalize(axes[c + 1] + axes[j] + 0.15 * torch.randn(m, d, generator=g), dim=1) for j in range(c)
    ]
    names = F.normalize(axes[c + 1] + axes[:c] + 0.15 * torch.randn(c, d, generator=g), dim=1)
    return images, texts, names
