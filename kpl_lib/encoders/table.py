"""The table of encoders: what is known about the models that load by name, and where each fact comes from."""

import sys
from functools import cache
from types import SimpleNamespace

from kpl_lib.common.errors import InputError, closest
from kpl_lib.common.files import data_dir, read_json


class EncoderRow(SimpleNamespace):
    """One model: a row of `data/encoders/table.json`.

    * `name`: what `load_encoder` takes.
    * `field`: what it was made for.
    * `image_size`: pixels a side that it sees.
    * `context_length`: the most tokens of a text that it reads.
    * `width`: numbers in a feature.
    * `tokenizer`: `CLIP`, or the name of a tokenizer of `transformers`.
    * `activation`: `GELU` or `QuickGELU`.
    * `resize`: `shortest` crops the middle, `squash` does not keep the proportions.
    * `interpolation`: how pixels are resized.
    * `mean`: of the pixels, by colour; it is taken off.
    * `std`: of the pixels, by colour; they are divided by it.
    * `loss`: `softmax` or `sigmoid`.
    * `logit_scale`: factor on cosines, where it was published; the true one stands in the weights.
    * `logit_scale_known`: what else is known about it.
    * `weights`: where they come from on the hub.
    * `licence`: of the weights, as its source says.
    * `use`: what its makers intend it for, where that was read.
    * `training_data`: as its source says.
    * `note`: what else a user should know.
    * `sources`: fact -> number in `sources()`.

    Chapter: ch-real-data
    """


def _read() -> dict:
    return read_json(data_dir() / "encoders" / "table.json")


def encoder_table() -> tuple[EncoderRow, ...]:
    """The models that are known to load through open_clip; others may load too.

    Example:
        >>> [row.context_length for row in encoder_table() if row.name == "ViT-L-14-quickgelu/openai"]
        [77]

    Chapter: ch-real-data
    """
    return tuple(EncoderRow(**row) for row in _read()["encoders"])


def sources() -> dict[str, str]:
    """Where facts come from: short name -> reference.

    Example:
        >>> sources()["siglip-paper"].split(",")[0]
        'Zhai et al. 2023'

    Chapter: ch-real-data
    """
    return _read()["sources"]


def encoder_row(name: str) -> EncoderRow:
    """One model of the table.

    Args:
        name: what `load_encoder` takes.

    Returns:
        Its row.

    Raises:
        InputError: if it is not in the table; the nearest names are said.

    Example:
        >>> encoder_row("ViT-B-16-SigLIP2/webli").loss
        'sigmoid'

    Chapter: ch-real-data
    """
    rows = {row.name: row for row in encoder_table()}
    if name not in rows:
        near = closest(name, rows, 3, 0.3)
        raise InputError(f"{name!r} is not in the table of encoders; nearest: {', '.join(near) or 'none'}")
    return rows[name]


@cache
def tell_terms(name: str) -> None:
    """Say once a process on the error stream under which terms the weights of this name stand, where that is known."""
    for row in encoder_table():
        if row.name.lower() == name.lower():
            use = f"; intended use: {row.use}" if row.use else ""
            print(f"{row.name}: licence of the weights: {row.licence}{use}", file=sys.stderr)
