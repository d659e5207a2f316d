"""The text proxies that a method starts from: class names, descriptions, or texts that should not help."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.common.checks import check_classes, check_prior, check_proxies, check_same_space, working_dtype
from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank, one_by_one, side_by_side
from kpl_lib.text_proxies import text_proxies

STARTS = ("names", "all", "top-k", "random", "swapped")
CONTROLS = STARTS[3:]


def start(bank: TextBank, images: Tensor, text: str, k: int) -> tuple[Tensor, tuple]:
    """Choose the text proxies of a method.

    `names`: T_c is the embedded class name. `all`: T_c = normalize(mean_m t_cm). `top-k`: the same over the k
    descriptions with the largest mean cosine to the images. `random`, `swapped`: the same over random words,
    or over the descriptions of another class.

    Args:
        bank: text features of C classes.
        images: unit rows `[N, D]`; only `top-k` reads more than their shape.
        text: `names`, `all`, `top-k`, `random` or `swapped`.
        k: descriptions kept per class with `top-k`.

    Returns:
        Unit text proxies `[C, D]`, and for each class the descriptions (numbers) that made it, best first.

    Raises:
        InputError: if images and bank do not fit together, or the bank holds no such texts.

    Example:
        >>> bank = TextBank(("cat", "dog"), [torch.eye(2)[:1], torch.eye(2)], torch.eye(2))
        >>> start(bank, torch.eye(2), "all", k=8)[1]
        ((0,), (0, 1))

    Chapter: ch-text-proxies
    """
    bank = bank.to(images.device)
    if text == "top-k":
        found = text_proxies(bank, images, k=k)
        return found.weights, found.chosen
    if text == "names":
        check_classes(len(bank), "text proxies")
        check_same_space(bank.names, images, "text proxies")  # their rows were checked when the bank was made
        return bank.names, _none(bank)
    rows, chosen = _described(bank, text)
    weights = torch.stack([F.normalize(group.mean(dim=0), dim=0) for group in rows])
    return check_proxies(weights, images, "text proxies"), chosen


def start_rows(bank: TextBank, images: Tensor, text: str, k: int) -> tuple[tuple[Tensor, ...], tuple]:
    """The texts behind the proxies of `start`: for each class `[m_c, D]`, and their numbers.

    Args:
        bank: text features of C classes.
        images: unit rows `[N, D]`; only `top-k` reads more than their shape.
        text: as for `start`.
        k: as for `start`.

    Returns:
        For each class its texts `[m_c, D]`, and for each class their numbers.

    Chapter: ch-failures
    """
    bank = bank.to(images.device)
    check_same_space(bank.names, images, "text proxies")
    if text == "names":
        return tuple(bank.names[:, None]), _none(bank)
    if text != "top-k":
        return _described(bank, text)
    if (
        len(bank.views) > 1
    ):  # each encoder has its own nearest texts; its first stands beside the first of the others
        parts = [start_rows(own, x, text, k) for x, own in one_by_one(images, bank)]
        groups = zip(*(rows for rows, _ in parts), strict=True)
        chosen = text_proxies(bank, images, k=k).chosen
        return tuple(side_by_side(rows, bank.factors) for rows in groups), chosen
    chosen = text_proxies(bank, images, k=k).chosen
    return tuple(rows[kept] for rows, kept in zip(bank.descriptions, chosen, strict=True)), chosen


def _described(bank: TextBank, text: str) -> tuple[tuple[Tensor, ...], tuple]:
    """All descriptions with their numbers, or the texts of a control, which are none of them."""
    if text == "all":
        return tuple(bank.descriptions), tuple(tuple(range(count)) for count in bank.counts)
    if text not in bank.controls:
        raise InputError(
            f"text={text!r}: the bank holds no such texts; encode them with "
            "kpl_lib.knowledge.controls.with_controls(bank, knowledge_base, encoder.encode_texts)"
        )
    return tuple(bank.controls[text]), _none(bank)


def _none(bank: TextBank) -> tuple:
    return tuple(() for _ in bank.class_names)


def temperature_of(bank: TextBank, given: float | None) -> float:
    """τ_t of a method: as it was given, or that of the encoder that made the texts."""
    return bank.temperature if given is None else given


def text_logits(
    images: Tensor, weights: Tensor, temperature: float, prior: Tensor | Sequence[float] | None
) -> Tensor:
    """`X Tᵀ / τ + log(C q)`, float64 `[N, C]`: the logits of zero-shot CLIP, for methods that go on from them."""
    dtype = working_dtype(images, weights)
    cosines = (images.to(dtype) @ weights.to(dtype).T).double()
    return cosines / temperature + log_shares(prior, len(weights)).to(cosines)


def log_shares(prior: Tensor | Sequence[float] | None, classes: int) -> Tensor:
    """`log(C q)`, float64 `[C]` on the CPU; zeros for a uniform prior."""
    return (classes * check_prior(prior, classes)).log()


def cosines(images: Tensor, weights: Tensor) -> Tensor:
    """`X Tᵀ`, `[N, C]`, at least in float32."""
    dtype = working_dtype(images, weights)
    return images.to(dtype) @ weights.to(dtype).T
