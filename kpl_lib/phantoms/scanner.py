"""Acquisition: what the camera or scanner does to a painted phantom.

`seen` is the style of the pretraining images. `unseen` is another scanner: less contrast, a tint, more noise, blur,
shift, zoom and rotation. Only test and dev sets use it.
"""

import numpy as np
from PIL import Image

from kpl_lib.phantoms.paint import SIZE, blur

STYLES = ("seen", "unseen")


def acquire(painted: np.ndarray, style: str, rng: np.random.Generator, grey: bool = False) -> np.ndarray:
    """Photograph `painted [S, S, 3]` (0 to 1) with the scanner `style`; `grey` ones get no tint.

    Args:
        painted: colours from 0 to 1, `[S, S, 3]`.
        style: `seen`, as the encoder was trained with, or `unseen`.
        rng: where chance comes from.
        grey: whether the image has no colour.

    Returns:
        The photograph, uint8 `[S, S, 3]`.

    Chapter: ch-own-images
    """
    if style == "seen":
        turn, shift, zoom = rng.normal(0, 3), rng.normal(0, 1.5, 2), rng.normal(1, 0.03)
        contrast, tint, gamma = rng.normal(1, 0.06), rng.normal(1, 0.02, 3), rng.normal(1, 0.06)
        softness, grain = abs(rng.normal(0, 0.35)), rng.uniform(0.005, 0.02)
    else:
        turn, shift, zoom = rng.normal(0, 6), rng.normal(0, 2.5, 2), rng.normal(0.98, 0.05)
        contrast, tint, gamma = (
            rng.uniform(0.65, 0.92),
            rng.normal((0.98, 1.0, 1.03), 0.035),
            rng.uniform(0.85, 1.15),
        )
        softness, grain = rng.uniform(0.1, 0.7), rng.uniform(0.012, 0.035)
    moved = _move(painted, turn, shift, zoom)
    if softness > 0.25:
        moved = blur(moved, softness)
    moved = np.clip(moved, 0, 1) ** np.float32(gamma)
    moved = 0.5 + contrast * (moved - 0.5) if style == "unseen" else moved * contrast
    noise = grain * rng.standard_normal((SIZE, SIZE, 1 if grey else 3), dtype=np.float32)
    moved = moved * (np.float32(1) if grey else tint.astype(np.float32)) + noise
    return (np.clip(moved, 0, 1) * 255 + 0.5).astype(np.uint8)


def _move(painted, turn, shift, zoom):
    """Rotate, shift and zoom about the middle; the margin repeats the edge, so no wedge tells the style."""
    pad = SIZE // 4
    wide = np.pad(
        (np.clip(painted, 0, 1) * 255).astype(np.uint8), ((pad, pad), (pad, pad), (0, 0)), mode="edge"
    )
    cos, sin = np.cos(np.deg2rad(turn)) / zoom, np.sin(np.deg2rad(turn)) / zoom
    middle = SIZE / 2
    x0 = pad + middle - cos * middle - sin * middle + shift[0]
    y0 = pad + middle + sin * middle - cos * middle + shift[1]
    moved = Image.fromarray(wide).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, (cos, sin, x0, -sin, cos, y0), Image.Resampling.BILINEAR
    )
    return np.asarray(moved, dtype=np.float32) / 255
