"""Lines to compare with that use labels: a linear probe on a few labelled images, and the class means themselves."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from kpl_lib.common.checks import check_count, check_positive, check_same_space
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features
from kpl_lib.prediction import Prediction

TEMPERATURE = 0.01


def linear_probe(
    test: Features,
    pool: Features | None,
    *,
    shots: int = 16,
    draws: int = 5,
    strength: float = 100.0,
    seed: int = 0,
) -> list[Prediction]:
    """What training would give: logistic regression on a few labelled images of each class.

    `min_W ‖W‖²/2 + strength * sum_i -log softmax(W x_i + b)_{label_i}` over `shots` images a class, drawn from
    the pool.

    Args:
        test: the N images to predict; their labels are not read.
        pool: labelled images that are not among them.
        shots: labelled images a class.
        draws: how often they are drawn; one prediction each.
        strength: weight of the data against the penalty. It was fixed on dev images.
        seed: of the draws.

    Returns:
        One prediction a draw.

    Raises:
        InputError: without a labelled pool of the same classes and encoder, or with too few images in it.

    Example:
        >>> pool = Features(torch.eye(2).repeat(3, 1), [0, 1] * 3, ("cat", "dog"))
        >>> linear_probe(pool, pool, shots=1, draws=1)[0].labels.tolist()
        [0, 1, 0, 1, 0, 1]

    Source: Radford et al. 2021, arXiv 2103.00020, section 3.2.
    Chapter: ch-benchmark
    """
    for count, name in ((shots, "shots"), (draws, "draws")):
        check_count(count, name)
    check_positive(strength, "strength")
    pool = _checked(pool, test, "linear-probe")
    x, labels = pool.images.cpu().double().numpy(), pool.labels.cpu().numpy()
    rows = [np.flatnonzero(labels == c) for c in range(len(pool.class_names))]
    short = [
        f"{name!r} has {len(r)}" for name, r in zip(pool.class_names, rows, strict=True) if len(r) < shots
    ]
    if short:
        raise InputError(f"linear-probe: {shots} shots, but {', '.join(short)}; give a larger pool")
    found = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        used = np.concatenate([rng.choice(r, shots, replace=False) for r in rows])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)  # a fit that has not converged is no reference
            model = LogisticRegression(C=strength, max_iter=5000).fit(x[used], labels[used])
        p = (
            torch.from_numpy(model.predict_proba(test.images.cpu().double().numpy()))
            .float()
            .to(test.images.device)
        )
        found.append(Prediction(p, p, p.argmax(dim=1), test.class_names))
    return found


def class_means(test: Features, pool: Features | None = None, *, seed: int = 0) -> list[Prediction]:
    """The oracle of all one-proxy methods: each class's proxy is the mean of its own images.

    `T_c = normalize(mean_{i in c} x_i)`, `P = softmax(X Tᵀ / 0.01)`. It reads the labels that it is judged by, so
    it is a line to look at, and no result.

    Args:
        test: N images with labels.
        pool, seed: not used.

    Returns:
        One prediction.

    Raises:
        InputError: without labels, or with a class without images.

    Example:
        >>> class_means(Features(torch.eye(2), [0, 1], ("cat", "dog")))[0].labels.tolist()
        [0, 1]

    Chapter: ch-benchmark
    """
    if test.labels is None:
        raise InputError("class-means: labels are missing; it needs the true classes")
    counts = torch.bincount(test.labels, minlength=len(test.class_names))
    if int(counts.min()) == 0:
        empty = test.class_names[int(counts.argmin())]
        raise InputError(f"class-means: class {empty!r} has no image; leave the oracle out")
    sums = torch.zeros(len(counts), test.images.shape[1], device=test.images.device)
    sums.index_add_(0, test.labels, test.images)
    scores = test.images @ torch.nn.functional.normalize(sums, dim=1).T
    return [Prediction((scores / TEMPERATURE).softmax(dim=1), scores, scores.argmax(dim=1), test.class_names)]


def _checked(pool: Features | None, test: Features, name: str) -> Features:
    if pool is None or pool.labels is None:
        raise InputError(f"{name}: it needs labelled images; name a 'pool' for the dataset in the grid")
    if pool.class_names != test.class_names:
        raise InputError(f"{name}: the pool has other classes than the images; name the right pool")
    check_same_space(pool.images, test.images.to(pool.images.device), f"{name} pool")
    return pool


REFERENCES: dict[str, Callable[..., list[Prediction]]] = {
    "linear-probe": linear_probe,
    "class-means": class_means,
}
