"""CuPL: the mean of all descriptions of a class is its text proxy."""

from dataclasses import dataclass

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.clip import Clip


@register("cupl")
@dataclass(eq=False)
class CuPL(Clip):
    """Zero-shot CLIP with all descriptions in place of the class name.

    `T_c = normalize(mean_m t_cm)`, then as CLIP.

    Args:
        text, k: where the text proxies come from; the default is all descriptions.
        temperature: τ, in units of cosines.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)[1:]], torch.eye(2))
        >>> CuPL().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Pratt et al. 2023, arXiv 2209.03320. It has no licence; this is written from the formula. Each image is
    classified alone, new ones too; order and number do not matter.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-zero-shot
    """

    text: str = "all"
