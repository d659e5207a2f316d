"""Synthetic chest radiographs: lungs, heart, ribs, and the findings of tuberculosis screening."""

from functools import cache

import numpy as np

from kpl_lib.phantoms.paint import (
    blend,
    curve,
    ellipse,
    ellipses,
    grid,
    polygon,
    ring,
    sheet,
    spot,
    strokes,
    texture,
    unit,
)
from kpl_lib.phantoms.phrases import pick

SIDES = {"right": -1, "left": 1}  # the patient's right lung is on the viewer's left
ZONES = {"upper": -0.42, "middle": -0.02, "lower": 0.34}


def render(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint one frontal chest radiograph `[S, S, 3]` that shows `findings` (see `attributes.detail`).

    Args:
        findings: what it shows.
        rng: where chance comes from; the same state gives the same image.

    Returns:
        Colours from 0 to 1.

    Chapter: ch-own-images
    """
    build = 1 + 0.06 * rng.standard_normal()
    flat = 0.07 if "hyperinflation" in findings else 0.0
    image = sheet((0.04,))
    blend(image, _body(rng), (0.55 + 0.05 * rng.standard_normal(),))
    lungs = _lungs(build, flat, rng)
    image -= (0.34 + 0.03 * rng.standard_normal()) * lungs[..., None]
    image += 0.02 * (lungs * texture(rng, 16))[..., None]
    _markings(image, lungs, rng)
    _ribs(image, rng)
    _mediastinum(image, findings, rng)
    for name, paint in _FINDINGS.items():
        if name in findings:
            paint(image, findings[name], lungs, rng)
    return np.stack([unit(image[..., 0])] * 3).transpose(1, 2, 0)


def _body(rng):
    waist, neck = 0.95 + 0.04 * rng.standard_normal(), 0.26
    outline = [
        (-neck, -1),
        (-neck, -0.86),
        (-0.98, -0.62),
        (-waist, 1),
        (waist, 1),
        (0.98, -0.62),
        (neck, -0.86),
        (neck, -1),
    ]
    return polygon(outline, softness=0.05)


def _lungs(build, flat, rng):
    outlines = []
    for side in (-1, 1):
        base = 0.5 + flat + (0.05 if side > 0 else 0) + 0.02 * rng.standard_normal()
        inner = 0.16 if side < 0 else 0.2
        outline = [
            (0.3, -0.78),
            (0.5, -0.7),
            (0.66, -0.35),
            (0.76, 0.1),
            (0.78, base + 0.1),
            (0.62, base - 0.06 + flat),
            (0.42, base - 0.1 + flat),
            (inner + 0.06, base - 0.02),
            (inner, 0.1),
            (inner, -0.4),
            (0.2, -0.72),
        ]
        outlines.append([(side * x * build, y) for x, y in outline])
    return polygon(*outlines, softness=0.035)


def _markings(image, lungs, rng):
    lines = []
    for side in (-1, 1):
        for _ in range(5):
            angle = rng.uniform(-1.3, 1.3)
            end = (side * (0.2 + 0.42 * np.cos(angle)), 0.02 + 0.5 * np.sin(angle))
            lines.append((curve((side * 0.16, 0.0), end, rng.uniform(-0.15, 0.15), 6), 0.022))
    image += (0.08 * lungs * strokes(lines, sigma=0.6))[..., None]


def _ribs(image, rng):
    shift = rng.uniform(-0.04, 0.04)
    lines = []
    for row in range(7):
        y = -0.72 + 0.19 * row + shift
        for side in (-1, 1):
            lines.append((curve((side * 0.14, y), (side * 0.8, y + 0.2), -0.16 * side), 0.035))
    image += (rng.uniform(0.05, 0.09) * strokes(lines))[..., None]
    image += _collar_bones()


def _mediastinum(image, findings, rng):
    size = rng.uniform(1.3, 1.5) if "large_heart" in findings else rng.uniform(0.9, 1.05)
    bright = (0.68 + 0.03 * rng.standard_normal(),)
    apex = 0.18 + 0.3 * size
    heart = polygon(
        [
            (-0.1, -0.2),
            (-0.2 * size, 0.12),
            (-0.24 * size, 0.34),
            (-0.12, 0.52),
            (0.2, 0.56),
            (apex, 0.52),
            (apex + 0.03, 0.4),
            (apex - 0.1, 0.18),
            (0.22, -0.02),
            (0.14, -0.22),
            (0.19, -0.34),
            (0.1, -0.42),
        ],
        softness=0.045,
    )
    blend(image, np.maximum(_spine(), heart), bright, 0.85)
    blend(image, _windpipe(), (0.4,), 0.7)


@cache
def _collar_bones():
    collar = [(curve((s * 0.1, -0.66), (s * 0.8, -0.8), 0.06 * s), 0.055) for s in (-1, 1)]
    return (0.11 * strokes(collar))[..., None]


@cache
def _spine():
    outline = [(-0.13, -0.9), (0.13, -0.9), (0.17, 0.5), (0.2, 1), (-0.2, 1), (-0.17, 0.5)]
    return polygon(outline, softness=0.04)


@cache
def _windpipe():
    return polygon([(-0.05, -1), (0.05, -1), (0.05, -0.4), (-0.05, -0.4)], softness=0.03)


def _opacity(image, value, lungs, rng):
    side, y = SIDES[value["side"]], ZONES[value["zone"]]
    cloud = np.zeros_like(lungs)
    for _ in range(5):
        window, mask = ellipse(
            side * 0.46 + rng.normal(0, 0.1),
            y + rng.normal(0, 0.09),
            rng.uniform(0.1, 0.2),
            rng.uniform(0.08, 0.16),
            soft=0.9,
        )
        cloud[window] = np.maximum(cloud[window], mask)
    image += (rng.uniform(0.26, 0.36) * cloud * (0.3 + 0.7 * lungs) * (1 + 0.15 * texture(rng, 12)))[
        ..., None
    ]


def _cavity(image, value, lungs, rng):
    x, y = SIDES[value["side"]] * 0.45 + rng.normal(0, 0.06), ZONES[value["zone"]] + rng.normal(0, 0.05)
    radius = rng.uniform(0.14, 0.2)
    spot(image, x, y, radius * 0.85, colour=(0.1,), opacity=0.7, soft=0.3)
    ring(image, x, y, radius, 0.06, (0.72,), 0.85, stretch=rng.uniform(0.85, 1.15))


def _miliary(image, value, lungs, rng):
    dots = np.zeros_like(lungs)
    places = rng.uniform((-0.75, -0.7), (0.75, 0.55), (130, 2)).T
    for window, mask in ellipses(*places, 0.026, 0.026, soft=0.5):
        dots[window] = np.maximum(dots[window], mask)
    image += (0.3 * dots * lungs)[..., None]


def _fibrosis(image, value, lungs, rng):
    side = SIDES[value["side"]]
    start = (side * 0.18, -0.12)
    lines = [
        (
            curve(start, (side * rng.uniform(0.3, 0.68), rng.uniform(-0.72, -0.25)), rng.normal(0, 0.12), 6),
            0.035,
        )
        for _ in range(8)
    ]
    image += (0.36 * strokes(lines))[..., None]


def _effusion(image, value, lungs, rng):
    side, top = SIDES[value["side"]], rng.uniform(0.0, 0.25)
    xx, yy = grid()
    level = (
        top
        + 0.25 * (1 - np.clip(np.abs(xx) / 0.75, 0, 1)) ** 2
        - 0.2 * np.clip((np.abs(xx) - 0.55) / 0.2, 0, 1)
    )
    fluid = (
        np.clip((yy - level) / 0.06, 0, 1) * (np.sign(xx) == side) * np.clip((np.abs(xx) - 0.16) / 0.08, 0, 1)
    )
    fluid = fluid * np.clip((0.84 - np.abs(xx)) / 0.06, 0, 1)
    blend(image, fluid.astype(np.float32), (0.7,), 0.9)


def _hilar(image, value, lungs, rng):
    for side in (-1, 1):
        for _ in range(3):
            spot(
                image,
                side * rng.uniform(0.2, 0.32),
                rng.uniform(-0.22, 0.06),
                rng.uniform(0.08, 0.12),
                colour=(0.72,),
                opacity=0.75,
                soft=0.5,
            )


def _pacemaker(image, value, lungs, rng):
    x, y = 0.56 + rng.normal(0, 0.03), -0.52 + rng.normal(0, 0.03)
    spot(image, x, y, 0.12, 0.1, (0.98,), 1.0, soft=0.08)
    blend(image, strokes([(curve((x, y), (0.12, 0.38), 0.3), 0.03)]), (0.95,), 0.9)


def _nodule(image, value, lungs, rng):
    spot(
        image,
        np.float64(pick((-1, 1), rng) * rng.uniform(0.35, 0.6)),
        rng.uniform(-0.4, 0.3),
        0.04,
        colour=(0.85,),
        opacity=0.8,
    )


_FINDINGS = {
    "opacity": _opacity,
    "miliary": _miliary,
    "fibrosis": _fibrosis,
    "cavity": _cavity,
    "effusion": _effusion,
    "hilar_nodes": _hilar,
    "pacemaker": _pacemaker,
    "granuloma": _nodule,
}
