"""The command `kpl encoders`: models that load by name, and what is known about one."""

from typing import Annotated

import typer

from kpl_lib.encoder_table import EncoderRow, encoder_row, encoder_table, sources

app = typer.Typer(help="Image-text models that load by name.", no_args_is_help=True)

COLUMNS = ("name", "made for", "pixels", "tokens", "width", "loss", "licence")
GROUPS = {
    "config": ("image_size", "context_length", "width", "tokenizer", "activation"),
    "weights": ("weights",),
    "logit_scale": ("logit_scale", "logit_scale_known"),
    "licence": ("licence",),
    "training_data": ("training_data",),
    "note": ("note",),
}
PREPROCESSING = ("resize", "interpolation", "mean", "std", "loss")


@app.command("list")
def list_encoders() -> None:
    """Print the models: name, field, input pixels, context tokens, width, loss, licence."""
    rows = [
        (r.name, r.field, r.image_size, r.context_length, r.width, r.loss, r.licence) for r in encoder_table()
    ]
    texts = [[str(value) for value in row] for row in (COLUMNS, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())
    print("\nThe embedded 'phantom' needs no download. Facts and their sources: kpl encoders show NAME")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A name of `kpl encoders list`.")]) -> None:
    """Print what is known about one model, and where each fact comes from."""
    print("\n".join(_lines(encoder_row(name))))


def _lines(row: EncoderRow) -> list[str]:
    lines = [row.name, f"  field: {row.field}"]
    for group, facts in GROUPS.items():
        known = [(fact, value) for fact in facts if (value := getattr(row, fact)) not in (None, "")]
        if group == "config":
            known += [(fact, getattr(row, fact)) for fact in PREPROCESSING]
        source = row.sources.get(group)
        lines += [f"  {fact.replace('_', ' ')}: {_said(value)}" for fact, value in known]
        if known and source:
            lines.append(f"      from {sources()[source]}")
    return lines


def _said(value: object) -> str:
    return ", ".join(f"{x:.8g}" for x in value) if isinstance(value, tuple) else str(value)
