"""The pretraining corpus: images of every kind with several captions each, drawn afresh from a seed."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np
from tqdm import tqdm

from kpl_lib.phantoms import cell, chest, everyday, fundus
from kpl_lib.phantoms.attributes import draw_free
from kpl_lib.phantoms.captions import caption
from kpl_lib.phantoms.phrases import pick
from kpl_lib.phantoms.scanner import acquire

SHARES = {"chest": 0.18, "fundus": 0.34, "cell": 0.18, "leaflet": 0.2, "shape": 0.06, "scene": 0.04}
#: Kind of image -> the function that paints it.
RENDER = {
    "chest": chest.render,
    "fundus": fundus.render,
    "cell": cell.render,
    "leaflet": everyday.render_leaflet,
    "shape": everyday.render_shape,
    "scene": everyday.render_scene,
}


@dataclass(frozen=True)
class Corpus:
    """Pictures with their captions.

    Args:
        images: uint8 `[N, S, S, 3]`.
        captions: N tuples of sentences.
        kinds: N names.

    Chapter: ch-zero-shot
    """

    images: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]


def draw(kind: str, rng: np.random.Generator) -> dict:
    """Draw what a corpus image of `kind` shows. Scans: findings independent of any disease.

    Args:
        kind: a key of `RENDER`.
        rng: where chance comes from.

    Returns:
        What the image is to show.

    Chapter: ch-zero-shot
    """
    if kind == "leaflet":
        return {"topic": pick(everyday.TOPICS, rng), "kind": pick(everyday.KINDS, rng)}
    if kind == "shape":
        colour, ground = rng.choice(list(everyday.COLOURS), 2, replace=False)
        return {"shape": pick(everyday.SHAPES, rng), "colour": str(colour), "ground": str(ground)}
    if kind == "scene":
        return {"thing": pick(everyday.SCENES, rng), "time": pick(("day", "night"), rng)}
    return draw_free(kind, rng)


def _one(seed: int, captions: int, index: int) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Image, captions and kind of one item."""
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    findings = draw(kind, rng)
    image = acquire(RENDER[kind](findings, rng), "seen", rng, grey=kind == "chest")
    return image, tuple(caption(kind, findings, rng) for _ in range(captions)), kind


def make_corpus(n: int, seed: int, captions: int = 6, workers: int = 2, progress: bool = True) -> Corpus:
    """Draw `n` images with `captions` sentences each.

    Image i depends on `(seed, i)` alone, not on `n` or `workers`.

    Args:
        n: images.
        seed: the same seed gives the same corpus.
        captions: of each image.
        workers: processes that draw.
        progress: show a bar.

    Returns:
        The corpus.

    Chapter: ch-zero-shot
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        drawn = pool.map(partial(_one, seed, captions), range(n), chunksize=250)
        images, texts, kinds = zip(*tqdm(drawn, total=n, desc="corpus", disable=not progress), strict=True)
    return Corpus(np.stack(images), texts, kinds)
