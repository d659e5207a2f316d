"""Which score that reads no label ranks encoders best? Candidates against the true order, damaged encoders included.

Each draw sets three sound phantom encoders beside three that were damaged, of different kinds. The truth is balanced
accuracy on the labels, which no candidate reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import typer
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score
from torch import Tensor
from tqdm import tqdm

from book.tools.research.dev_world import ENCODERS, PHANTOMS
from kpl_lib import RECOMMENDED
from kpl_lib.benchmark.tables import to_markdown
from kpl_lib.classifiers.agreement import text_agreement
from kpl_lib.classifiers.base import create
from kpl_lib.classifiers.neighbours import nearest_rows
from kpl_lib.classifiers.start import start_rows
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, check_writable, default_folder
from kpl_lib.datasets.load import load_dataset
from kpl_lib.decisions.ranking import rank_encoders
from kpl_lib.encoders.encoder import Encoder, load_encoder
from kpl_lib.features import TextBank
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.metrics import balanced_accuracy
from kpl_lib.phantoms.model import build
from kpl_lib.transport import sinkhorn

UNTRAINED = "untrained"  # an image tower of random weights
DAMAGED = 3  # in a draw, beside the sound ones
View = tuple[Tensor, TextBank]


@dataclass(frozen=True, eq=False)
class Looks:
    """What candidates are made of: text scores `[N, C]`, balanced plan `[N, C]`, labels of both, images, agreement."""

    images: Tensor
    scores: Tensor
    plan: Tensor
    text: Tensor
    labels: Tensor
    single: Mapping[str, float]


def encoders() -> dict[str, Encoder]:
    """The phantom encoders, and one whose image tower was never trained."""
    found = {name: load_encoder(name) for name in ENCODERS}
    with TemporaryDirectory() as folder:
        model, _ = build(Path(folder), seed=7)
    model.eval().visual.to(memory_format=torch.channels_last)
    return found | {UNTRAINED: replace(found[ENCODERS[0]], name=UNTRAINED, model=model)}


def damaged_views(
    images: Mapping[str, Tensor],
    banks: Mapping[str, Mapping[str, TextBank]],
    kind: str,
    rng: np.random.Generator,
) -> Iterator[tuple[str, str, View]]:
    """Each sound encoder in eight kinds of damage: the kind, the encoder, its images and texts."""

    def noisy(rows: Tensor, size: float) -> Tensor:
        noise = torch.from_numpy(rng.standard_normal(rows.shape)).float()
        return F.normalize(rows + size * F.normalize(noise, dim=1), dim=1)

    for number, name in enumerate(ENCODERS):
        x, bank, c = images[name], banks[name][kind], len(banks[name][kind])
        own, foreign = bank.descriptions, banks[ENCODERS[(number + 1) % len(ENCODERS)]][kind]
        moves = F.normalize(torch.from_numpy(rng.standard_normal((c, x.shape[1]))).float(), dim=1)
        pool = [(rows, t) for k in PHANTOMS if k != kind for rows, t in _classes(banks[name][k])]
        others = [pool[i] for i in rng.permutation(len(pool))[:c]]
        views = {
            "noise in the texts": (x, [noisy(rows, 4) for rows in own], noisy(bank.names, 4)),
            "classes moved": (
                x,
                [F.normalize(rows + m, dim=1) for rows, m in zip(own, moves, strict=True)],
                None,
            ),
            "noise in the images": (noisy(x, 4), own, None),
            "untrained image tower": (images[UNTRAINED], own, None),
            "texts of another encoder": (x, foreign.descriptions, foreign.names),
            "texts of another set": (x, [rows for rows, _ in others], torch.stack([t for _, t in others])),
            "descriptions shifted": (x, [own[(i + 1) % c] for i in range(c)], None),
            "half of them shifted": (
                x,
                [torch.cat([own[i][::2], own[(i + 1) % c][1::2]]) for i in range(c)],
                None,
            ),
        }
        for damage, (rows, texts, names) in views.items():
            yield (
                damage,
                name,
                (rows, TextBank(bank.class_names, texts, bank.names if names is None else names)),
            )


def _classes(bank: TextBank) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(bank.descriptions, bank.names, strict=True)


def look(images: Tensor, bank: TextBank) -> Looks:
    """Everything that the candidates read of one encoder."""
    rows, _ = start_rows(bank, images, "top-k", 8)
    scores = (images @ F.normalize(torch.stack([texts.mean(dim=0) for texts in rows]), dim=1).T).double()
    plan = sinkhorn(scores).pseudo_labels
    labels = plan.argmax(dim=1)
    agreement, centred = text_agreement(images, rows, bank.names), scores - scores.mean(dim=0)
    links = nearest_rows(images, images, 10, themselves=True).index
    votes = F.one_hot(labels, len(bank))[links].sum(dim=1).argmax(dim=1)
    half = sinkhorn(scores[: len(scores) // 2]).pseudo_labels.argmax(dim=1)
    centres, mean = plan.T @ images.double() / plan.sum(dim=0)[:, None], images.double().mean(dim=0)
    between = plan.mean(dim=0) @ ((centres - mean) ** 2).sum(dim=1)
    single = {
        "names": agreement.names,
        "halves of the descriptions": agreement.halves,
        "neighbours": kappa(labels, votes),
        "class means of the other half": kappa(labels, _by_means(images, plan)),
        "plan of half the images": kappa(labels[: len(half)], half),
        "variance between classes": float(between / ((images.double() - mean) ** 2).sum(dim=1).mean()),
        "spread of the scores": float((centred - centred.mean(dim=1, keepdim=True)).std()),
    }
    return Looks(images, scores, plan, scores.argmax(dim=1), labels, single)


def _by_means(images: Tensor, plan: Tensor) -> Tensor:
    """Labels of each half of the images, by the nearest of the class means of the other half."""
    labels, x = torch.empty(len(images), dtype=torch.long), images.double()
    halves = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).chunk(2)
    for one, two in (halves, halves[::-1]):
        means = plan[one].T @ x[one] / plan[one].sum(dim=0)[:, None].clamp_min(1e-9)
        labels[two] = torch.cdist(x[two], means).argmin(dim=1)
    return labels


def kappa(first: Tensor, second: Tensor) -> float:
    """Cohen's κ of labels `[N]`; 0 where both know one class only."""
    return float(cohen_kappa_score(first, second)) if len(torch.cat([first, second]).unique()) > 1 else 0.0


def candidates(looks: list[Looks]) -> dict[str, np.ndarray]:
    """Scores of V encoders by every candidate, larger is better; without labels."""
    v, found = len(looks), {key: np.array([a.single[key] for a in looks]) for key in looks[0].single}
    total = sum(a.scores for a in looks)
    joint = sinkhorn(total / v).pseudo_labels
    without = [sinkhorn((total - a.scores) / (v - 1)).pseudo_labels.argmax(dim=1) for a in looks]
    table = np.array([[kappa(a.labels, b.labels) for b in looks] for a in looks])
    others, neighbours = (table.sum(axis=1) - table.diagonal()) / (v - 1), found["neighbours"]
    found["joint plan, labels"] = np.array([kappa(a.labels, joint.argmax(dim=1)) for a in looks])
    found["joint plan, text labels"] = np.array([kappa(a.text, joint.argmax(dim=1)) for a in looks])
    found["joint plan, its class means"] = np.array(
        [kappa(_by_means(a.images, joint), joint.argmax(dim=1)) for a in looks]
    )
    found["joint plan, labels + class means"] = (
        found["joint plan, labels"] + found["joint plan, its class means"]
    )
    found["joint plan of the others"] = np.array(
        [kappa(a.labels, b) for a, b in zip(looks, without, strict=True)]
    )
    found["others"] = others
    found["others, rank one"] = rank_one(table)
    found["others + neighbours"] = others + neighbours
    found["rank one x neighbours"] = found["others, rank one"] * neighbours
    found["others + class means"] = others + found["class means of the other half"]
    return found


def rank_one(table: np.ndarray) -> np.ndarray:
    """u of the rank-one matrix `u uᵀ` that the agreements off the diagonal come nearest to, by repeated fits of it."""
    table, diagonal = table.copy(), np.zeros(len(table))
    for _ in range(100):
        np.fill_diagonal(table, diagonal)
        values, vectors = np.linalg.eigh(table)
        u = vectors[:, -1] * np.sqrt(max(values[-1], 0))
        diagonal = u**2
    return u if u.sum() >= 0 else -u


def chosen(views: Mapping[str, View]) -> np.ndarray:
    """Places that `rank_encoders` gives, in the order of the views, the best the largest."""
    order = [row.name for row in rank_encoders(views).rows]
    return np.array([-order.index(name) for name in views])


def correlation(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's; 0 where all scores are equal."""
    return float(np.nan_to_num(spearmanr(scores, truth).statistic)) if np.ptp(scores) > 0 else 0.0


def measure(kind: str, data: Mapping, banks: Mapping, draws: int, rng: np.random.Generator) -> Iterator[dict]:
    """Rows of one set: a candidate, how near it comes to the truth, and whether a damaged encoder stands last."""
    sound = {(name, ""): (data["images"][name], banks[name][kind]) for name in ENCODERS}
    spoilt = {(name, damage): view for damage, name, view in damaged_views(data["images"], banks, kind, rng)}
    views = sound | spoilt
    looks = {key: look(*view) for key, view in views.items()}
    truth = {}
    for key, (x, bank) in views.items():
        methods = (create(RECOMMENDED), create("clip", text="top-k"))
        truth[key] = [100 * balanced_accuracy(m.fit_predict(x, bank), data["labels"]) for m in methods]
    damages = sorted({damage for _, damage in spoilt})

    def scored(keys: list) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        found = candidates([looks[key] for key in keys])
        found["rank_encoders"] = chosen({" / ".join(key): views[key] for key in keys})
        return found, *np.array([truth[key] for key in keys]).T

    alone, by_method, _ = scored(list(sound))
    among_sound = {name: correlation(scores, by_method) for name, scores in alone.items()}
    for _ in range(draws):
        drawn = [
            (ENCODERS[rng.integers(len(ENCODERS))], d) for d in rng.choice(damages, DAMAGED, replace=False)
        ]
        found, adapted, text = scored([*sound, *drawn])
        for name, scores in found.items():
            first = int(scores.argmax())
            yield {
                "score": name,
                "correlation": correlation(scores, adapted),
                "correlation with text alone": correlation(scores, text),
                "damaged last": scores.argmin() >= len(sound),
                "sound first": first < len(sound),
                "lost": adapted.max() - adapted[first],
                "sound alone": among_sound[name],
            }


def main(
    sets: Annotated[str, typer.Option(help="Phantom sets, by commas.")] = ",".join(PHANTOMS),
    seed: Annotated[int, typer.Option(help="Of the dev images.")] = 0,
    n: Annotated[int, typer.Option(help="Images of each set.")] = 1000,
    draws: Annotated[int, typer.Option(help="Of damaged encoders, for each set.")] = 20,
    out: Annotated[str | None, typer.Option(help="Table to write (.csv).")] = None,
) -> None:
    """Rank sound and damaged encoders of synthetic sets by every candidate; print the means by candidate and set."""

    if out is not None:
        check_writable(out)
    known, rows = encoders(), []
    banks = {
        name: {
            k: known[name].encode_knowledge(KnowledgeBase.load(f"phantom-{k}"), progress=False)
            for k in PHANTOMS
        }
        for name in ENCODERS
    }
    variants = [
        (k, scanner, balance)
        for k in sets.split(",")
        for scanner in ("seen", "unseen")
        for balance in ("even", "skewed")
    ]
    for number, (kind, scanner, balance) in enumerate(tqdm(variants, desc="encoder ranking", unit="set")):
        dataset = load_dataset(
            f"phantom-{kind}", scanner=scanner, balance=balance, n=n, seed=seed, split="dev"
        )
        found = {
            key: e.encode_images(dataset, cache=default_folder(), progress=False) for key, e in known.items()
        }
        data = {"images": {key: f.images for key, f in found.items()}, "labels": found[ENCODERS[0]].labels}
        rng = np.random.default_rng((seed, PHANTOMS.index(kind), number % 4))
        rows += [{"set": kind, "seed": seed, **row} for row in measure(kind, data, banks, draws, rng)]
    table = pd.DataFrame(rows).groupby(["set", "seed", "score"], sort=False).mean().reset_index()
    print(
        to_markdown(
            table.groupby("score")
            .mean(numeric_only=True)
            .drop(columns="seed")
            .sort_values("correlation")
            .round(3)
            .reset_index()
        )
    )
    if out is not None:
        with atomic_path(out) as path:
            table.round(4).to_csv(path, index=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except InputError as error:
        raise SystemExit(f"kpl: {error}") from None
