"""The command line `kpl`. Heavy imports wait until a command needs them."""

import os
import platform
import sys
import warnings
from importlib.metadata import version

import typer

import kpl_lib
from kpl_lib.cli import benchmark, datasets, encoders, knowledge, own
from kpl_lib.cli.judge import judge
from kpl_lib.cli.own import NOTE, say
from kpl_lib.cli.reproduce import reproduce_sets
from kpl_lib.cli.scale import scale
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import data_dir

PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "scikit-learn", "safetensors")

#: The application, with all commands.
app = typer.Typer(
    help=f"Training-free classification of medical images with vision-language models; {NOTE}.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.command()(encoders.encode)
for command in (own.classify, own.fit, own.predict, judge, scale):
    app.command()(command)
app.command("reproduce")(reproduce_sets)
for group in (datasets, encoders, knowledge, benchmark):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2.

    Chapter: ch-own-images
    """
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
    import torch

    from kpl_lib import classifiers, datasets, encoders
    from kpl_lib.knowledge.files import known_names

    device = f"cpu ({torch.get_num_threads()} threads, {os.cpu_count()} cores)"
    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name()})"
    facts = {"kpl_lib": kpl_lib.__version__, "python": platform.python_version()}
    facts |= {name: version(name) for name in PACKAGES} | {"device": device, "data": str(data_dir())}
    found = {"encoders": encoders.available(), "knowledge": known_names()}
    found |= {"datasets": datasets.available(), "classifiers": classifiers.available()}
    facts |= {name: ", ".join(names) or "none found" for name, names in found.items()}
    width = max(map(len, facts))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))
