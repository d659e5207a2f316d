"""Figures of a report as inline SVG: text that scales, follows the page's colours, and needs no library to show."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

from kpl_lib.reliability import ReliabilityCurve

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 20, 44


def confidence_histogram(confidence: Sequence[float], classes: int, bins: int = 20) -> Markup:
    """How many images have which confidence.

    Args:
        confidence: largest probability of each image, 1/C to 1.
        classes: C; a line marks 1/C.
        bins: bars between 0 and 1.

    Returns:
        An `<svg>` element.

    Example:
        >>> figure = confidence_histogram([0.5, 0.9], classes=2)
        >>> figure.count("<rect"), "1 image" in figure
        (2, True)
    """
    counts = np.histogram(np.asarray(confidence), bins, (0, 1))[0]
    top = max(1, int(counts.max()))
    bars = [
        _bar(i / bins, (i + 1) / bins, n / top, f"{i / bins:.2f} to {(i + 1) / bins:.2f}: {_images(n)}")
        for i, n in enumerate(counts.tolist())
        if n
    ]
    chance = 1 / classes
    marks = [_line(chance, 0, chance, 1, "mark"), _text(_x(chance), TOP - 6, f"1/{classes}", "middle")]
    said = f"Histogram of the confidence of {len(confidence)} images; the highest bar counts {top}."
    return _figure(said, [*bars, *marks], "confidence", "images", (0, top))


def reliability_figure(curve: ReliabilityCurve) -> Markup:
    """Confidence against the share of right answers; on the diagonal, both are the same.

    Args:
        curve: 15 bins.

    Returns:
        An `<svg>` element; larger dots are fuller bins.
    """
    parts = [_line(0, 0, 1, 1, "mark")]
    filled = [i for i, n in enumerate(curve.count.tolist()) if n]
    points = [(curve.confidence[i], curve.accuracy[i], int(curve.count[i])) for i in filled]
    parts += [_line(*a[:2], *b[:2], "curve") for a, b in pairwise(points)]
    largest = max(n for *_, n in points)
    for x, y, n in points:
        title = f"confidence {x:.2f}, right {y:.2f}: {_images(n)}"
        radius = 3 + 5 * (n / largest) ** 0.5
        parts.append(
            f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="{radius:.1f}"><title>{title}</title></circle>'
        )
    said = f"Reliability curve over {len(points)} bins; expected calibration error {curve.ece:.3f}."
    return _figure(said, parts, "confidence", "share right", (0, 1))


def _figure(said: str, parts: list[str], below: str, beside: str, ends: tuple[float, float]) -> Markup:
    """Axes around the parts, all in units of 0..1."""
    frame = [_line(0, 0, 1, 0, "axis"), _line(0, 0, 0, 1, "axis")]
    ticks = [_text(_x(v), HEIGHT - BOTTOM + 16, f"{v:g}", "middle") for v in (0, 0.25, 0.5, 0.75, 1)]
    ticks += [_text(LEFT - 6, _y(v) + 4, f"{end:g}", "end") for v, end in zip((0, 1), ends, strict=True)]
    names = [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, below, "middle")]
    names.append(
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(beside)}</text>"
    )
    inner = "".join([*frame, *parts, *ticks, *names])
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{inner}</svg>')


def _bar(left: float, right: float, height: float, title: str) -> str:
    width = _x(right) - _x(left) - 1
    return (
        f'<rect class="bar" x="{_x(left) + 0.5:.1f}" y="{_y(height):.1f}" width="{width:.1f}" '
        f'height="{_y(0) - _y(height):.1f}"><title>{escape(title)}</title></rect>'
    )


def _line(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    ends = f'x1="{_x(x0):.1f}" y1="{_y(y0):.1f}" x2="{_x(x1):.1f}" y2="{_y(y1):.1f}"'
    return f'<line class="{kind}" {ends}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)


def _images(count: int) -> str:
    return f"{count} image" + "s" * (count != 1)
