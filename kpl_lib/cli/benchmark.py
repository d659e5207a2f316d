"""`kpl benchmark ...`: run a grid and report it. Heavy imports wait until a command needs them."""

import os
import sys

import typer

from kpl_lib.cli.own import Workers, argument, option

app = typer.Typer(help="Compare classifiers on datasets; resumable.", no_args_is_help=True)


@app.command("run")
def run_grid(
    out: option("Results file (.jsonl); rows that are there already are kept.", str),
    grid: option("Name of a grid that ships ('phantom'), or a .json file.", str) = "phantom",
    classifiers: option("Only these, separated by commas.") = None,
    datasets: option("Only these: names, starts or patterns, by commas.") = None,
    n: option("Images of each dataset, where they are drawn.", int | None) = None,
    resamples: option("Bootstrap resamples of the intervals.", int | None) = None,
    jobs: option("Processes; one a core, 2 at most, unless said.", int | None) = None,
    device: option("'cpu' or 'cuda'; chosen unless said.") = None,
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
    file: argument("What `kpl benchmark run` wrote."),
    out: option("Folder for the tables: Markdown, CSV, LaTeX.") = None,
) -> None:
    """Print the overview, real rows beside published figures; write it and a table for each dataset."""
    from kpl_lib.benchmark.tables import NOTE, report

    made = report(file, out)
    print(f"{NOTE}\n\n{made.summary()}")
    if made.files:
        print(f"kpl: wrote {len(made.files)} files to {out}", file=sys.stderr)


@app.command("check")
def check_rows(folder: argument("What `kpl reproduce` wrote.")) -> None:
    """Check that a folder of rows can be shown to others; a line a problem, and exit code 2 if there are some."""
    from kpl_lib.benchmark.run_folder import check_folder

    problems = check_folder(folder)
    print("\n".join(problems) or f"{folder}: sound", file=sys.stderr if problems else None)
    if problems:
        raise typer.Exit(2)
