"""What do a few labelled images buy? Methods that read labels, and a linear probe, on the same draws.

Dev seeds of three phantom encoders and real features from a folder outside the project. A draw labels as many images of
each class; balanced accuracy is that of the images without a label. No method sees another label.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from tqdm import tqdm

from book.tools.research.dev_world import Case, phantom_cases, real_cases
from kpl_lib import RECOMMENDED
from kpl_lib.benchmark.tables import to_markdown
from kpl_lib.classifiers.base import create
from kpl_lib.classifiers.references import linear_probe
from kpl_lib.common.errors import InputError, noted
from kpl_lib.common.files import atomic_path, check_writable
from kpl_lib.features import Features

METHODS = (RECOMMENDED, "ss-text", "anchored-probe", "gda")
PLUS, PROBE = "ss-text+", "linear-probe"  # the first is ss-text of the labelled images alone
WITHOUT = "{} without labels"
SHOTS = (1, 2, 4, 8, 16)
RESAMPLES = 1000


def drawn(labels: Tensor, shots: int, draw: int) -> Tensor:
    """Labels `[N]` of as many images of each class, drawn at random, -1 for the others; one draw has nested shots."""
    known = torch.full_like(labels, -1)
    rng = np.random.default_rng(draw)
    for c in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels.numpy() == c)
        if len(rows) < 2 * shots:
            raise InputError(
                f"{shots} shots of class {c}, which has {len(rows)} images: at most half of them"
            )
        known[rng.permutation(rows)[:shots]] = c
    return known


def measure(case: Case, draws: int) -> Iterator[dict]:
    """Balanced accuracy (%) of all methods, with and without labels, on the images without one.

    Args:
        case: images, labels and texts.
        draws: how often images are drawn to be labelled.

    Returns:
        A row a draw and number of shots: family, encoder, case, draw, shots, and a column a method.
    """
    real = case.family == "real"
    family, encoder = (case.name.split("_")[0], "CLIP") if real else ("phantom", case.family)
    without = {WITHOUT.format(name): _fitted(name, case, None) for name in METHODS}
    for draw in range(draws):
        for shots in SHOTS:
            known = drawn(case.labels, shots, draw)
            found = {**without, **{name: _fitted(name, case, known) for name in METHODS}}
            found |= {PLUS: _plus(case, known), PROBE: _probe(case, known, shots)}
            rest = known < 0
            values = {
                name: 100 * balanced_accuracy_score(case.labels[rest], labels[rest])
                for name, labels in found.items()
            }
            yield {
                "family": family,
                "encoder": encoder,
                "case": case.name,
                "draw": draw,
                "shots": shots,
                **values,
            }


def _fitted(name: str, case: Case, known: Tensor | None) -> Tensor:
    fitted = create(name, text=case.text).fit(case.images, case.bank, labels=known)
    return fitted.predict(case.images).labels


def _plus(case: Case, known: Tensor) -> Tensor:
    rows = known >= 0
    fitted = create("ss-text", text=case.text).fit(case.images[rows], case.bank, labels=known[rows])
    return fitted.predict(case.images).labels


def _probe(case: Case, known: Tensor, shots: int) -> Tensor:
    rows, names = known >= 0, case.bank.class_names
    pool = Features(case.images[rows], known[rows], names)
    return linear_probe(Features(case.images, case.labels, names), pool, shots=shots, draws=1)[0].labels


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means by family, encoder, number of shots and method, with 95 % intervals over sets and draws.

    Args:
        rows: of `measure`.

    Returns:
        A line for each, and for what it is less: nothing, itself without labels, the linear probe, the recommended
        method with and without labels. Phantoms come by encoder and together, real sets by set and together.

    Raises:
        InputError: without rows.
    """
    if not len(rows):
        raise InputError("there is no case: name a folder of real features, or phantom encoders")
    whole = rows.assign(
        family=rows["family"].where(rows["family"] == "phantom", "real"),
        encoder=rows["encoder"].where(rows["family"] != "phantom", "all"),
    )
    lines = []
    for (family, encoder, shots), part in pd.concat([rows, whole]).groupby(
        ["family", "encoder", "shots"], sort=False
    ):
        for method in (*METHODS, PLUS, PROBE, WITHOUT.format(RECOMMENDED)):
            for less in ("", WITHOUT.format(method), PROBE, WITHOUT.format(RECOMMENDED), RECOMMENDED):
                if less == method or (less and less not in part):
                    continue
                mean, low, high = _interval(part.assign(value=part[method] - (part[less] if less else 0)))
                line = {"family": family, "encoder": encoder, "shots": shots, "method": method, "less": less}
                lines.append({**line, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(lines).drop_duplicates()


def _interval(part: pd.DataFrame) -> tuple[float, float, float]:
    """The mean of `value`, and its 95 % interval: sets resampled, and the draws of each; one set by its draws alone."""
    table = part.pivot_table(index="case", columns="draw", values="value").to_numpy()
    rng = np.random.default_rng(0)
    sets = rng.integers(len(table), size=(RESAMPLES, len(table), 1))
    draws = rng.integers(table.shape[1], size=(RESAMPLES, len(table), table.shape[1]))
    low, high = np.quantile(table[sets, draws].mean(axis=(1, 2)), (0.025, 0.975))
    return float(table.mean()), float(low), float(high)


def main(
    encoders: Annotated[
        str, typer.Option(help="Phantom encoders, by commas; '' for none.")
    ] = "phantom,phantom-1,phantom-2",
    real: Annotated[
        str | None, typer.Option(help="Folder of real features (.npz), whose labels may be looked at.")
    ] = None,
    n: Annotated[int, typer.Option(help="Images of each synthetic set.")] = 1000,
    draws: Annotated[int, typer.Option(help="How often images are drawn to be labelled.")] = 10,
    out: Annotated[str | None, typer.Option(help="Table to write (.csv).")] = None,
) -> None:
    """Measure what 1 to 16 labelled images a class buy, on sets of development data; print means and intervals."""
    if out is not None:
        check_writable(out)
    synthetic = phantom_cases(encoders.split(","), n) if encoders else ()
    cases = [
        *(case for case in (real_cases(real) if real else ()) if case.family == "real"),
        *(case for case in synthetic if case.family == case.name.split("/")[-1] and "/unseen/" in case.name),
    ]
    with noted():
        rows = pd.DataFrame(
            [row for case in tqdm(cases, desc="few labels", unit="case") for row in measure(case, draws)]
        )
    found = summary(rows)
    print(to_markdown(found[found["less"] == ""].round(1)))
    if out is not None:
        with atomic_path(out) as path:
            found.round(2).to_csv(path, index=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"kpl: {error}") from None
