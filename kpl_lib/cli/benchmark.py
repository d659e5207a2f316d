"""`kpl benchmark ...`: run a grid and report it. Heavy imports wait until a command needs them."""

import os
import sys
from typing import Annotated

import typer

from kpl_lib import RECOMMENDED
from kpl_lib.cli.own import Settings, parse_settings

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
) -> None:
    """Do the runs that the results file does not hold yet; exit code 2 if some fail."""
    from kpl_lib.benchmark.grid import Grid
    from kpl_lib.benchmark.runner import run

    names, sets = ([x.strip() for x in text.split(",")] if text else None for text in (classifiers, datasets))
    wanted = Grid.load(grid).narrow(classifiers=names, datasets=sets, n=n, resamples=resamples)
    jobs = min(2, os.cpu_count() or 1) if jobs is None else jobs
    done = run(wanted, out, jobs=jobs, device=device)
    print(done, file=sys.stderr)
    if done.failed:
        raise typer.Exit(2)


@app.command("report")
def report_rows(
    file: Annotated[str, typer.Argument(help="What `kpl benchmark run` wrote.")],
    out: Annotated[str | None, typer.Option(help="Folder for the tables: Markdown, CSV, LaTeX.")] = None,
) -> None:
    """Print the overview; write it and a table for each dataset."""
    from kpl_lib.benchmark.tables import NOTE, report, to_markdown

    made = report(file, out)
    print(f"{NOTE}\n\n{to_markdown(made.tables['overview'])}")
    if made.files:
        print(f"kpl: wrote {len(made.files)} files to {out}", file=sys.stderr)


@app.command("dev")
def run_dev_world(
    classifiers: Annotated[str, typer.Option(help="Names, separated by commas.")] = RECOMMENDED,
    settings: Settings = None,
    encoders: Annotated[
        str, typer.Option(help="Phantom encoders, by commas; '' for none.")
    ] = "phantom,phantom-1,phantom-2",
    real: Annotated[
        str | None, typer.Option(help="Folder of real features (.npz), whose labels may be looked at.")
    ] = None,
    n: Annotated[int, typer.Option(help="Images of each synthetic set.")] = 2000,
    out: Annotated[str | None, typer.Option(help="Table of all cases to write (.csv).")] = None,
) -> None:
    """Run methods over the sets that choices are made on; print means, losses and warnings by family."""
    from itertools import chain

    import pandas as pd
    from tqdm import tqdm

    from kpl_lib.benchmark.dev_world import measure, phantom_cases, real_cases, summary
    from kpl_lib.benchmark.tables import to_markdown
    from kpl_lib.classifiers import create
    from kpl_lib.common.files import atomic_path, check_writable

    if out is not None:
        check_writable(out)
    parameters = parse_settings(settings)
    names = [name.strip() for name in classifiers.split(",")]
    for name in names:
        create(name, **parameters)  # an unknown one is refused before the work
    cases = chain(real_cases(real) if real else (), phantom_cases(encoders.split(",") if encoders else (), n))
    bar = tqdm(cases, desc="dev world", unit="case")
    rows = pd.DataFrame([measure(name, case, **parameters) for case in bar for name in names])
    print(to_markdown(summary(rows).round(2)))
    if out is not None:
        with atomic_path(out) as path:
            rows.round(4).to_csv(path, index=False)
