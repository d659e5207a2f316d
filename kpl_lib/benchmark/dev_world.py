"""The world that methods are chosen in: sets whose labels may be looked at, on several encoders, and spoilt on purpose.

Phantoms come from dev seeds and three encoders, as they are and with texts that were moved or damaged; real features
come from a folder outside the project. A method that is good here has still to show it on test images.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from kpl_lib.classifiers.base import Classifier
from kpl_lib.classifiers.start import start
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.load import load_dataset
from kpl_lib.encoders.encoder import load_encoder
from kpl_lib.features import TextBank, mean_image
from kpl_lib.knowledge.base import KnowledgeBase

ENCODERS = ("phantom", "phantom-1", "phantom-2")
PHANTOMS = ("chest", "retinopathy", "malaria", "cataract")
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
        wrong_way: whether the descriptions stand under other classes.

    Chapter: ch-benchmark
    """

    family: str
    name: str
    images: Tensor
    labels: Tensor
    bank: TextBank
    text: str
    wrong_way: bool = False


def real_cases(folder: str | Path) -> Iterator[Case]:
    """Real features, whole and in fixed parts: half of the images even over classes, three classes at 60 and 80 %.

    Args:
        folder: `.npz` files with `image_features` `[N, D]`, `labels`, `text_features` `[C, D]`, `class_names`, and
            `descriptions_0`, ... where there are any.

    Returns:
        The cases; none where the folder holds no such file.

    Chapter: ch-benchmark
    """
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as file:
            if not {"image_features", "labels", "text_features", "class_names"} <= set(file.files):
                continue
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

    Chapter: ch-benchmark
    """
    for name in encoders:
        encoder = load_encoder(name)
        for kind in PHANTOMS:
            bank = encoder.encode_knowledge(KnowledgeBase.load(f"phantom-{kind}"))
            for scanner in ("seen", "unseen"):
                for balance in ("even", "skewed"):
                    chosen = {"scanner": scanner, "balance": balance, "n": n, "seed": seed, "split": "dev"}
                    found = encoder.encode_images(load_dataset(f"phantom-{kind}", **chosen), cache=True)
                    case = f"{kind}/{scanner}/{balance}"
                    whole = Case(name, f"{case}/{name}", found.images, found.labels, bank, "top-k")
                    yield whole
                    yield from _spoilt(whole)


def _spoilt(case: Case) -> Iterator[Case]:
    """The case with texts moved along the mean image, swapped in part or wholly, or blurred."""

    def other(family: str, name: str, bank: TextBank, wrong_way: bool = False) -> Case:
        return Case(family, f"{case.name}/{name}", case.images, case.labels, bank, "top-k", wrong_way)

    bank, c = case.bank, len(case.bank)
    yield other("moved", "level", _moved(case, None))
    for size in (1.0, 2.0, 3.0):
        yield other("moved", f"{size:.0f} sd", _moved(case, size))
    for share in (0.25, 0.5):
        rng = np.random.default_rng(SEED)
        swapped = [_mixed(bank.descriptions[i], bank.descriptions[(i + 1) % c], share, rng) for i in range(c)]
        yield other("damaged", f"{share:.0%} swapped", TextBank(bank.class_names, swapped, bank.names))
    for step in range(1, c):
        rows = [bank.descriptions[(i + step) % c] for i in range(c)]
        yield other("wrong way", f"shifted by {step}", TextBank(bank.class_names, rows, bank.names), True)


def _mixed(own: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    count = int(share * len(own))
    kept, taken = rng.permutation(len(own))[count:], rng.permutation(len(others))[:count]
    return torch.cat([own[kept], others[taken]])


def _moved(case: Case, size: float | None) -> TextBank:
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
    rows = [
        F.normalize(texts + move, dim=1) for texts, move in zip(case.bank.descriptions, moves, strict=True)
    ]
    return TextBank(case.bank.class_names, rows, case.bank.names)


def measure(make: Callable[[str], Classifier], case: Case) -> dict:
    """Balanced accuracy of a classifier and of its text alone, in %, and what it warned of.

    Args:
        make: gives the classifier for a `text`.
        case: the case.

    Returns:
        A row: family, case, wrong_way, text, method, warned.

    Chapter: ch-benchmark
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        labels = make(case.text).fit_predict(case.images, case.bank).labels
    proxies, _ = start(case.bank, case.images, case.text, 8)
    plain = (case.images @ proxies.T).argmax(dim=1)
    scores = {"text": _balanced(plain, case.labels), "method": _balanced(labels, case.labels)}
    warned = sum(issubclass(one.category, UserWarning) and "clipped" not in str(one.message) for one in told)
    return {
        "family": case.family,
        "case": case.name,
        "wrong_way": case.wrong_way,
        **scores,
        "warned": bool(warned),
    }


def _balanced(labels: Tensor, truth: Tensor) -> float:
    found = [(labels[truth == c] == c).double().mean() for c in truth.unique()]
    return 100 * float(torch.stack(found).mean())


def summary(rows: Sequence[dict]) -> pd.DataFrame:
    """By family: mean of the text and of the method, worst loss, gains and losses beyond a point, warnings.

    Args:
        rows: from `measure`.

    Returns:
        One line a family.

    Raises:
        InputError: without rows.

    Chapter: ch-benchmark
    """
    if not rows:
        raise InputError("the dev world has no case: name a folder of real features, or phantom encoders")
    table = pd.DataFrame(rows)
    table["gain"] = table["method"] - table["text"]
    of = table.groupby("family", sort=False)
    return pd.DataFrame(
        {
            "cases": of.size(),
            "text": of["text"].mean(),
            "method": of["method"].mean(),
            "worst": of["gain"].min(),
            "gains": of["gain"].agg(lambda gain: int((gain > 1).sum())),
            "losses": of["gain"].agg(lambda gain: int((gain < -1).sum())),
            "lost over 5": of["gain"].agg(lambda gain: int((gain < -5).sum())),
            "warned": of["warned"].mean(),
        }
    )
