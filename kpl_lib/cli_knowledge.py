"""`kpl knowledge ...`: knowledge bases on the command line. Heavy imports wait until a command needs them."""

from typing import Annotated

import typer

app = typer.Typer(help="Knowledge bases.", no_args_is_help=True)


@app.command("check")
def check_knowledge(
    file: Annotated[str, typer.Argument(help="A .json file, or a name that `kpl doctor` lists.")],
) -> None:
    """Report duplicates, class names inside descriptions, uneven counts; exit code 1 where they matter."""
    from kpl_lib.knowledge import KnowledgeBase

    found = KnowledgeBase.load(file).check()
    print(found)
    if not found.clean:
        raise typer.Exit(1)
