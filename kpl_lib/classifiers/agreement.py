"""Does the text agree with itself on these images? A check of the knowledge that needs no labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_images, check_proxies
from kpl_lib.common.errors import InputError

#: Correlations below which the text is doubted. On dev seeds of three encoders names that are right had 0.56 and more,
#: names of which each stands for another class less than 0.2.
LEAST = {"names": 0.3, "halves": 0.0}


@dataclass(frozen=True)
class TextAgreement:
    """Correlations between scores that different texts give the same images.

    Args:
        names: text proxies against class names; nan where both are the same.
        halves: one half of each class's descriptions against the other; nan with fewer than 2 a class.

    Chapter: ch-failures
    """

    names: float
    halves: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against trusting the text, one line each; empty where nothing does."""
        found = []
        if self.names < LEAST["names"]:
            found.append(
                f"the text proxies contradict the class names (correlation {self.names:.2f}): they may point "
                "the wrong way; check that the descriptions stand under the right classes"
            )
        if self.halves < LEAST["halves"]:
            found.append(
                f"the descriptions of a class disagree with each other on these images (correlation "
                f"{self.halves:.2f}): check the knowledge, or use more descriptions"
            )
        return tuple(found)


@torch.no_grad()
def text_agreement(images: Tensor, texts: Sequence[Tensor], names: Tensor) -> TextAgreement:
    """Compare the scores of text proxies, of class names, and of two halves of the texts.

    `r(A, B) = ⟨A°, B°⟩ / (‖A°‖ ‖B°‖)` with scores `A = X T_Aᵀ` less the means of their rows and columns.

    The texts of each class are dealt out in turn into two halves. Right knowledge agrees with the names and
    with itself. No label is read, so texts that are wrong together are not found. Where every sentence holds
    the class name, that name alone makes them agree: low values say more than high ones.

    Args:
        images: unit rows `[N, D]`, N >= 2.
        texts: for each of C classes its unit rows `[M_c, D]`, such as the descriptions that were chosen.
        names: class names, unit rows `[C, D]`.

    Returns:
        TextAgreement.

    Raises:
        InputError: if the arguments do not fit together.

    >>> x, swapped = torch.eye(2), [torch.eye(2)[1:], torch.eye(2)[:1]]
    >>> text_agreement(x, swapped, names=torch.eye(2)).names
    -1.0

    Source: the split-half test of psychometrics, Spearman 1910.
    Chapter: ch-failures
    """
    check_images(images)
    check_proxies(names, images, "names")
    if len(texts) != len(names):
        raise InputError(
            f"texts of {len(texts)} classes, names of {len(names)}: give one of each for a class"
        )
    proxies = _means(texts)
    found = [_correlation(images, check_proxies(proxies, images, "texts"), names)]
    alike = torch.isclose(proxies, F.normalize(names, dim=1), atol=1e-6).all()
    if min(map(len, texts)) >= 2:
        odd, even = (_means([rows[first::2] for rows in texts]) for first in (0, 1))
        found.append(_correlation(images, odd, even))
    same, agreement, *halves = torch.stack([alike.double(), *found]).tolist()  # read once
    return TextAgreement(math.nan if same else agreement, *(halves or [math.nan]))


def _means(texts: Sequence[Tensor]) -> Tensor:
    return F.normalize(torch.stack([rows.mean(dim=0) for rows in texts]), dim=1)


def _correlation(images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    a, b = (_centred(images.double() @ text.double().T) for text in (first, second))
    return (a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-300)


def _centred(scores: Tensor) -> Tensor:
    scores = scores - scores.mean(dim=1, keepdim=True)
    return scores - scores.mean(dim=0)
