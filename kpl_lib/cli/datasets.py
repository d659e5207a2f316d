"""`kpl datasets ...`: datasets on the command line. Heavy imports wait until a command needs them."""

from typing import Annotated

import typer

app = typer.Typer(help="Datasets that can be loaded by name.", no_args_is_help=True)


@app.command("list")
def list_datasets(
    details: Annotated[
        bool, typer.Option("--details", help="Add images, licence, and how to get it.")
    ] = False,
) -> None:
    """Print the names of the datasets."""
    from kpl_lib.datasets.load import FAMILIES, available, card

    for name in available():
        if details and name in FAMILIES:
            facts = card(name)
            how = "kpl datasets get" if facts.direct else "by hand, in steps"
            print(f"{name:<20} {facts.images['']:>6,} images  {how:<17}  {facts.title}; {facts.licence}")
        else:
            print(name)


@app.command("get")
def get_dataset(
    name: Annotated[
        str, typer.Argument(help="A name of `kpl datasets list`; 'medmnist-path/64' for a size.")
    ],
    root: Annotated[
        str | None, typer.Option(help="Its folder; KPL_DATA/NAME or ~/.cache/kpl/data/NAME unless said.")
    ] = None,
    archive: Annotated[
        list[str] | None, typer.Option(help="A file that you downloaded yourself; may be repeated.")
    ] = None,
) -> None:
    """Download a dataset, check it and unpack it; where a program may not, say the steps. Exit code 1 then."""
    from kpl_lib.datasets.get import get

    done = get(name, root, archive or ())
    print(done.text)
    if done.dataset is None:
        raise typer.Exit(1)


@app.command("check")
def check_named(
    name: Annotated[
        str, typer.Argument(help="A name of `kpl datasets list`; 'folder' or 'csv' for your own.")
    ],
    root: Annotated[str | None, typer.Option(help="Its folder, or the table of 'csv'.")] = None,
    split: Annotated[
        str | None, typer.Option(help="A part; the evaluation set of the paper unless said.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many images are decoded.")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="Decode all images, list all findings.")] = False,
) -> None:
    """Count, hash every file, decode some; exit code 1 where something has to be corrected."""
    from kpl_lib.datasets import check
    from kpl_lib.datasets.load import FAMILIES, default_root

    dataset, published = _opened(name, root, split)
    family = name.split("/")[0]
    in_one_file = family.startswith("medmnist-")  # decoding is quick there, and nothing lies beside it
    folder = root or (default_root(name) if family in FAMILIES else None)
    report = check.check_dataset(
        dataset,
        None if family == "csv" or in_one_file else folder,
        published=published,
        sample=None if everything or in_one_file else sample,
    )
    print(report.text(None) if everything else report)
    if not report.clean:
        raise typer.Exit(1)


def _opened(name: str, root: str | None, split: str | None) -> tuple:
    """The dataset, and how many images are published."""
    from kpl_lib.datasets.files import list_folder
    from kpl_lib.datasets.load import FAMILIES, load_dataset

    options = {}
    if name == "folder" and root is not None:
        options["labelled"] = not list_folder(root).images  # images only in subfolders: these are the classes
    dataset = load_dataset(name, root, split, **options)
    if name.split("/")[0] not in FAMILIES:
        return dataset, None
    return dataset, _published(name, split)


def _published(name: str, split: str | None) -> int:
    """Images of the split, as its source states them."""
    from kpl_lib.datasets.load import card

    words = [word for word in name.split("/")[1:] if not word.isdigit()]
    return card(name.split("/")[0]).images[split or (words[0] if words else "")]
