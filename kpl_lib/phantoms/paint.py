"""Soft shapes on a small float image: the brushes that every phantom is drawn with.

Coordinates are in the unit box: x to the right and y downwards, both from -1 to 1. An image is `[S, S, 3]`, float32, 0
to 1. A soft shape is painted only inside its own window, so a small lesion costs microseconds.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, zoom

SIZE = 96
SUPERSAMPLING = 3

Points = list[tuple[float, float]]


@lru_cache(maxsize=4)
def grid(size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres of the unit box: x `[1, S]` and y `[S, 1]`."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
    return centres[None, :], centres[:, None]


def ellipse(cx, cy, rx, ry, angle=0.0, soft=0.15, size=SIZE) -> tuple[tuple[slice, slice], np.ndarray]:
    """A soft-edged ellipse: the window it lies in, and its mask (0 to 1) there.

    `soft` is the edge width relative to the radius.
    """
    reach = max(rx, ry) * (1 + soft) + 2 / size
    low_x, high_x = (int(np.clip((v + 1) / 2 * size, 0, size)) for v in (cx - reach, cx + reach + 2 / size))
    low_y, high_y = (int(np.clip((v + 1) / 2 * size, 0, size)) for v in (cy - reach, cy + reach + 2 / size))
    window = (slice(low_y, high_y), slice(low_x, high_x))
    xx, yy = grid(size)
    dx, dy = xx[:, window[1]] - cx, yy[window[0]] - cy
    cos, sin = np.cos(angle), np.sin(angle)
    radius = np.sqrt(((dx * cos + dy * sin) / rx) ** 2 + ((dy * cos - dx * sin) / ry) ** 2)
    edge = max(soft, 1.2 / (size * min(rx, ry)))
    return window, np.clip((1 - radius) / edge + 0.5, 0, 1)


def blend(
    image: np.ndarray, mask: np.ndarray, colour, opacity: float = 1.0, window=(slice(None), slice(None))
) -> None:
    """Lay `colour` over `image` where `mask` is, in place: `image += opacity mask (colour - image)`."""
    weight = (opacity * mask)[..., None]
    part = image[window]
    part += weight * (np.asarray(colour, dtype=np.float32) - part)


def spot(image, cx, cy, rx, ry=None, colour=(1, 1, 1), opacity=1.0, angle=0.0, soft=0.3) -> None:
    """Paint one soft ellipse."""
    window, mask = ellipse(cx, cy, rx, rx if ry is None else ry, angle, soft, len(image))
    blend(image, mask, colour, opacity, window)


def ring(image, cx, cy, radius, width, colour, opacity=1.0, stretch=1.0, angle=0.0) -> None:
    """Paint a soft ring: an ellipse less a smaller one."""
    window, outer = ellipse(cx, cy, radius, radius * stretch, angle, 0.25, len(image))
    xx, yy = grid(len(image))
    dx, dy = xx[:, window[1]] - cx, yy[window[0]] - cy
    cos, sin = np.cos(angle), np.sin(angle)
    inner = max(radius - width, 1e-3)
    distance = np.sqrt((dx * cos + dy * sin) ** 2 + ((dy * cos - dx * sin) / stretch) ** 2) / inner
    blend(image, outer * np.clip((distance - 1) / 0.25 + 0.5, 0, 1), colour, opacity, window)


def strokes(lines: list[tuple[Points, float]], size: int = SIZE) -> np.ndarray:
    """A mask `[S, S]` of poly-lines, each with its width; drawn large, then reduced, so edges are smooth."""
    scale = size * SUPERSAMPLING
    sheet = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(sheet)
    for points, width in lines:
        pixels = [((x + 1) / 2 * scale, (y + 1) / 2 * scale) for x, y in points]
        draw.line(pixels, fill=255, width=max(1, round(width / 2 * scale)), joint="curve")
    return np.asarray(sheet.reduce(SUPERSAMPLING), dtype=np.float32) / 255


def polygon(points: Points, size: int = SIZE, softness: float = 0.0) -> np.ndarray:
    """A filled mask `[S, S]`, blurred by `softness` (in the unit box)."""
    scale = size * SUPERSAMPLING
    sheet = Image.new("L", (scale, scale))
    ImageDraw.Draw(sheet).polygon([((x + 1) / 2 * scale, (y + 1) / 2 * scale) for x, y in points], fill=255)
    mask = np.asarray(sheet.reduce(SUPERSAMPLING), dtype=np.float32) / 255
    return blur(mask, softness * size / 2) if softness else mask


def blur(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a mask `[S, S]` or an image `[S, S, 3]`; `sigma` in pixels."""
    return gaussian_filter(mask, (sigma, sigma, 0)[: mask.ndim], truncate=2.5)


def texture(rng: np.random.Generator, cells: int, size: int = SIZE) -> np.ndarray:
    """Smooth noise `[S, S]` of mean 0 and deviation about 1, `cells` bumps across."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    fine = zoom(coarse, size / cells, order=1)
    return fine[:size, :size]


def curve(start, end, bend: float, points: int = 8) -> Points:
    """A bowed line from `start` to `end`; `bend` is the sideways reach relative to its length."""
    (x0, y0), (x1, y1) = start, end
    steps = np.linspace(0, 1, points)
    bow = 4 * bend * steps * (1 - steps)
    return [
        (x0 + (x1 - x0) * s - (y1 - y0) * b, y0 + (y1 - y0) * s + (x1 - x0) * b)
        for s, b in zip(steps, bow, strict=True)
    ]
