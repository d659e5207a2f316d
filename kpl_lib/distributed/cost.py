"""What encoding a large set costs in hours, gigabytes and money: an estimate from stated assumptions, not measured.

Training-free classification has one cost that counts, one pass of the image encoder over all images. The solvers come
behind it by orders of magnitude. Every figure here follows from the assumptions of `data/results/scaling_cost.json`;
replace them by rates that you measured.
"""

import json
from dataclasses import dataclass

from kpl_lib.common.checks import check_count, check_positive
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

ORIGIN = "estimate, not measured"


@dataclass(frozen=True)
class Cost:
    """What one pass over a set takes; `origin` says how far to trust it.

    Args:
        dataset, encoder, machine: names.
        count: machines at once.
        images: N.
        images_per_second: of all machines together.
        hours: N / rate / 3600, of encoding alone.
        dollars: hours times machines times price.
        feature_gb: N D 4 bytes, as `Features.save` keeps them.
        limit: `encoder`, or `decoding` where the processors cannot keep up.
        origin: where the figures come from.

    Chapter: ch-scaling
    """

    dataset: str
    encoder: str
    machine: str
    count: int
    images: int
    images_per_second: float
    hours: float
    dollars: float
    feature_gb: float
    limit: str
    origin: str


def assumptions() -> dict:
    """The assumptions, as they stand in `data/results/scaling_cost.json`: machines, encoders, sets, with source.

    Chapter: ch-scaling
    """
    return json.loads((data_dir() / "results" / "scaling_cost.json").read_text(encoding="utf-8"))


def estimate(
    dataset: str, encoder: str, machine: str, count: int = 1, *, images_per_second: float | None = None
) -> Cost:
    """Hours, gigabytes and money of one pass over a dataset.

        rate = count · share · peak / (2 · MAC)

    with the multiply-accumulate operations MAC of one image; at most what the processors decode.

    Args:
        dataset, encoder, machine: names in `assumptions()`.
        count: machines at once; the slices are independent, so the rate grows with their number.
        images_per_second: a measured rate of one machine; None estimates it.

    Returns:
        Cost; `origin` is "estimate, not measured" unless a rate was given.

    Raises:
        InputError: for a name that is not among the assumptions, or a number that is not above 0.

    Example:
        >>> cost = estimate("places365", "ViT-L-14", "T4", images_per_second=100)
        >>> round(cost.hours, 2), cost.origin
        (5.01, 'from a rate that was given')

    Chapter: ch-scaling
    """
    known, found = assumptions(), []
    for kind, name in (("datasets", dataset), ("encoders", encoder), ("machines", machine)):
        if name not in known[kind]:
            raise InputError(f"{kind[:-1]} {name!r} has no assumptions; known: {', '.join(known[kind])}")
        found.append(known[kind][name])
    data, model, box = found
    rate, origin = images_per_second, "from a rate that was given"
    if rate is None:
        rate, origin = box["share"] * box["tflops"] * 1e3 / (2 * model["gmacs"]), ORIGIN
    decoded = box["decoded_per_second"]
    check_count(count, "count")
    check_positive(rate, "images_per_second")
    n, total = data["images"], count * min(rate, decoded)
    hours = n / total / 3600
    dollars = hours * count * box["dollars_per_hour"]
    feature_gb = n * model["dimensions"] * 4 / 1e9
    limit = "encoder" if rate <= decoded else "decoding"
    return Cost(dataset, encoder, machine, count, n, total, hours, dollars, feature_gb, limit, origin)
