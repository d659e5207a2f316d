"""`kpl reproduce`: real sets and real encoders, from fetching to the table. Heavy imports wait."""

import os
import sys

import typer

from kpl_lib.cli.own import Device, Workers, argument, flag, option


def reproduce_sets(
    out: argument("Folder of rows; what is there already is kept."),
    sets: option("Only these, by commas; those of the paper and MedMNIST unless said.") = None,
    encoders: option("Only these, by commas; the paper's, BiomedCLIP and PLIP unless said.") = None,
    data: option("Folder of image sets; KPL_DATA or ~/.cache/kpl/data unless said.") = None,
    archives: option("Folder of archives that you downloaded, under their original names.") = None,
    device: Device = None,
    workers: Workers = None,
    dry_run: flag("--dry-run", "Say what it would do and cost; stop.") = False,
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
