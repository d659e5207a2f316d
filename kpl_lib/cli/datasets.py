"""`kpl datasets ...`: datasets on the command line. Heavy imports wait until a command needs them."""

import typer

from kpl_lib.cli.own import argument, flag, option

app = typer.Typer(help="Datasets that can be loaded by name.", no_args_is_help=True)


@app.command("list")
def list_datasets(
    details: flag("--details", "Add images, licence, and how to get it.") = False,
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
    name: argument("A name of `kpl datasets list`; 'medmnist-path/64' for a size."),
    root: option("Its folder; KPL_DATA/NAME or ~/.cache/kpl/data/NAME unless said.") = None,
    archive: option("A file that you downloaded yourself; may be repeated.", list[str] | None) = None,
) -> None:
    """Download a dataset, check it and unpack it; where a program may not, say the steps. Exit code 1 then."""
    from kpl_lib.datasets.get import get

    done = get(name, root, archive or ())
    print(done.text)
    if done.dataset is None:
        raise typer.Exit(1)


@app.command("check")
def check_named(
    name: argument("A name of `kpl datasets list`; 'folder' or 'csv' for your own."),
    root: option("Its folder, or the table of 'csv'.") = None,
    split: option("A part; the evaluation set of the paper unless said.") = None,
    sample: option("How many images are decoded.", int, min=1) = 200,
    everything: flag("--all", "Decode all images, list all findings.") = False,
) -> None:
    """Count, hash every file, decode some; exit code 1 where something has to be corrected."""
    from kpl_lib.datasets.check import check_dataset
    from kpl_lib.datasets.files import list_folder
    from kpl_lib.datasets.load import FAMILIES, card, default_root, load_dataset

    family, *words = name.split("/")
    known, in_one_file = family in FAMILIES, family.startswith("medmnist-")
    options = {}
    if name == "folder" and root is not None:
        options["labelled"] = not list_folder(root).images  # images only in subfolders: these are the classes
    dataset = load_dataset(name, root, split, **options)
    part = split or next((word for word in words if not word.isdigit()), "")
    folder = root or (default_root(name) if known else None)
    report = check_dataset(
        dataset,
        None if family == "csv" or in_one_file else folder,
        published=card(family).images[part] if known else None,
        sample=None if everything or in_one_file else sample,  # decoding is quick there
    )
    print(report.text(None) if everything else report)
    if not report.clean:
        raise typer.Exit(1)
