"""Synthetic colour fundus photographs: disc, vessels, and the signs of diabetic and other disease."""

from functools import cache

import numpy as np

from kpl_lib.phantoms.paint import (
    SIZE,
    blend,
    blur,
    curve,
    ellipse,
    grid,
    polygon,
    sheet,
    spot,
    spots,
    strokes,
    texture,
    unit,
)
from kpl_lib.phantoms.phrases import pick

BLOOD = np.array((0.36, 0.05, 0.03), np.float32)
YELLOW = np.array((0.98, 0.88, 0.45), np.float32)
WHITE = np.array((0.95, 0.9, 0.8), np.float32)


def render(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint one fundus photograph `[S, S, 3]` that shows `findings` (see `attributes.detail`).

    Args:
        findings: what it shows.
        rng: where chance comes from; the same state gives the same image.

    Returns:
        Colours from 0 to 1.

    Chapter: ch-own-images
    """
    side = pick((-1, 1), rng)
    disc = (np.float64(side * rng.uniform(0.42, 0.52)), rng.uniform(-0.08, 0.08))
    macula = (np.float64(-side * rng.uniform(0.08, 0.18)), rng.uniform(0.0, 0.1))
    scene = {"side": side, "disc": disc, "macula": macula}
    image = _retina(findings, rng)
    spot(image, *macula, 0.2, colour=image[SIZE // 2, SIZE // 2] * 0.62, opacity=0.6, soft=0.9)
    _disc(image, disc, findings, rng)
    _vessels(image, scene, findings, rng)
    for name, paint in _FINDINGS.items():
        if name in findings:
            paint(image, findings[name], scene, rng)
    if "haze" in findings:
        image = _veil(image, findings["haze"], rng)
    image *= _aperture()
    return unit(image)


@cache
def _aperture():
    return np.clip((0.94 - np.sqrt(_square())) / 0.03, 0, 1)[..., None].astype(np.float32)


@cache
def _square():
    xx, yy = grid()
    return xx**2 + yy**2


def _retina(findings, rng):
    xx, yy = grid()
    tone = np.array((0.8, 0.36, 0.15), np.float32) + rng.normal(0, (0.04, 0.03, 0.02)).astype(np.float32)
    if "pale_fundus" in findings:
        tone = np.array((0.88, 0.58, 0.34), np.float32) + rng.normal(0, 0.02, 3).astype(np.float32)
    glow = 1 - 0.3 * _square() + 0.08 * (xx * rng.normal() + yy * rng.normal())
    image = sheet(tone)
    image *= glow[..., None]
    if "tigroid" in findings:
        image *= 1 - 0.16 * np.clip(texture(rng, 11), -1, 1.5)[..., None]
    image *= (1 + 0.02 * texture(rng, 20))[..., None]
    return image


def _disc(image, disc, findings, rng):
    cup = findings.get("cupping", {"ratio": rng.uniform(0.25, 0.4)})["ratio"]
    radius = rng.uniform(0.15, 0.175)
    spot(image, *disc, radius * 1.05, radius * 1.12, (0.96, 0.68, 0.36), 1.0, soft=0.18)
    if "cupping" in findings:
        spot(image, *disc, radius * cup, radius * cup * 1.05, (1.0, 0.98, 0.86), 1.0, soft=0.15)
    else:
        spot(image, *disc, radius * cup, colour=(1.0, 0.88, 0.62), opacity=0.9, soft=0.4)


def _arcades(scene, rng):
    (x, y), side = scene["disc"], scene["side"]
    for up in (-1, 1):
        reach = (-side * rng.uniform(0.3, 0.5), up * rng.uniform(0.58, 0.7))
        yield curve((x, y), reach, up * side * rng.uniform(0.22, 0.3), 12), 0.042
        yield curve((x, y), (x + side * 0.3, up * rng.uniform(0.45, 0.65)), -up * side * 0.12, 8), 0.03


def _vessels(image, scene, findings, rng):
    veins, lines = [], []
    for trunk, width in _arcades(scene, rng):
        veins.append(trunk)
        lines.append((trunk, width))
        for at in (4, 6, 8):
            if at < len(trunk) - 1:
                x, y = trunk[at]
                end = (
                    x + rng.normal(-0.12 * scene["side"], 0.12),
                    y + rng.uniform(0.15, 0.3) * pick((-1, 1), rng),
                )
                lines.append((curve((x, y), end, rng.normal(0, 0.1), 5), 0.022))
    lines.append((curve(scene["disc"], (scene["macula"][0] + 0.1 * scene["side"], 0.25), 0.1, 6), 0.02))
    blend(image, strokes(lines), (0.5, 0.1, 0.07), 0.85)
    if "beading" in findings:
        for trunk in veins:
            spots(image, *np.transpose(trunk[2::2]), 0.05, colour=(0.45, 0.06, 0.05), opacity=0.95)


def _anywhere(rng, reach=0.72, count=()):
    angle, area = rng.uniform((0, 0.03), (2 * np.pi, 1), (*count, 2)).T
    distance = reach * np.sqrt(area)
    return distance * np.cos(angle), distance * np.sin(angle)


def _microaneurysms(image, value, scene, rng):
    places = _anywhere(rng, 0.6, (value["count"],))
    spots(image, *places, 0.026, colour=(0.5, 0.02, 0.02), opacity=1.0, soft=0.4)


def _haemorrhages(image, value, scene, rng):
    low, high = (0, 0.03, 0.05, 0.035, 0), (2 * np.pi, 1, 0.085, 0.06, np.pi)
    angle, area, rx, ry, turn = rng.uniform(low, high, (value["count"], 5)).T
    distance = 0.72 * np.sqrt(area)
    spots(image, distance * np.cos(angle), distance * np.sin(angle), rx, ry, BLOOD, 0.92, turn, 0.5)


def _exudates(image, value, scene, rng):
    cx, cy = scene["macula"][0] + rng.normal(0, 0.1), scene["macula"][1] + rng.normal(0, 0.1)
    low, high = (0, 0.16, 0.02), (2 * np.pi, 0.32, 0.035)
    angle, reach, radius = rng.uniform(low, high, (rng.integers(12, 20), 3)).T
    x, y = cx + reach * np.cos(angle), cy + reach * np.sin(angle)
    spots(image, x, y, radius, colour=YELLOW, opacity=1.0, soft=0.2)


def _cotton_wool(image, value, scene, rng):
    tufts = []
    for _ in range(rng.integers(3, 6)):
        x, y = _anywhere(rng, 0.62)
        for _ in range(3):
            place = x + rng.normal(0, 0.03), y + rng.normal(0, 0.03)
            tufts.append((*place, rng.uniform(0.06, 0.09), rng.uniform(0, 3)))
    x, y, radius, turn = np.transpose(tufts)
    spots(image, x, y, radius, 0.055, WHITE, 0.7, turn, 0.9)


def _new_vessels(image, value, scene, rng):
    x, y = scene["disc"] if value["at"] == "disc" else _anywhere(rng, 0.45)
    lines = []
    for angle in np.linspace(0, 2 * np.pi, 15, endpoint=False):
        reach = rng.uniform(0.18, 0.32)
        end = (x + reach * np.cos(angle), y + reach * np.sin(angle))
        lines.append((curve((x, y), end, pick((-1, 1), rng) * 0.45, 8), 0.018))
    blend(image, strokes(lines), (0.62, 0.02, 0.05), 0.95)


def _preretinal(image, value, scene, rng):
    x, y, radius = rng.normal(0, 0.15), rng.uniform(0.15, 0.35), rng.uniform(0.24, 0.32)
    window, mask = ellipse(x, y, radius, radius * 0.9, soft=0.06)
    below = np.clip((grid()[1][window[0]] - y) / 0.03, 0, 1)  # blood settles under a level top
    blend(image, mask * below, (0.32, 0.02, 0.02), 0.97, window)


def _fibrous(image, value, scene, rng):
    start = scene["disc"]
    lines = [
        (curve(start, _anywhere(rng, 0.75), rng.normal(0, 0.2), 8), rng.uniform(0.05, 0.08)) for _ in range(4)
    ]
    blend(image, strokes(lines, sigma=1.0), (0.86, 0.85, 0.8), 0.85)


def _drusen(image, value, scene, rng):
    x, y = scene["macula"]
    drops = [
        (x + rng.normal(0, 0.17), y + rng.normal(0, 0.15), rng.uniform(0.03, 0.05))
        for _ in range(rng.integers(22, 32))
    ]
    x, y, radius = np.transpose(drops)
    spots(image, x, y.astype(np.float32), radius, colour=(0.97, 0.78, 0.42), opacity=0.85, soft=0.7)


def _scar(image, value, scene, rng):
    x, y = scene["macula"]
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    reach = rng.uniform(0.2, 0.28) * (1 + 0.18 * rng.standard_normal(20))
    patch = polygon(np.stack((x + reach * np.cos(angles), y + reach * np.sin(angles)), axis=1), softness=0.02)
    blend(image, patch, (0.95, 0.83, 0.6), 0.9)
    for _ in range(7):
        spot(
            image,
            x + rng.normal(0, 0.14),
            y + rng.normal(0, 0.14),
            rng.uniform(0.03, 0.06),
            colour=(0.12, 0.07, 0.05),
            opacity=0.85,
        )


def _detachment(image, value, scene, rng):
    turn = rng.uniform(0, 2 * np.pi)
    xx, yy = grid()
    along, across = xx * np.cos(turn) + yy * np.sin(turn), yy * np.cos(turn) - xx * np.sin(turn)
    edge = 0.18 + 0.1 * np.sin(4 * across + turn)
    raised = np.clip((along - edge) / 0.12, 0, 1)
    folds = 0.5 + 0.5 * np.sin(22 * along + 5 * np.sin(3.5 * across + turn))
    grey = np.stack([0.52 + 0.14 * folds, 0.5 + 0.12 * folds, 0.47 + 0.11 * folds], axis=-1)
    image += (0.82 * raised)[..., None] * (grey.astype(np.float32) - image)


def _laser(image, value, scene, rng):
    angle, reach = rng.uniform((0, 0.55), (2 * np.pi, 0.8), (16, 2)).T
    x, y = reach * np.cos(angle), reach * np.sin(angle)
    spots(image, x, y, 0.05, colour=(0.9, 0.75, 0.5), opacity=0.6, soft=0.3)


def _veil(image, value, rng):
    depth = {"moderate": 0.42, "dense": 0.62}[value["depth"]]
    veil = np.array((0.72, 0.58, 0.38), np.float32) * rng.uniform(0.85, 1.05)
    return (
        blur(image, 1.6 + 2.2 * depth) * (1 - depth) + depth * veil * (1 + 0.05 * texture(rng, 4))[..., None]
    )


_FINDINGS = {
    "detachment": _detachment,
    "laser_scars": _laser,
    "drusen": _drusen,
    "scar": _scar,
    "cotton_wool": _cotton_wool,
    "exudates": _exudates,
    "microaneurysms": _microaneurysms,
    "haemorrhages": _haemorrhages,
    "fibrous_bands": _fibrous,
    "new_vessels": _new_vessels,
    "preretinal": _preretinal,
}
