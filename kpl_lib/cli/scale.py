"""`kpl scale`: the method on a made-up set of any size, and where the time goes. Heavy imports wait."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from kpl_lib.cli.own import Device, say
from kpl_lib.common.files import atomic_path, check_writable


def scale(
    folder: Annotated[
        str, typer.Option(help="Where the shards are, or will be: 2 N D bytes, 2.8 GB unless said.")
    ],
    images: Annotated[int, typer.Option(help="Images N.")] = 1_800_000,
    dimensions: Annotated[int, typer.Option(help="Dimensions D.")] = 768,
    classes: Annotated[int, typer.Option(help="Classes C.")] = 1000,
    out: Annotated[str | None, typer.Option(help="The same figures to write (.json).")] = None,
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
