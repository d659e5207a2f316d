"""A small world that every method can be run on."""

import torch
import torch.nn.functional as F

from kpl_lib.features import TextBank

N, D, C = 40, 8, 3


def make_world(counts, noise=0.5, seed=3, d=D):
    """Images of `counts` per class, a bank with 4 texts a class and with controls, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    centres = 1.5 * torch.eye(len(counts), d)
    images = centres[labels] + noise * torch.randn(len(labels), d, generator=generator) + 0.4
    texts = F.normalize(
        centres[:, None] + 0.7 * torch.randn(len(counts), 4, d, generator=generator) - 0.2, dim=2
    )
    names = tuple("abcdefgh"[: len(counts)])
    noise_texts = F.normalize(centres[:, None] + torch.randn(5, d, generator=generator), dim=2)
    controls = {"random": list(noise_texts), "swapped": list(texts.roll(1, 0))}
    return F.normalize(images, dim=1), TextBank(names, list(texts), texts[:, 0], controls=controls), labels
