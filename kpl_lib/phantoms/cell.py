"""Synthetic blood-smear crops: one red cell on black, with or without malaria parasites."""

import numpy as np

from kpl_lib.phantoms.paint import (
    blend,
    curve,
    grid,
    polygon,
    ring,
    sheet,
    spot,
    spots,
    strokes,
    texture,
    unit,
)
from kpl_lib.phantoms.phrases import pick

PURPLE = np.array((0.36, 0.16, 0.5), np.float32)
BROWN = np.array((0.25, 0.15, 0.08), np.float32)
ANGLES = np.linspace(0, 2 * np.pi, 72, endpoint=False)


def render(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint one stained red cell `[S, S, 3]` that shows `findings` (see `attributes.detail`).

    Args:
        findings: what it shows.
        rng: where chance comes from; the same state gives the same image.

    Returns:
        Colours from 0 to 1.

    Chapter: ch-own-images
    """
    image = sheet((0.015,) * 3)
    stain = np.array((0.82, 0.56, 0.62), np.float32) + rng.normal(0, 0.035, 3).astype(np.float32)
    if "pale_stain" in findings:
        stain = np.array((0.82, 0.76, 0.74), np.float32) + rng.normal(0, 0.02, 3).astype(np.float32)
    radius = rng.uniform(0.68, 0.78) * (1.12 if "swollen" in findings else 1.0)
    body = _outline(radius, findings, rng)
    blend(image, body, stain)
    image *= 1 + 0.035 * (texture(rng, 14) * body)[..., None]
    if "central_pallor" in findings:
        spot(image, 0, 0, radius * 0.48, colour=np.minimum(stain + 0.17, 1), opacity=0.85, soft=0.7)
    for name, paint in _FINDINGS.items():
        if name in findings:
            paint(image, findings[name], radius, rng)
    return unit(image)


def _outline(radius, findings, rng):
    stretch, turn = rng.uniform(0.82, 1.0), rng.uniform(0, np.pi)
    shape = radius * (1 + 0.025 * np.sin(2 * ANGLES + turn) + 0.02 * np.sin(3 * ANGLES - turn))
    if "crenation" in findings:
        shape = shape * (1 + 0.065 * np.sin(13 * ANGLES + turn))
    x, y = shape * np.cos(ANGLES), stretch * shape * np.sin(ANGLES)
    cos, sin = np.cos(turn), np.sin(turn)
    return polygon(np.stack((x * cos - y * sin, x * sin + y * cos), axis=1), softness=0.012)


def _inside(radius, rng, reach=0.58, count=()):
    angle, area = rng.uniform((0, 0.05), (2 * np.pi, 1), (*count, 2)).T
    distance = radius * reach * np.sqrt(area)
    return distance * np.cos(angle), distance * np.sin(angle)


def _rings(image, count, radius, rng):
    for _ in range(count):
        x, y = _inside(radius, rng)
        size, angle = rng.uniform(0.11, 0.16), rng.uniform(0, 2 * np.pi)
        ring(image, x, y, size, 0.045, PURPLE, 0.75, stretch=rng.uniform(0.8, 1.1), angle=angle)
        spot(
            image,
            x + size * 0.9 * np.cos(angle),
            y + size * 0.9 * np.sin(angle),
            0.055,
            colour=(0.42, 0.06, 0.3),
            opacity=0.95,
        )


def _trophozoite(image, value, radius, rng):
    x, y = _inside(radius, rng, 0.4)
    lumps = [(x + rng.normal(0, 0.09), y + rng.normal(0, 0.09), rng.uniform(0.06, 0.12)) for _ in range(6)]
    spots(image, *np.transpose(lumps), colour=PURPLE, opacity=0.6, soft=0.5)


def _schizont(image, value, radius, rng):
    x, y = _inside(radius, rng, 0.25)
    angle, reach = np.linspace(0, 2 * np.pi, 9, endpoint=False), 0.2 + rng.normal(0, 0.02, 9)
    spots(image, x + reach * np.cos(angle), y + reach * np.sin(angle), 0.065, colour=PURPLE, opacity=0.9)
    spot(image, x, y, 0.07, colour=BROWN, opacity=0.9)


def _gametocyte(image, value, radius, rng):
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = 0.42 * np.cos(angle), 0.42 * np.sin(angle)
    blend(image, strokes([(curve((-dx, -dy), (dx, dy), 0.3 * pick((-1, 1), rng), 14), 0.17)]), PURPLE, 0.75)


def _pigment(image, value, radius, rng):
    x, y = _inside(radius, rng, 0.4)
    dx, dy = rng.normal(0, 0.07, (8, 2)).T
    spots(image, x + dx, y + dy, 0.028, colour=BROWN, opacity=0.9)


def _stippling(image, value, radius, rng):
    spots(image, *_inside(radius, rng, 0.85, (38,)), 0.022, colour=(0.62, 0.2, 0.4), opacity=0.75)


def _platelet(image, value, radius, rng):
    angle = rng.uniform(0, 2 * np.pi)
    reach = radius + 0.1
    spot(
        image,
        reach * np.cos(angle),
        reach * np.sin(angle),
        0.08,
        colour=(0.5, 0.36, 0.62),
        opacity=0.9,
        soft=0.5,
    )


def _debris(image, value, radius, rng):
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(3):
        x, y = radius * np.cos(angle) + rng.normal(0, 0.04), radius * np.sin(angle) + rng.normal(0, 0.04)
        spot(image, x, y, 0.04, colour=(0.1, 0.08, 0.1), opacity=0.9, soft=0.1)


def _bite(image, value, radius, rng):
    angle = rng.uniform(0, 2 * np.pi)
    xx, yy = grid()
    cut = np.clip((xx * np.cos(angle) + yy * np.sin(angle) - radius * 0.78) / 0.03, 0, 1)
    blend(image, cut.astype(np.float32), (0.015,) * 3, 1.0)


_FINDINGS = {
    "stippling": _stippling,
    "ring_forms": _rings,
    "trophozoite": _trophozoite,
    "schizont": _schizont,
    "gametocyte": _gametocyte,
    "pigment": _pigment,
    "platelet": _platelet,
    "debris": _debris,
    "bite": _bite,
}
