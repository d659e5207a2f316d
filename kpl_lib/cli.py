"""The command line `kpl`. Heavy imports wait until a command needs them."""

import sys
import warnings

import typer

from kpl_lib import cli_benchmark, cli_datasets, cli_encode, cli_encoders, cli_knowledge, cli_own
from kpl_lib.cli_own import NOTE, say
from kpl_lib.errors import InputError

#: The application, with all commands.
app = typer.Typer(
    help=f"Training-free classification of medical images with vision-language models; {NOTE}.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(cli_encode.encode)
for command in (cli_own.classify, cli_own.fit, cli_own.predict):
    app.command()(command)
app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(cli_encoders.app, name="encoders")
app.add_typer(cli_knowledge.app, name="knowledge")
app.add_typer(cli_benchmark.app, name="benchmark")


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_, **__: say(f"note: {message}")
            app()
    except InputError as error:
        say(str(error))
        sys.exit(2)
    except OSError as error:
        say(f"{error.filename or 'input or output'}: {error.strerror or error}; check disk and permissions")
        sys.exit(2)


@app.command()
def doctor() -> None:
    """Print versions, device, and the encoders, knowledge bases and datasets found."""
    from kpl_lib.doctor import report

    print(report())
