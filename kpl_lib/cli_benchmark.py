"""`kpl benchmark ...`: run a grid and report it. Heavy imports wait until a command needs them."""

import typer

app = typer.Typer(help="Compare classifiers on datasets; resumable.", no_args_is_help=True)


@app.callback()
def benchmark() -> None:
    """Compare classifiers on datasets; resumable."""
