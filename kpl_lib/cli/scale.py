"""`kpl scale`: the method on a made-up set of any size, and where the time goes. Heavy imports wait."""

import json
from dataclasses import asdict

from kpl_lib.cli.own import Device, option, say
from kpl_lib.common.files import atomic_path, check_writable


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
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
        say(f"wrote {out}")
