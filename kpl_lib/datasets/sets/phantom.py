"""Four synthetic datasets, rendered on demand: they mirror the paper's medical sets and hold no medical data.

`phantom-chest` (normal, tuberculosis), `phantom-retinopathy` (five grades), `phantom-malaria` (uninfected,
parasitized) and `phantom-cataract` (normal, cataract, glaucoma, retina disease).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from kpl_lib.common.code import code_checksum
from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.phantoms import cell, chest, fundus
from kpl_lib.phantoms.attributes import CLASSES, MODALITY, SKEWED, draw_class
from kpl_lib.phantoms.scanner import STYLES, acquire

NAMES = tuple(f"phantom-{task}" for task in CLASSES)
RENDER = {"chest": chest.render, "fundus": fundus.render, "cell": cell.render}
OPTIONS = {"scanner": STYLES, "balance": ("even", "skewed"), "split": ("dev", "test")}
_STREAM = {"dev": 1, "test": 2}  # dev and test images come from streams of random numbers that never meet


@dataclass(frozen=True)
class _Render:
    """Image i of a phantom dataset, drawn the same way every time.

    A class, so that data workers can carry it.
    """

    modality: str
    scanner: str
    findings: tuple[dict, ...]
    key: tuple[int, ...]

    def __call__(self, index: int) -> Image.Image:
        rng = np.random.default_rng((*self.key, 1, index))
        painted = RENDER[self.modality](self.findings[index], rng)
        return Image.fromarray(acquire(painted, self.scanner, rng, grey=self.modality == "chest"))


def load(
    name: str,
    *,
    scanner: str = "unseen",
    balance: str = "even",
    split: str = "test",
    n: int = 2000,
    seed: int = 0,
) -> ImageDataset:
    """Draw one of the four synthetic phantom datasets, labelled, 96 x 96 RGB; images are rendered when they are read.

    The findings of each image are drawn from its class, then painted, then photographed by the `scanner`. The same
    arguments give the same images on every machine (to rounding); image i does not depend on `n`.

    Args:
        scanner: `seen` is the style of the encoder's pretraining; `unseen` has less contrast, tint, noise,
            blur and motion.
        balance: `even` classes, or `skewed` ones with one common class and rare others.
        split: hyper-parameters are chosen on `dev`; `test` is for the reported figures.

    Raises:
        InputError: for an unknown name or option, or n < 1.
    """
    if name not in NAMES:
        raise InputError(f"unknown phantom dataset {name!r}; choose one of {', '.join(NAMES)}")
    for option, value in (("scanner", scanner), ("balance", balance), ("split", split)):
        if value not in OPTIONS[option]:
            raise InputError(f"{name}: {option}={value!r} is unknown; known: {', '.join(OPTIONS[option])}")
    if not isinstance(n, int) or n < 1 or not isinstance(seed, int) or seed < 0:
        raise InputError(f"{name}: n must be a whole number >= 1, seed one >= 0: n={n!r}, seed={seed!r}")
    task = name.removeprefix("phantom-")
    key = (_STREAM[split], NAMES.index(name), STYLES.index(scanner), OPTIONS["balance"].index(balance), seed)
    labels, findings = _draw(task, balance, n, key)
    paths = [f"{name}/{scanner}/{balance}/{split}/{seed}/{index:05d}" for index in range(n)]
    full = f"{name}/{scanner}/{balance}" + ("" if split == "test" else f"/{split}")
    read = _Render(MODALITY[task], scanner, findings, key)
    return ImageDataset(full, read, paths, CLASSES[task], labels, fingerprint=f"{key}/{n}/{_code()}")


@cache
def _code() -> str:
    """Checksum of the code that draws: a change of it makes other images."""
    return code_checksum(f"{__name__}._Render", f"{__name__}._draw")


def _draw(task, balance, n, key):
    names = CLASSES[task]
    shares = SKEWED[task] if balance == "skewed" else None
    labels, findings = [], []
    for index in range(n):
        rng = np.random.default_rng((*key, 0, index))
        label = int(rng.choice(len(names), p=shares)) if shares else index % len(names)
        labels.append(label)
        findings.append(draw_class(task, label, rng))
    return labels, tuple(findings)
