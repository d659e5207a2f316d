"""What encoding a large set costs in hours, gigabytes and money: an estimate from stated assumptions, not measured.

Training-free classification has one cost that counts, one pass of the image encoder over all images. The solvers come
behind it by orders of magnitude. Every figure here follows from the assumptions of `data/results/scaling_cost.json`;
replace them by rates that you measured.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kpl_lib.common.checks import check_count, check_positive
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

if TYPE_CHECKING:
    import pandas as pd


ORIGIN = "estimate, not measured"
MACS_TO_FLOP = 2  # one multiply-add is two operations


@dataclass(frozen=True)
class Machine:
    """An accelerator as it is rented.

    Args:
        name: what it is called.
        tflops: dense half-precision rate of the data sheet, 10¹² operations a second.
        share: share of it that an image encoder reaches.
        dollars_per_hour: price of one, on demand.
        memory_gb: its memory.

    Chapter: ch-scaling
    """

    name: str
    tflops: float
    share: float
    dollars_per_hour: float
    memory_gb: float


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
        plan_gb: N C 12 bytes: logits in float32 and the plan in float64.
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
    plan_gb: float
    limit: str
    origin: str


def assumptions() -> dict:
    """The assumptions, as they stand in `data/results/scaling_cost.json`: machines, encoders, sets, with source.

    Chapter: ch-scaling
    """
    return json.loads((data_dir() / "results" / "scaling_cost.json").read_text(encoding="utf-8"))


def estimate(
    dataset: str,
    encoder: str,
    machine: str,
    count: int = 1,
    *,
    images_per_second: float | None = None,
    decoded_per_second: float | None = None,
) -> Cost:
    """Hours, gigabytes and money of one pass over a dataset.

        rate = count · share · peak / (2 · MAC)

    with the multiply-accumulate operations MAC of one image; at most what the processors decode.

    Args:
        dataset, encoder, machine: names in `assumptions()`.
        count: machines at once; the slices are independent, so the rate grows with their number.
        images_per_second: a measured rate of one machine; None estimates it.
        decoded_per_second: images a second that the processors of one machine decode; None takes the assumption.

    Returns:
        Cost; `origin` is "estimate, not measured" unless a rate was given.

    Raises:
        InputError: for a name that is not among the assumptions, or a number that is not above 0.

    Example:
        >>> cost = estimate("places365", "ViT-L-14", "T4", images_per_second=100, decoded_per_second=1000)
        >>> round(cost.hours, 2), cost.origin
        (5.01, 'from a rate that was given')

    Chapter: ch-scaling
    """
    known = assumptions()
    data, model = _entry(known, "datasets", dataset), _entry(known, "encoders", encoder)
    facts = _entry(known, "machines", machine)
    device = Machine(
        machine, **{name: facts[name] for name in Machine.__dataclass_fields__ if name != "name"}
    )
    check_count(count, "count")
    given = images_per_second is not None
    rate = (
        images_per_second if given else device.share * device.tflops * 1e3 / (MACS_TO_FLOP * model["gmacs"])
    )
    decoded = facts["decoded_per_second"] if decoded_per_second is None else decoded_per_second
    check_positive(rate, "images_per_second")
    check_positive(decoded, "decoded_per_second")
    total = count * min(rate, decoded)
    hours = data["images"] / total / 3600
    return Cost(
        dataset,
        encoder,
        machine,
        count,
        data["images"],
        total,
        hours,
        hours * count * device.dollars_per_hour,
        data["images"] * model["dimensions"] * 4 / 1e9,
        data["images"] * data["classes"] * 12 / 1e9,
        "encoder" if rate <= decoded else "decoding",
        "from a rate that was given" if given else ORIGIN,
    )


def cost_table(
    datasets: Sequence[str] = ("imagenet-train", "imagenet-val", "places365"),
    encoders: Sequence[str] = ("ViT-B-16", "ViT-L-14", "ViT-L-14-336"),
    machines: Sequence[tuple[str, int]] = (("T4", 1), ("H100", 1), ("H100", 8)),
) -> "pd.DataFrame":
    """One row for each dataset, encoder and set of machines.

    Args:
        datasets: names in `assumptions()`.
        encoders: names in `assumptions()`.
        machines: name and number of each set.

    Returns:
        The table; column `origin` says how far to trust it.

    Example:
        >>> set(cost_table()["origin"])
        {'estimate, not measured'}

    Chapter: ch-scaling
    """
    from kpl_lib.common.extras import pandas as pd

    rows = [estimate(d, e, m, n) for d in datasets for e in encoders for m, n in machines]
    return pd.DataFrame([asdict(row) for row in rows])


def _entry(known: dict, kind: str, name: str) -> dict:
    """One assumption by name."""
    if name not in known[kind]:
        raise InputError(f"{kind[:-1]} {name!r} has no assumptions; known: {', '.join(known[kind])}")
    return known[kind][name]
