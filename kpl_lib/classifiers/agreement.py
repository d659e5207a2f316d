"""Does the text agree with the class names on these images? A check of the knowledge that needs no labels."""

import torch
from torch import Tensor

from kpl_lib.common.checks import check_images, check_proxies
from kpl_lib.common.errors import InputError


@torch.no_grad()
def text_agreement(images: Tensor, text: Tensor, names: Tensor) -> float:
    """Correlation of the scores of text proxies and of class names.

    `r = ⟨A°, B°⟩ / (‖A°‖ ‖B°‖)` with scores `A = X Tᵀ`, `B = X Nᵀ` less the means of their rows and columns.

    No label is read, so texts that are wrong together are not found. Where every sentence holds the class name, that
    name alone makes them agree: low values say more than high ones.

    Args:
        images: unit rows `[N, D]`, N >= 2.
        text: text proxies, unit rows `[C, D]`.
        names: class names, unit rows `[C, D]`.

    Returns:
        r, from -1 to 1.

    Raises:
        InputError: if the arguments do not fit together.

    >>> text_agreement(torch.eye(2), torch.eye(2).flip(0), torch.eye(2))
    -1.0

    Chapter: ch-failures
    """
    check_images(images)
    if len(text) != len(names):
        raise InputError(f"texts of {len(text)} classes, names of {len(names)}: give one of each for a class")
    a, b = (_centred(images.double() @ check_proxies(t, images, "text").double().T) for t in (text, names))
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300))


def _centred(scores: Tensor) -> Tensor:
    scores = scores - scores.mean(dim=1, keepdim=True)
    return scores - scores.mean(dim=0)
