"""The text proxies that a method starts from: class names, all descriptions, or the nearest k."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.features import TextBank
from kpl_lib.text_proxies import text_proxies
from kpl_lib.validation import check_images, check_proxies


def start(bank: TextBank, images: Tensor, text: str, k: int) -> tuple[Tensor, tuple]:
    """Choose the text proxies of a method.

    `names`: T_c is the embedded class name. `all`: T_c = normalize(mean_m t_cm). `top-k`: the same over the k
    descriptions with the largest mean cosine to the images.

    Args:
        bank: text features of C classes.
        images: unit rows `[N, D]`; only `top-k` reads more than their shape.
        text: `names`, `all` or `top-k`.
        k: descriptions kept per class with `top-k`.

    Returns:
        Unit text proxies `[C, D]`, and for each class the descriptions (numbers) that made it, best first.

    Raises:
        InputError: if images and bank do not fit together.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)], torch.eye(2))
        >>> start(bank, torch.eye(2), "all", k=8)[1]
        ((0,), (0, 1))
    """
    check_images(images, minimum=1)
    bank = bank.to(images.device)
    if text == "top-k":
        found = text_proxies(bank, images, k=k)
        return found.weights, found.chosen
    weights, chosen = bank.names, tuple(() for _ in bank.class_names)
    if text == "all":
        weights = torch.stack([F.normalize(rows.mean(dim=0), dim=0) for rows in bank.descriptions])
        chosen = tuple(tuple(range(count)) for count in bank.counts)
    return check_proxies(weights, images, "text proxies"), chosen
