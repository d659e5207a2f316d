"""The command line `kpl`. Heavy imports wait until a command needs them."""

import sys
import warnings
from typing import Annotated

import typer

from kpl_lib import cli_benchmark, cli_knowledge
from kpl_lib.errors import InputError

NOTE = "research and teaching only, not for clinical use"

app = typer.Typer(
    help=f"Training-free classification of medical images with vision-language models; {NOTE}.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
datasets_app = typer.Typer(help="Datasets that can be loaded by name.", no_args_is_help=True)
app.add_typer(datasets_app, name="datasets")
app.add_typer(cli_knowledge.app, name="knowledge")
app.add_typer(cli_benchmark.app, name="benchmark")


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_, **__: _say(f"note: {message}")
            app()
    except InputError as error:
        _say(str(error))
        sys.exit(2)
    except OSError as error:
        _say(f"{error.filename or 'input or output'}: {error.strerror or error}; check disk and permissions")
        sys.exit(2)


def _say(message: str) -> None:
    """One line on standard error."""
    print(f"kpl: {' '.join(message.split())}", file=sys.stderr, flush=True)


@app.command()
def doctor() -> None:
    """Print versions, device, and the encoders, knowledge bases and datasets found."""
    from kpl_lib.doctor import report

    print(report())


@app.command()
def classify(
    images: Annotated[str, typer.Option(help="Folder of images.")],
    knowledge: Annotated[str, typer.Option(help="A .json file, or a name that `kpl doctor` lists.")],
    out: Annotated[str, typer.Option(help="Table to write (.csv).")],
    encoder: Annotated[
        str, typer.Option(help="'phantom', 'path:DIR', 'ARCH/TAG' or 'hf-hub:ORG/NAME'.")
    ] = "phantom",
    classifier: Annotated[str, typer.Option(help="Method, such as 'kpl' or 'clip'.")] = "kpl",
    k: Annotated[int | None, typer.Option(help="Descriptions kept per class; 8 unless said.")] = None,
    device: Annotated[str | None, typer.Option(help="'cpu' or 'cuda'; chosen unless said.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and list them.")
    ] = False,
) -> None:
    """Write path, label, probabilities, and the description that spoke most for the label, for each image."""
    from kpl_lib.classify import check_writable, classify_folder, write_table

    check_writable(out)
    _say(NOTE)
    result = classify_folder(
        images,
        knowledge,
        encoder=encoder,
        classifier=classifier,
        k=k,
        device=device,
        skip_unreadable=skip_unreadable,
    )
    write_table(result, out)
    if result.skipped:
        _say(f"skipped {len(result.skipped)} unreadable:")
        for _, why in result.skipped:
            _say(f"  {why}")
    _say(f"wrote {out}: {len(result.paths)} images, {len(result.class_names)} classes")


@datasets_app.command("list")
def list_datasets() -> None:
    """Print the names of the datasets."""
    from kpl_lib.datasets import available

    print("\n".join(available()))
