"""A folder of small images with a knowledge base and a tiny encoder: what your own images look like to the library."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

KNOWLEDGE = {
    "name": "pets",
    "origin": "written for a test; not reviewed by a clinician",
    "classes": {
        "house cat": {"descriptions": ["whiskers", "a long tail", "slit pupils"]},
        "dog": {"descriptions": ["a wet nose", "floppy ears", "a wagging tail"]},
    },
}


def write_images(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """Write images of two kinds, dark and bright, two a patient: `p00_00.png`, `p00_01.png`, ..."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        level = (60, 180)[i // 2 % 2]
        pixels = rng.integers(level - 40, level + 40, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{i // 2:02d}_{i:02d}.png")
    return folder


def write_knowledge(path: Path) -> Path:
    """Write the knowledge base; return its path."""
    path.write_text(json.dumps(KNOWLEDGE))
    return path


def write_table(path: Path, images: Path, column: str, value) -> Path:
    """Write `path,column`, one row an image, names relative to the folder."""
    names = sorted(file.name for file in images.iterdir())
    path.write_text(f"path,{column}\n" + "".join(f"{name},{value(i)}\n" for i, name in enumerate(names)))
    return path
