"""The command line `kpl`. Heavy imports wait until a command needs them."""

import sys
import warnings

import typer

from kpl_lib.cli import benchmark, datasets, encoders, knowledge, own
from kpl_lib.cli.own import NOTE, say
from kpl_lib.common.errors import InputError

#: The application, with all commands.
app = typer.Typer(
    help=f"Training-free classification of medical images with vision-language models; {NOTE}.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.command()(encoders.encode)
for command in (own.classify, own.fit, own.predict):
    app.command()(command)
for group in (datasets, encoders, knowledge, benchmark):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


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
    from kpl_lib.cli.doctor import describe

    print(describe())
