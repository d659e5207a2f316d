"""Acquisition: what the camera or scanner does to a painted phantom.

`seen` is the style of the pretraining images. `unseen` is another scanner: less contrast, a tint, more noise, blur,
shift, zoom and rotation. Only test and dev sets use it.
"""

from functools import partial

import numpy as np
from PIL import Image

from kpl_lib.phantoms.paint import SIZE, blur, unit

STYLES = ("seen", "unseen")
WHITE = np.float32(255)


def acquire(painted: np.ndarray, style: str, rng: np.random.Generator, grey: bool = False) -> np.ndarray:
    """Photograph `painted [S, S, 3]` (0 to 1) with the scanner `style`; `grey` ones get no tint.

    Args:
        painted: colours from 0 to 1, `[S, S, 3]`.
        style: `seen`, as the encoder was trained with, or `unseen`.
        rng: where chance comes from.
        grey: whether the image has no colour; its first channel is taken.

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
    pixels = _move(painted[..., :1] if grey else painted, turn, shift, zoom)
    develop = partial(_develop, gamma=gamma, contrast=contrast, middle=0.5 if style == "unseen" else 0.0)
    if softness > 0.25:
        seen = develop(unit(blur(pixels / WHITE, softness)))
    else:  # only 256 values: each is worked out once
        seen = develop(np.arange(256, dtype=np.float32) / WHITE).take(pixels)
    noise = rng.standard_normal(seen.shape, dtype=np.float32)
    noise *= grain
    if not grey:
        rows = seen.reshape(SIZE, -1)
        rows *= np.tile(tint.astype(np.float32), SIZE)
    seen += noise
    unit(seen)
    seen *= 255
    seen += 0.5
    return np.broadcast_to(seen.astype(np.uint8), (SIZE, SIZE, 3)).copy()


def _develop(light, gamma, contrast, middle):
    """Gamma, then contrast about a middle grey."""
    return middle + contrast * (light ** np.float32(gamma) - middle)


def _move(painted, turn, shift, zoom):
    """Rotate, shift and zoom about the middle; the margin repeats the edge, so no wedge tells the style."""
    pad = SIZE // 4
    planes = (np.clip(painted, 0, 1) * 255).astype(np.uint8).transpose(2, 0, 1)
    tall = planes.take(np.arange(-pad, SIZE + pad), 1, mode="clip")
    wide = np.empty((len(tall), SIZE + 2 * pad, SIZE + 2 * pad), np.uint8)
    wide[..., :pad], wide[..., pad:-pad], wide[..., -pad:] = tall[..., :1], tall, tall[..., -1:]
    cos, sin = np.cos(np.deg2rad(turn)) / zoom, np.sin(np.deg2rad(turn)) / zoom
    middle = SIZE / 2
    x0 = pad + middle - cos * middle - sin * middle + shift[0]
    y0 = pad + middle + sin * middle - cos * middle + shift[1]
    bands = [Image.fromarray(plane) for plane in wide]
    moved = (Image.merge("RGB", bands) if len(bands) == 3 else bands[0]).transform(
        (SIZE, SIZE), Image.Transform.AFFINE, (cos, sin, x0, -sin, cos, y0), Image.Resampling.BILINEAR
    )
    return np.asarray(moved).reshape(SIZE, SIZE, -1)
