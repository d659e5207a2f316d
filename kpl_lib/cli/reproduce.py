"""`kpl reproduce`: real sets and real encoders, from fetching to the table. Heavy imports wait."""

import os
import sys
from typing import Annotated

import typer

from kpl_lib.cli.own import Device, Workers


def reproduce_sets(
    out: Annotated[str, typer.Argument(help="Folder of rows; what is there already is kept.")],
    sets: Annotated[
        str | None, typer.Option(help="Only these, by commas; those of the paper and MedMNIST unless said.")
    ] = None,
    encoders: Annotated[
        str | None, typer.Option(help="Only these, by commas; the paper's, BiomedCLIP and PLIP unless said.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder of image sets; KPL_DATA or ~/.cache/kpl/data unless said.")
    ] = None,
    archives: Annotated[
        str | None, typer.Option(help="Folder of archives that you downloaded, under their original names.")
    ] = None,
    device: Device = None,
    workers: Workers = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost; stop.")] = False,
) -> None:
    """Fetch public sets, encode them, run the paper's rows and ours, and compare; exit code 2 if some fail."""
    from kpl_lib.benchmark.plan import plan
    from kpl_lib.benchmark.reproduce import reproduce

    if data is not None:
        os.environ["KPL_DATA"] = data  # for every reader of sets
    names = [[x.strip() for x in text.split(",")] if text else None for text in (sets, encoders)]
    what = plan(out, *names, archives=archives, device=device, workers=workers)
    print(what, file=None if dry_run else sys.stderr)
    if dry_run:
        return
    done = reproduce(what)
    print(done, file=sys.stderr)
    if done.failed:
        raise typer.Exit(2)
