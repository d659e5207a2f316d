"""WaffleCLIP: random words in place of descriptions, the control for every gain from texts."""

from dataclasses import dataclass

from kpl_lib.classifiers.base import register
from kpl_lib.classifiers.description_vote import DescriptionVote


@register("waffle")
@dataclass(eq=False)
class Waffle(DescriptionVote):
    """Description voting with random words in the sentences of the descriptions.

    `s_ic = (1/R) Σ_r x_i · t_cr`, with R sentences that name the class and are the same nonsense for every class.
    The bank must hold them: `kpl_lib.controls.with_controls(bank, kb, encoder, seeds=3)` encodes as many as
    a class has descriptions, for each seed, and the mean over R is the mean over the seeds.
    Each image is classified alone, new ones too; order and number do not matter.

    Args:
        text, k: which texts vote; the default is the random words.
        temperature: τ, in units of cosines.

    Example:
        >>> import torch
        >>> from kpl_lib.features import TextBank
        >>> rows = tuple(torch.eye(2)[:, None])
        >>> bank = TextBank(("cat", "dog"), rows, torch.eye(2), controls={"random": rows})
        >>> Waffle().fit_predict(torch.eye(2), bank).labels.tolist()
        [0, 1]

    Source: Roth et al. 2023, arXiv 2306.07282 (MIT); the released code averages accuracies over seeds, here the
    scores are averaged.
    Cost: one product `[N, D] x [D, C]`.
    Chapter: ch-benchmark
    """

    text: str = "random"
