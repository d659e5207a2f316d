"""Everything that is not a scan: leaflets, shapes and scenes, a world around medicine.

Leaflets matter most. They carry the sentences that cannot be seen in a scan ("cough and night sweats"), and
most disease names.
"""

import numpy as np

from kpl_lib.phantoms.paint import (
    SIZE,
    Points,
    blend,
    curve,
    grid,
    polygon,
    ring,
    sheet,
    spot,
    spots,
    strokes,
    unit,
)
from kpl_lib.phantoms.phrases import pick

COLOURS = {
    "red": (0.85, 0.2, 0.2),
    "blue": (0.25, 0.4, 0.85),
    "green": (0.25, 0.6, 0.3),
    "yellow": (0.93, 0.85, 0.3),
    "purple": (0.55, 0.3, 0.7),
    "orange": (0.93, 0.58, 0.2),
    "white": (0.95, 0.95, 0.95),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.08, 0.08, 0.08),
    "pink": (0.95, 0.65, 0.75),
}
SHAPES = ("circle", "ring", "square", "triangle", "cross", "star", "stripes", "dots")
SCENES = ("tree", "house", "boat", "mountain", "moon", "sun")
TOPICS = ("lungs", "eye", "blood")
KINDS = ("symptoms", "cause", "treatment", "test")
HEADERS = {"lungs": (0.3, 0.45, 0.75), "eye": (0.3, 0.6, 0.4), "blood": (0.75, 0.3, 0.3)}


def render_leaflet(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint a printed page: a header whose icon tells the topic, and a layout that tells the kind."""
    paper = np.array((0.97, 0.96, 0.92), np.float32) - rng.uniform(0, 0.06, 3).astype(np.float32)
    image = sheet(paper)
    image[6:24, 6:-6] = np.array(HEADERS[findings["topic"]]) + rng.normal(0, 0.04, 3)
    _icon(image, findings["topic"])
    lines, kind = [], findings["kind"]
    for row in range(4 if kind == "treatment" else 0, 9):
        y = -0.38 + 0.145 * row
        left = -0.62 if kind == "symptoms" else -0.82
        lines.append(([(left, y), (rng.uniform(0.5, 0.85), y)], 0.045))
    if kind == "symptoms":
        y = np.array([points[0][1] for points, _ in lines], np.float32)
        spots(image, np.full_like(y, -0.76), y, 0.035, colour=(0.15,) * 3)
    blend(image, strokes(lines), (0.25,) * 3, 0.8)
    if kind == "treatment":
        for x in (-0.5, 0.0, 0.5):
            pill = COLOURS[pick(("red", "yellow", "white"), rng)]
            spot(image, x, -0.18, 0.17, 0.09, pill, angle=0.5, soft=0.06)
            ring(image, x, -0.18, 0.18, 0.03, (0.3,) * 3, 0.8, stretch=0.55, angle=0.5)
    if kind == "cause":
        axes = [([(-0.7, 0.8), (-0.7, 0.2)], 0.03), ([(-0.7, 0.8), (0.7, 0.8)], 0.03)]
        rise = (curve((-0.7, 0.75), (0.7, 0.25), 0.2), 0.05)
        blend(image, strokes([*axes, rise]), (0.7, 0.1, 0.1))
    if kind == "test":
        table = [([(-0.8, y), (0.8, y)], 0.02) for y in (-0.4, -0.15, 0.1, 0.35)]
        table += [([(x, -0.4), (x, 0.35)], 0.02) for x in (-0.8, -0.25, 0.3, 0.8)]
        blend(image, strokes(table), (0.1, 0.2, 0.6))
    return unit(image)


def _icon(image, topic):
    if topic == "lungs":
        for x in (-0.1, 0.1):
            spot(image, x, -0.69, 0.07, 0.13, (0.95,) * 3, soft=0.1)
    elif topic == "eye":
        spot(image, 0, -0.69, 0.2, 0.11, (0.95,) * 3, soft=0.1)
        spot(image, 0, -0.69, 0.08, colour=(0.1, 0.2, 0.4), soft=0.1)
    else:
        drop = [(0, -0.84), (0.11, -0.64), (0, -0.55), (-0.11, -0.64)]
        blend(image, polygon(drop, softness=0.01), (0.98, 0.9, 0.9))


def render_shape(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint one plain shape, or a pattern, on a plain ground."""
    image = sheet(COLOURS[findings["ground"]])
    colour, x, y, size = COLOURS[findings["colour"]], *rng.uniform(-0.25, 0.25, 2), rng.uniform(0.3, 0.55)
    turn, shape = rng.uniform(0, 6.3), findings["shape"]
    if shape == "circle":
        spot(image, x, y, size, colour=colour, soft=0.04)
    elif shape == "ring":
        ring(image, x, y, size, size * 0.35, colour)
    elif shape == "dots":
        spots(image, *rng.uniform(-0.9, 0.9, (16, 2)).T, 0.1, colour=colour, soft=0.1)
    elif shape == "stripes":
        xx, yy = grid()
        blend(image, (np.sin(14 * (xx * np.cos(turn) + yy * np.sin(turn))) > 0).astype(np.float32), colour)
    else:
        blend(image, polygon(_corners(shape, x, y, size, turn)), colour)
    return unit(image)


def _corners(shape, x, y, size, turn) -> Points:
    if shape == "cross":  # one arm, in four quarter turns
        arm, turns = ((1, 0.3), (0.3, 0.3), (0.3, 1)), ((1, 0), (0, 1), (-1, 0), (0, -1))
        return [(x + size * (c * a - s * b), y + size * (s * a + c * b)) for c, s in turns for a, b in arm]
    count = {"triangle": 3, "square": 4, "star": 10}[shape]
    reach = [size * (0.45 if shape == "star" and i % 2 else 1) for i in range(count)]
    angles = [turn + 2 * np.pi * i / count for i in range(count)]
    return [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(reach, angles, strict=True)]


def render_scene(findings: dict, rng: np.random.Generator) -> np.ndarray:
    """Paint a small landscape by day or by night."""
    night, thing = findings["time"] == "night", findings["thing"]
    image = sheet((0.05, 0.06, 0.2) if night else (0.55, 0.75, 0.92))
    land = (0.12, 0.25, 0.15) if night else (0.35, 0.62, 0.3)
    image[int(SIZE * rng.uniform(0.62, 0.75)) :] = (0.1, 0.3, 0.55) if thing == "boat" else land
    x = rng.uniform(-0.4, 0.4)
    for corners, colour in _SCENERY.get(thing, ()):
        blend(image, polygon([(x + dx, y) for dx, y in corners]), colour)
    if thing == "tree":
        spot(image, x, -0.1, 0.32, 0.36, (0.16, 0.45, 0.2), soft=0.2)
    elif thing in ("moon", "sun"):
        light = (0.96, 0.95, 0.85) if thing == "moon" else (1.0, 0.85, 0.25)
        spot(image, x, -0.4, 0.22, colour=light, soft=0.08)
    return unit(image)


#: Thing of a scene -> its polygons from back to front: corners about x, and colour.
_SCENERY = {
    "tree": (([(-0.06, 0.6), (0.06, 0.6), (0.05, 0), (-0.05, 0)], (0.4, 0.26, 0.14)),),
    "house": (
        ([(-0.3, 0.6), (0.3, 0.6), (0.3, 0.05), (-0.3, 0.05)], (0.9, 0.85, 0.75)),
        ([(-0.38, 0.08), (0, -0.3), (0.38, 0.08)], (0.7, 0.25, 0.2)),
    ),
    "boat": (
        ([(-0.35, 0.4), (0.35, 0.4), (0.22, 0.6), (-0.22, 0.6)], (0.5, 0.3, 0.2)),
        ([(0, 0.38), (0, -0.4), (0.3, 0.3)], (0.95, 0.95, 0.92)),
    ),
    "mountain": (
        ([(-0.8, 0.42), (0, -0.55), (0.8, 0.42)], (0.42, 0.4, 0.45)),
        ([(-0.17, -0.33), (0, -0.55), (0.17, -0.33)], (0.96, 0.97, 1)),
    ),
}
