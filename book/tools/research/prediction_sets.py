"""How large are prediction sets, when does their promise break, and who notices? Phantoms of development seeds.

Three experiments, all at a coverage of 90 % with LAC. `sizes`: half of the images calibrate, the other half is counted.
`scanner`: the seen scanner calibrates, the unseen one is counted. `alarms`: how often `same_source` is below 5 %.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor
from tqdm import tqdm

from book.tools.research.dev_world import ENCODERS, PHANTOMS
from kpl_lib import RECOMMENDED
from kpl_lib.classifiers.base import create
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, check_writable, default_folder
from kpl_lib.datasets.load import load_dataset
from kpl_lib.decisions import calibrate, evaluate_sets, joint_step, same_source
from kpl_lib.encoders.encoder import load_encoder
from kpl_lib.features import Features, TextBank
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.prediction import Prediction

COVERAGE = 0.9
COUNTS = (50, 100, 200)  # images of each side in `alarms`
VARIANTS = [(scanner, balance) for scanner in ("seen", "unseen") for balance in ("even", "skewed")]


def sizes(features: Features, bank: TextBank, halves: int) -> Iterator[dict]:
    """Coverage, mean size and class gap of four ways, on the half that did not calibrate; means over random halves."""
    x, y = features.images, features.labels
    text = create("clip", text="top-k").fit_predict(x, bank)
    true = torch.bincount(y, minlength=len(bank)).double() / len(y)
    ways = {
        "text": text,
        "joint step": joint_step(text),
        "joint step, true shares": joint_step(text, prior=true),
        RECOMMENDED: create(RECOMMENDED).fit_predict(x, bank),
    }
    for way, prediction in ways.items():
        found = [_half(prediction, y, seed) for seed in range(halves)]
        yield {"way": way} | dict(zip(("coverage", "size", "gap"), np.mean(found, axis=0), strict=True))


def _half(prediction: Prediction, y: Tensor, seed: int) -> tuple[float, float, float]:
    known = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)) < len(y) // 2
    made = calibrate(prediction, torch.where(known, y, -1), coverage=COVERAGE)
    figures = evaluate_sets(made.sets(prediction), torch.where(known, -1, y))
    return figures.coverage.value, figures.mean_size, figures.class_gap


def scanner(seen: Features, unseen: Features, bank: TextBank, halves: int) -> Iterator[dict]:
    """Calibrated on half of the seen images; counted on the other half, and on the unseen images."""
    x = torch.cat([seen.images, unseen.images])
    y = torch.cat([seen.labels, unseen.labels])
    new = torch.arange(len(y)) >= len(seen.labels)
    for method in ("cupl", RECOMMENDED):
        prediction, found = create(method).fit_predict(x, bank), []
        for seed in range(halves):
            order = torch.randperm(len(seen.labels), generator=torch.Generator().manual_seed(seed))
            known = torch.cat([order < len(order) // 2, torch.zeros(len(unseen.labels), dtype=torch.bool)])
            sets = calibrate(prediction, torch.where(known, y, -1), coverage=COVERAGE).sets(prediction)
            parts = ~known & ~new, new
            found.append([evaluate_sets(sets, torch.where(part, y, -1)).coverage.value for part in parts])
        same, other = np.mean(found, axis=0)
        yield {"way": method, "coverage": same, "coverage elsewhere": other}


def alarms(seen: Features, unseen: Features, skewed: Features, draws: int) -> Iterator[dict]:
    """Share of draws in which `same_source` tells two sets apart at 5 %."""
    a, b, k = seen.images, unseen.images, skewed.images
    for count in COUNTS:
        rang = {"same source": [], "one in five new": [], "other class mix": [], "other scanner": []}
        for seed in range(draws):
            generator = torch.Generator().manual_seed(seed)
            p, q = (torch.randperm(len(a), generator=generator) for _ in range(2))
            fifth, later = count // 5, a[p[count : 2 * count]]
            seconds = later, torch.cat([b[q[:fifth]], later[fifth:]]), k[q[:count]], b[q[:count]]
            for way, second in zip(rang, seconds, strict=True):
                test = same_source(a[p[:count]], second, permutations=99, seed=seed)
                rang[way].append(test.p_value <= 0.05)
        yield from ({"way": way, "images": count, "alarms": np.mean(hits)} for way, hits in rang.items())


def main(
    out: Annotated[Path | None, typer.Option(help="Table to write (.csv).")] = None,
    sets: Annotated[str, typer.Option(help="Phantom sets, with commas.")] = ",".join(PHANTOMS),
    n: Annotated[int, typer.Option(help="Images of each set.")] = 2000,
    draws: Annotated[int, typer.Option(help="Random halves, or draws, of each row.")] = 20,
) -> None:
    """Run the three experiments on every set and encoder, and write one row for each figure."""
    if out is not None:
        check_writable(out)
    rows = []
    warnings.simplefilter("ignore", UserWarning)
    for encoder in (load_encoder(name) for name in ENCODERS):
        for kind in tqdm(sets.split(","), desc=encoder.name, unit="set"):
            bank = encoder.encode_knowledge(KnowledgeBase.load(f"phantom-{kind}"), progress=False)
            found = {}
            for where, balance in VARIANTS:
                data = load_dataset(f"phantom-{kind}", scanner=where, balance=balance, n=n, split="dev")
                found[where, balance] = encoder.encode_images(data, cache=default_folder(), progress=False)
            about = {"encoder": encoder.name, "set": kind}
            for (where, balance), features in found.items():
                head = {"experiment": "sizes"} | about | {"scanner": where, "balance": balance}
                rows += [head | row for row in sizes(features, bank, draws)]
            pair = found["seen", "even"], found["unseen", "even"]
            rows += [{"experiment": "scanner"} | about | row for row in scanner(*pair, bank, draws)]
            mix = found["seen", "skewed"]
            rows += [{"experiment": "alarms"} | about | row for row in alarms(*pair, mix, draws)]
    table = pd.DataFrame(rows)
    print(table.groupby(["experiment", "way"]).mean(numeric_only=True).round(3).to_string())
    if out is not None:
        with atomic_path(out) as path:
            table.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"kpl: {error}") from None
