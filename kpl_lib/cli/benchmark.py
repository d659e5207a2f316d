"""`kpl benchmark ...`: run a grid and report it. Heavy imports wait until a command needs them."""

import os
import sys
from typing import Annotated

import typer

from kpl_lib.cli.own import Workers

app = typer.Typer(help="Compare classifiers on datasets; resumable.", no_args_is_help=True)


@app.callback()
def benchmark() -> None:
    """Compare classifiers on datasets; resumable."""


@app.command("run")
def run_grid(
    out: Annotated[str, typer.Option(help="Results file (.jsonl); rows that are there already are kept.")],
    grid: Annotated[
        str, typer.Option(help="Name of a grid that ships ('phantom'), or a .json file.")
    ] = "phantom",
    classifiers: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Only these: names, starts or patterns, by commas.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Images of each dataset, where they are drawn.")] = None,
    resamples: Annotated[int | None, typer.Option(help="Bootstrap resamples of the intervals.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; one a core, 2 at most, unless said.")] = None,
    device: Annotated[str | None, typer.Option(help="'cpu' or 'cuda'; chosen unless said.")] = None,
    workers: Workers = None,
) -> None:
    """Do the runs that the results file does not hold yet; exit code 2 if some fail."""
    from kpl_lib.benchmark.grid import Grid
    from kpl_lib.benchmark.runner import run

    names, sets = ([x.strip() for x in text.split(",")] if text else None for text in (classifiers, datasets))
    wanted = Grid.load(grid).narrow(classifiers=names, datasets=sets, n=n, resamples=resamples)
    jobs = min(2, os.cpu_count() or 1) if jobs is None else jobs
    done = run(wanted, out, jobs=jobs, device=device, workers=workers)
    print(done, file=sys.stderr)
    if done.failed:
        raise typer.Exit(2)


@app.command("report")
def report_rows(
    file: Annotated[str, typer.Argument(help="What `kpl benchmark run` wrote.")],
    out: Annotated[str | None, typer.Option(help="Folder for the tables: Markdown, CSV, LaTeX.")] = None,
) -> None:
    """Print the overview, real rows beside published figures; write it and a table for each dataset."""
    from kpl_lib.benchmark.tables import NOTE, report

    made = report(file, out)
    print(f"{NOTE}\n\n{made.summary()}")
    if made.files:
        print(f"kpl: wrote {len(made.files)} files to {out}", file=sys.stderr)


@app.command("check")
def check_rows(
    folder: Annotated[str, typer.Argument(help="What `kpl reproduce` wrote.")],
) -> None:
    """Check that a folder of rows can be shown to others; a line a problem, and exit code 2 if there are some."""
    from kpl_lib.benchmark.run_folder import check_folder

    problems = check_folder(folder)
    print("\n".join(problems) or f"{folder}: sound", file=sys.stderr if problems else None)
    if problems:
        raise typer.Exit(2)
