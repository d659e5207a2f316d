"""Run methods over the world that they are chosen in: labels may be looked at, on several encoders, spoilt on purpose.

Phantoms come from dev seeds and three encoders, as they are and with texts that were moved or damaged; real features
come from a folder outside the project. A method that is good here has still to show it on test images.
"""

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from tqdm import tqdm

from kpl_lib import RECOMMENDED
from kpl_lib.benchmark.tables import to_markdown
from kpl_lib.classifiers.base import create
from kpl_lib.classifiers.kpl_adaptive import label_shares
from kpl_lib.classifiers.start import start
from kpl_lib.cli.own import Settings, parse_settings
from kpl_lib.common.errors import InputError, noted
from kpl_lib.common.files import atomic_path, check_writable, default_folder
from kpl_lib.datasets.load import load_dataset
from kpl_lib.encoders.encoder import load_encoder
from kpl_lib.features import TextBank, mean_image
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.metrics import balanced_accuracy

ENCODERS = ("phantom", "phantom-1", "phantom-2")
PHANTOMS = ("chest", "retinopathy", "malaria", "cataract")
ARRAYS = ("image_features", "labels", "text_features", "class_names")
SHARES = (0.6, 0.8)  # of the class that most images of a skewed part belong to
SEED = 0


@dataclass(frozen=True, eq=False)
class Case:
    """Images, their labels, and the texts that a method may read.

    Args:
        family: what is reported together, such as `real parts` or `phantom-1`.
        name: of the case.
        images: unit rows `[N, D]`.
        labels: `[N]`, to judge with.
        bank: texts of the classes.
        text: what methods start from.
    """

    family: str
    name: str
    images: Tensor
    labels: Tensor
    bank: TextBank
    text: str


def real_cases(folder: str | Path) -> Iterator[Case]:
    """Real features, whole and in fixed parts: half of the images even over classes, three classes at 60 and 80 %.

    Args:
        folder: `.npz` files with `image_features` `[N, D]`, `labels`, `text_features` `[C, D]`, `class_names`, and
            `descriptions_0`, ... where there are any.

    Returns:
        The cases.

    Raises:
        InputError: if the folder holds no such file.
    """
    paths = [path for path in sorted(Path(folder).glob("*.npz")) if _holds_a_set(path)]
    if not paths:
        raise InputError(f"{folder}: no .npz file with {', '.join(ARRAYS)}; name a folder that has some")
    for path in paths:
        with np.load(path) as file:
            images, names = (
                F.normalize(torch.from_numpy(file[f"{kind}_features"]).float(), dim=1)
                for kind in ("image", "text")
            )
            labels = torch.from_numpy(file["labels"]).long()
            known = tuple(map(str, file["class_names"]))
            several = "descriptions_0" in file.files
            texts = (
                [torch.from_numpy(file[f"descriptions_{c}"]).float() for c in range(len(known))]
                if several
                else names[:, None]
            )
        bank = TextBank(known, [F.normalize(rows, dim=1) for rows in texts], names)
        yield Case("real", path.stem, images, labels, bank, "names")
        if several:
            for text in ("all", "top-k"):
                yield Case("real, descriptions", f"{path.stem}/{text}", images, labels, bank, text)
        for part, rows in _parts(labels.numpy(), len(known)):
            yield Case("real parts", f"{path.stem}/{part}", images[rows], labels[rows], bank, "names")


def _holds_a_set(path: Path) -> bool:
    try:
        with path.open("rb") as handle, np.load(handle) as file:
            return set(ARRAYS) <= set(file.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no readable .npz file ({error}); write it again") from None


def _parts(labels: np.ndarray, classes: int) -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(SEED)
    of = [rng.permutation(np.flatnonzero(labels == c)) for c in range(classes)]
    each = min(len(labels) // 2 // classes, *map(len, of))
    yield "even", np.concatenate([rows[:each] for rows in of])
    for c in range(3):
        for share in SHARES:
            others = min(len(rows) for other, rows in enumerate(of) if other != c)
            rest = max(2, min(others, int(len(of[c]) * (1 - share) / share) // (classes - 1)))
            most = min(len(of[c]), int(rest * (classes - 1) * share / (1 - share)))
            yield (
                f"class {c} at {share:.0%}",
                np.concatenate([rows[: most if other == c else rest] for other, rows in enumerate(of)]),
            )


def phantom_cases(encoders: Sequence[str] = ENCODERS, n: int = 2000, seed: int = SEED) -> Iterator[Case]:
    """Synthetic sets of dev seeds, seen and unseen scanner, even and skewed, as they are and spoilt.

    Args:
        encoders: names of phantom encoders.
        n: images of each set.
        seed: of the images.

    Returns:
        The cases.
    """
    for name in encoders:
        encoder = load_encoder(name)
        for kind in PHANTOMS:
            bank = encoder.encode_knowledge(KnowledgeBase.load(f"phantom-{kind}"))
            for scanner in ("seen", "unseen"):
                for balance in ("even", "skewed"):
                    chosen = {"scanner": scanner, "balance": balance, "n": n, "seed": seed, "split": "dev"}
                    dataset = load_dataset(f"phantom-{kind}", **chosen)
                    found = encoder.encode_images(dataset, cache=default_folder(), progress=False)
                    case = f"{kind}/{scanner}/{balance}"
                    whole = Case(name, f"{case}/{name}", found.images, found.labels, bank, "top-k")
                    yield whole
                    yield from _spoilt(whole)


def _spoilt(case: Case) -> Iterator[Case]:
    """The case with texts moved along the mean image, swapped in part or wholly, and without images of a class."""
    bank, c = case.bank, len(case.bank)

    def other(family: str, name: str, texts: Sequence[Tensor]) -> Case:
        spoilt = TextBank(bank.class_names, texts, bank.names)
        return replace(case, family=family, name=f"{case.name}/{name}", bank=spoilt)

    yield other("moved", "level", _moved(case, None))
    for size in (1, 2, 3):
        yield other("moved", f"{size} sd", _moved(case, size))
    for share in (0.25, 0.5):
        rng = np.random.default_rng(SEED)
        swapped = [_mixed(bank.descriptions[i], bank.descriptions[(i + 1) % c], share, rng) for i in range(c)]
        yield other("damaged", f"{share:.0%} swapped", swapped)
    for step in range(1, c):
        yield other("wrong way", f"shifted by {step}", [bank.descriptions[(i + step) % c] for i in range(c)])
    for absent in range(c) if "even" in case.name else ():
        rows = case.labels != absent
        name = f"{case.name}/no {bank.class_names[absent]}"
        yield replace(case, family="absent", name=name, images=case.images[rows], labels=case.labels[rows])


def _mixed(own: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    count = int(share * len(own))
    kept, taken = rng.permutation(len(own))[count:], rng.permutation(len(others))[:count]
    return torch.cat([own[kept], others[taken]])


def _moved(case: Case, size: float | None) -> list[Tensor]:
    """Texts along the mean image: to even mean cosines (None), or by offsets of `size` deviations of the contrast."""
    u = mean_image(case.images).float()
    axis = u / u.norm()
    proxies, _ = start(case.bank, case.images, case.text, 8)
    cosines = case.images @ proxies.T
    if size is None:
        offsets = (proxies @ axis).mean() * u.norm() - proxies @ axis * u.norm()
    else:
        drawn = torch.from_numpy(np.random.default_rng(SEED).standard_normal(len(proxies))).float()
        contrast = (cosines - cosines.mean(dim=1, keepdim=True)).std()
        offsets = size * contrast * (drawn - drawn.mean()) / drawn.std(correction=0)
    moves = offsets[:, None] * axis / u.norm()
    return [
        F.normalize(texts + move, dim=1) for texts, move in zip(case.bank.descriptions, moves, strict=True)
    ]


def measure(name: str, case: Case, **parameters) -> dict:
    """Balanced accuracy of a classifier and of its text alone, in %, and what it said.

    Args:
        name: of the classifier.
        case: the case.
        parameters: of the classifier; the text is that of the case.

    Returns:
        A row: family, case, classifier, text, balanced_accuracy, warned; overrated, the largest share of the images
        that the text gives to a class too many; and what `kpl-adaptive` saw: that share, if it moved, and support,
        contradiction, names, moved.
    """
    method = create(name, text=case.text, **parameters)
    with noted() as notes:
        text = create("clip", text=case.text).fit_predict(case.images, case.bank)
        found = method.fit_predict(case.images, case.bank)
    said = {
        key: getattr(method.model, key, math.nan) for key in ("support", "contradiction", "names", "moved")
    }
    given = label_shares(text.scores).float()
    true = torch.bincount(case.labels, minlength=len(given)) / len(case.labels)
    moved = said["moved"] is True
    return {
        "family": case.family,
        "case": case.name,
        "classifier": name,
        "text": 100 * balanced_accuracy(text, case.labels),
        "balanced_accuracy": 100 * balanced_accuracy(found, case.labels),
        "warned": any("clipped" not in note for note in notes),
        "overrated": float((given - true).max()),
        "seen": float((given - method.model.shares).max()) if moved else math.nan,
        **said,
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """By method and family: means, worst loss against the text, gains and losses beyond a point, warnings.

    Args:
        rows: of `measure`.

    Returns:
        One line a method and family; `losers warned` is the share of losses of over 5 points that the method warned
        of, `false warnings` that of warned cases among those that lost nothing.

    Raises:
        InputError: without rows.
    """
    if not len(rows):
        raise InputError("the dev world has no case: name a folder of real features, or phantom encoders")
    rows = rows.assign(gain=rows["balanced_accuracy"] - rows["text"])
    lines = []
    for (name, family), cases in rows.groupby(["classifier", "family"], sort=False):
        lost = cases["gain"] < -5
        lines.append(
            {
                "classifier": name,
                "family": family,
                "cases": len(cases),
                "text": cases["text"].mean(),
                "balanced accuracy": cases["balanced_accuracy"].mean(),
                "worst": cases["gain"].min(),
                "gains": int((cases["gain"] > 1).sum()),
                "losses": int((cases["gain"] < -1).sum()),
                "over 5": int(lost.sum()),
                "losers warned": cases.loc[lost, "warned"].mean(),
                "false warnings": cases.loc[cases["gain"] >= 0, "warned"].mean(),
            }
        )
    return pd.DataFrame(lines)


def main(
    classifiers: Annotated[str, typer.Option(help="Names, separated by commas.")] = RECOMMENDED,
    settings: Settings = None,
    encoders: Annotated[
        str, typer.Option(help="Phantom encoders, by commas; '' for none.")
    ] = "phantom,phantom-1,phantom-2",
    real: Annotated[
        str | None, typer.Option(help="Folder of real features (.npz), whose labels may be looked at.")
    ] = None,
    n: Annotated[int, typer.Option(help="Images of each synthetic set.")] = 2000,
    out: Annotated[str | None, typer.Option(help="Table of all cases to write (.csv).")] = None,
) -> None:
    """Run methods over the sets that choices are made on; print means, losses and warnings by family."""

    if out is not None:
        check_writable(out)
    parameters = parse_settings(settings)
    names = [name.strip() for name in classifiers.split(",")]
    for name in names:
        create(name, **parameters)  # an unknown one is refused before the work
    cases = chain(real_cases(real) if real else (), phantom_cases(encoders.split(",") if encoders else (), n))
    bar = tqdm(cases, desc="dev world", unit="case")
    rows = pd.DataFrame([measure(name, case, **parameters) for case in bar for name in names])
    print(to_markdown(summary(rows).round(2)))
    if out is not None:
        with atomic_path(out) as path:
            rows.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"kpl: {error}") from None
