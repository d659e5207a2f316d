"""Soft shapes on a small float image: the brushes that every phantom is drawn with.

Coordinates are in the unit box: x to the right and y downwards, both from -1 to 1. An image is `[S, S, channels]`,
float32, 0 to 1; grey ones have one channel. A soft shape is painted only inside its own window, so a small lesion costs
microseconds. Places as Python floats are subtracted in float32, those of numpy in their own precision.
"""

from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import correlate1d

SIZE = 96
SUPERSAMPLING = 3

Points = list[tuple[float, float]]


@lru_cache(maxsize=4)
def grid(size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres of the unit box: x `[1, S]` and y `[S, 1]`."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
    return centres[None, :], centres[:, None]


def sheet(colour, size: int = SIZE) -> np.ndarray:
    """A sheet `[S, S, channels]` of one colour; each channel is whole in memory, which numpy works through fastest."""
    image = np.empty((len(colour), size, size), np.float32).transpose(1, 2, 0)
    image[:] = colour
    return image


def unit(values: np.ndarray) -> np.ndarray:
    """Clip to 0..1, in place."""
    return values.clip(0, 1, out=values)


def _window(cx, cy, reach, size) -> tuple[slice, slice]:
    """Rows and columns of the sheet that lie within `reach` of a point."""
    ends = ((float(c - reach), float(c + reach + 2 / size)) for c in (cy, cx))
    rows, columns = (slice(*(min(max(int((v + 1) / 2 * size), 0), size) for v in pair)) for pair in ends)
    return rows, columns


def _turned(dx, dy, angle) -> tuple[np.ndarray, np.ndarray]:
    """Offsets along two axes that are turned by `angle`, float64."""
    if isinstance(angle, float) and angle == 0:  # rows and columns stay apart, and small
        return dx.astype(np.float64), dy.astype(np.float64)
    cos, sin = np.cos(angle), np.sin(angle)
    return dx * cos + dy * sin, dy * cos - dx * sin


def _soft_edge(along, across, rx, ry, soft, size) -> np.ndarray:
    edge = np.maximum(soft, 1.2 / (size * np.minimum(rx, ry)))
    return unit((1 - np.sqrt((along / rx) ** 2 + (across / ry) ** 2)) / edge + 0.5)


def ellipse(cx, cy, rx, ry, angle=0.0, soft=0.15, size=SIZE) -> tuple[tuple[slice, slice], np.ndarray]:
    """A soft-edged ellipse: the window it lies in, and its mask (0 to 1) there.

    `soft` is the edge width relative to the radius.
    """
    window = _window(cx, cy, max(rx, ry) * (1 + soft) + 2 / size, size)
    xx, yy = grid(size)
    along, across = _turned(xx[:, window[1]] - cx, yy[window[0]] - cy, angle)
    return window, _soft_edge(along, across, rx, ry, soft, size)


def ellipses(
    cx, cy, rx, ry, angle=0.0, soft=0.15, size=SIZE
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Windows and masks of n ellipses, each as of `ellipse`; places are `[n]`, sizes and angles may be."""
    rx, ry, angle = (np.reshape(v, (-1, 1, 1)) if np.ndim(v) else v for v in (rx, ry, angle))
    reach = np.ravel(np.maximum(rx, ry) * (1 + soft) + 2 / size)
    ends = np.array(((cy - reach, cy + reach + 2 / size), (cx - reach, cx + reach + 2 / size)))
    ends = ((ends + 1) / 2 * size).clip(0, size).astype(int)
    steps = np.arange((ends[:, 1] - ends[:, 0]).max())
    dy, dx = (
        axis.ravel().take(low[:, None] + steps, mode="clip") - centres[:, None]
        for axis, low, centres in zip(grid(size)[::-1], ends[:, 0], (cy, cx), strict=True)
    )
    masks = _soft_edge(*_turned(dx[:, None, :], dy[:, :, None], angle), rx, ry, soft, size)
    for mask, ((top, bottom), (left, right)) in zip(masks, ends.transpose(2, 0, 1).tolist(), strict=True):
        yield (slice(top, bottom), slice(left, right)), mask[: bottom - top, : right - left]


def blend(
    image: np.ndarray, mask: np.ndarray, colour, opacity: float = 1.0, window=(slice(None), slice(None))
) -> None:
    """Lay `colour` over `image` where `mask` is, in place: `image += opacity mask (colour - image)`."""
    part = image[window]
    part += (opacity * mask)[..., None] * (np.asarray(colour, dtype=np.float32) - part)


def spot(image, cx, cy, rx, ry=None, colour=(1, 1, 1), opacity=1.0, angle=0.0, soft=0.3) -> None:
    """Paint one soft ellipse."""
    window, mask = ellipse(cx, cy, rx, rx if ry is None else ry, angle, soft, len(image))
    blend(image, mask, colour, opacity, window)


def spots(image, cx, cy, rx, ry=None, colour=(1, 1, 1), opacity=1.0, angle=0.0, soft=0.3) -> None:
    """Paint n soft ellipses, one after another; places are `[n]`, sizes and angles may be."""
    colour = np.asarray(colour, dtype=np.float32)
    for window, mask in ellipses(cx, cy, rx, rx if ry is None else ry, angle, soft, len(image)):
        blend(image, mask, colour, opacity, window)


def ring(image, cx, cy, radius, width, colour, opacity=1.0, stretch=1.0, angle=0.0) -> None:
    """Paint a soft ring: an ellipse less a smaller one."""
    window, outer = ellipse(cx, cy, radius, radius * stretch, angle, 0.25, len(image))
    xx, yy = grid(len(image))
    along, across = _turned(xx[:, window[1]] - cx, yy[window[0]] - cy, angle)
    inner = max(radius - width, 1e-3)
    distance = np.sqrt(along**2 + (across / stretch) ** 2) / inner
    blend(image, outer * unit((distance - 1) / 0.25 + 0.5), colour, opacity, window)


def strokes(lines: list[tuple[Points, float]], size: int = SIZE, sigma: float = 0.0) -> np.ndarray:
    """A mask `[S, S]` of poly-lines, each with its width, blurred by `sigma` pixels.

    It is drawn large, then reduced, so edges are smooth.
    """
    scale = size * SUPERSAMPLING
    large = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(large)
    for points, width in lines:
        pixels = [((x + 1) / 2 * scale, (y + 1) / 2 * scale) for x, y in points]
        draw.line(pixels, fill=255, width=max(1, round(width / 2 * scale)), joint="curve")
    return _reduced(large, sigma)


def polygon(*outlines: Points | np.ndarray, size: int = SIZE, softness: float = 0.0) -> np.ndarray:
    """A filled mask `[S, S]` of one or several outlines, blurred by `softness` (in the unit box)."""
    scale = size * SUPERSAMPLING
    large = Image.new("L", (scale, scale))
    draw = ImageDraw.Draw(large)
    for points in outlines:
        draw.polygon(((np.asarray(points) + 1) / 2 * scale).ravel().tolist(), fill=255)
    return _reduced(large, softness * size / 2)


def _reduced(large: Image.Image, sigma: float = 0.0) -> np.ndarray:
    """A large drawing as a mask, blurred; only the part that is drawn on is worked out."""
    mask = np.zeros((large.height // SUPERSAMPLING, large.width // SUPERSAMPLING), np.float32)
    drawn = large.getbbox()
    if drawn is None:
        return mask
    left, top = (v // SUPERSAMPLING for v in drawn[:2])
    right, bottom = (-(-v // SUPERSAMPLING) for v in drawn[2:])
    box = large.reduce(SUPERSAMPLING, tuple(SUPERSAMPLING * v for v in (left, top, right, bottom)))
    mask[top:bottom, left:right] = np.asarray(box) / np.float32(255)
    if sigma:
        reach = len(_bell(sigma)) // 2
        part = mask[max(top - reach, 0) : bottom + reach, max(left - reach, 0) : right + reach]
        part[:] = blur(part, sigma)
    return mask


def blur(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a mask `[S, S]` or an image `[S, S, channels]`; `sigma` in pixels."""
    weights = _bell(sigma)
    return correlate1d(correlate1d(mask, weights, 0), weights, 1)


@lru_cache(maxsize=32)
def _bell(sigma: float) -> np.ndarray:
    reach = int(2.5 * sigma + 0.5)
    bell = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    return bell / bell.sum()


@lru_cache(maxsize=32)
def _between(cells: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel the cell before it, and the weights of that cell and of the next."""
    nodes = cells + 3
    at = np.arange(size) * ((nodes - 1) / (round(nodes * (size / cells)) - 1))
    low = at.astype(int)
    return low, 1 - (at - low), at - low


def texture(rng: np.random.Generator, cells: int, size: int = SIZE) -> np.ndarray:
    """Smooth noise `[S, S]` of mean 0 and deviation about 1, `cells` bumps across; linear between the cells."""
    coarse = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32).T
    low, near, far = _between(cells, size)
    fine = np.zeros((size, size))  # turned: whole rows are copied
    for rows in (coarse.take(low, 1) * near, coarse.take(low + 1, 1) * far):
        for row, weight in ((low, near), (low + 1, far)):
            part = rows.take(row, 0)
            part *= weight[:, None]
            fine += part
    return fine.T.astype(np.float32, order="C")


def curve(start, end, bend: float, points: int = 8) -> Points:
    """A bowed line from `start` to `end`; `bend` is the sideways reach relative to its length."""
    x0, y0, x1, y1, bend = map(float, (*start, *end, 4 * bend))
    bows = [(s, bend * s * (1 - s)) for s in _steps(points)]
    return [(x0 + (x1 - x0) * s - (y1 - y0) * b, y0 + (y1 - y0) * s + (x1 - x0) * b) for s, b in bows]


@cache
def _steps(points: int) -> list[float]:
    return np.linspace(0, 1, points).tolist()
