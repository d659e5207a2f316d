"""Tables as text: Markdown, CSV and LaTeX, each with its own escapes."""

import re
from pathlib import Path

import pandas as pd

from kpl_lib.paths import atomic_path


def to_markdown(table: pd.DataFrame) -> str:
    """A table in Markdown; `|` and line breaks inside cells are escaped.

    Args:
        table: columns of text and numbers.

    Returns:
        The lines of the table.

    Example:
        >>> print(to_markdown(pd.DataFrame({"a|b": [1.0]})))
        | a\\|b |
        |---|
        | 1 |

    Chapter: ch-benchmark
    """
    rows = [
        list(map(str, table.columns)),
        *([_cell(x) for x in row] for row in table.itertuples(index=False)),
    ]
    lines = ["| " + " | ".join(_escape(x) for x in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])


def to_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """A table in LaTeX with the rules of booktabs; text is escaped.

    Args:
        table: columns of text and numbers.
        caption: what stands above it.
        label: for `\\ref`.

    Returns:
        The lines of a `table` environment.

    Chapter: ch-benchmark
    """
    text = table.map(_cell)
    text.columns = [_tex(str(name)) for name in table.columns]
    body = text.map(_tex).to_latex(index=False, escape=False, caption=_tex(caption), label=f"tab:{label}")
    return f"% needs \\usepackage{{booktabs}}\n{body}"


def write(table: pd.DataFrame, folder: Path, name: str, caption: str) -> list[Path]:
    """Write a table three times, each file whole or not at all; return the files."""
    texts = {
        "md": f"{caption}\n\n{to_markdown(table)}\n",
        "csv": table.map(_cell).to_csv(index=False, lineterminator="\n"),
        "tex": to_latex(table, caption, name),
    }
    files = []
    for ending, text in texts.items():
        files.append(folder / f"{name}.{ending}")
        with atomic_path(files[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return files


def slug(name: str) -> str:
    """A file name of letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "table"


def _cell(x: object) -> str:
    if isinstance(x, float):
        return "" if x != x else f"{x:.4g}"
    return "" if x is None else str(x)


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")


TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"$-$",
    "Δ": r"$\Delta$",
}


def _tex(text: str) -> str:
    return "".join(TEX.get(letter, letter) for letter in text)
