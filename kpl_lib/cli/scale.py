"""`kpl scale`: the method on a made-up set of any size, and where the time goes. Heavy imports wait."""

from dataclasses import asdict

from kpl_lib.cli.own import Device, option, say
from kpl_lib.common.files import check_writable, write_json


def scale(
    folder: option("Where the shards are, or will be: 2 N D bytes, 2.8 GB unless said.", str),
    images: option("Images N.", int) = 1_800_000,
    dimensions: option("Dimensions D.", int) = 768,
    classes: option("Classes C.", int) = 1000,
    out: option("The same figures to write (.json).") = None,
    device: Device = None,
) -> None:
    """Go from shards of made-up features to metrics, and print where time and memory go; torchrun shares the work."""
    from kpl_lib.distributed.group import place
    from kpl_lib.distributed.scale import run_at_scale

    if out is not None:
        check_writable(out)
    report = run_at_scale(folder, images, dimensions, classes, device)
    if place().rank > 0:
        return
    print(report)
    if out is not None:
        write_json(out, asdict(report))
        say(f"wrote {out}")
