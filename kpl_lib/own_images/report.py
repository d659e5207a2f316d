"""A report on your own images: one HTML file that opens offline, loads nothing and runs nothing.

Its figures are inline SVG: text that scales, follows the page's colours, and needs no library to show.
"""

import base64
import datetime
import io
import os
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

import kpl_lib
from kpl_lib.common.extras import jinja2, markupsafe
from kpl_lib.common.files import atomic_path, data_dir
from kpl_lib.datasets.images import decode_for
from kpl_lib.metrics.estimates import ReliabilityCurve
from kpl_lib.own_images.classify import FolderRun
from kpl_lib.own_images.facts import Groups, ReportFacts, find_concerns, find_gap, find_groups
from kpl_lib.own_images.table import Classification, by_patient

Markup, escape = markupsafe.Markup, markupsafe.escape
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


SIDE = 112  # pixels of a small image
ROWS = 1000  # images in the table
CLASS_ROWS = 40  # classes in the table
PATIENT_ROWS = 200
LONGEST = 160  # characters of a name that are shown
METRICS = ("accuracy", "balanced_accuracy", "macro_auroc", "macro_f1", "ece", "sensitivity", "specificity")


def render(run: FolderRun, measured: ReportFacts | None = None, thumbnails: int = 60) -> str:
    """Write the report on a run as one page of HTML.

    It holds no script, and its content policy forbids to load anything. Names are shown with everything escaped,
    control characters too.

    Args:
        run: a classified folder.
        measured: figures against labels, where they are known.
        thumbnails: small copies of images in it, the most.

    Returns:
        The page.

    Chapter: ch-own-images
    """
    groups, gap = find_groups(run), find_gap(run)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir() / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["shown"] = shown
    return templates.get_template("report.html").render(
        facts=_facts(run),
        knowledge=run.knowledge,
        counts={name: len(found) for name, found in run.knowledge.records.items()},
        concerns=find_concerns(run, groups),
        groups=groups if isinstance(groups, Groups) else None,
        groups_said=groups if isinstance(groups, str) else "",
        gap=None if isinstance(gap, str) else gap,
        gap_said=gap if isinstance(gap, str) else "",
        measured=measured,
        metrics=METRICS,
        classes=_classes(run.result, groups)[:CLASS_ROWS],
        galleries=_galleries(run, thumbnails),
        rows=_rows(run.result),
        patients=_patients(run.result),
        total=len(run.result.paths),
        patients_total=len(set(run.result.groups or ())),
        skipped=run.result.skipped,
        histogram=confidence_histogram(_confidence(run.result), len(run.result.class_names)),
        reliability=None if measured is None else reliability_figure(measured.curve),
    )


def write_page(page: str, path: str | Path) -> None:
    """Write the page as UTF-8, whole or not at all.

    Args:
        page: what `render` gives.
        path: the file.

    Raises:
        InputError: if it cannot be written.

    Chapter: ch-own-images
    """
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def shown(text: object, longest: int = LONGEST) -> str:
    """Text as people may see it: what cannot be printed is spelled out, and what is too long loses its middle.

    Example:
        >>> shown("a\\nb\\u202ec"), len(shown("x" * 500))
        ('a\\\\nb\\\\u202ec', 160)
    """
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    if len(visible) <= longest:
        return visible
    head = longest // 3
    return f"{visible[:head]}…{visible[head + 1 - longest :]}"


def thumbnail(image: Image.Image) -> str:
    """A small JPEG copy of an image as a `data:` address, at most 112 pixels a side, without its metadata."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()


def _facts(run: FolderRun) -> dict[str, str]:
    parameters = ", ".join(f"{name} {value}" for name, value in run.classifier.parameters.items())
    facts = {"Images": f"{len(run.features):,} of {run.dataset.name}"}
    if run.result.groups is not None:
        facts["Patients"] = f"{len(set(run.result.groups)):,}"
    facts |= {
        "Labels": "not given" if run.result.truth is None else "given, used to measure alone",
        "Encoder": f"{run.encoder.name} (checksum {run.encoder.fingerprint[:12]})",
        "Classifier": f"{run.classifier.name}: {parameters}",
        "Made": f"{datetime.date.today().isoformat()}, kpl_lib {kpl_lib.__version__}",
    }
    return facts


def _confidence(result: Classification) -> list[float]:
    return result.probabilities.amax(dim=1).tolist()


def _classes(result: Classification, groups: Groups | str) -> list[dict]:
    """Of each class, the most predicted first: how often, how sure, and what spoke most for it."""
    confidence, rows = _confidence(result), []
    for number, name in enumerate(result.class_names):
        own = [i for i, label in enumerate(result.labels) if label == name]
        spoke = Counter(result.descriptions[i] for i in own if result.descriptions[i])
        rows.append(
            {
                "name": name,
                "count": len(own),
                "share": len(own) / len(result.paths),
                "estimated": groups.shares[number] if isinstance(groups, Groups) and groups.shares else None,
                "confidence": sum(confidence[i] for i in own) / len(own) if own else None,
                "spoke": spoke.most_common(3),
            }
        )
    return sorted(rows, key=lambda row: -row["count"])


def _galleries(run: FolderRun, most: int) -> list[tuple[str, list[dict]]]:
    """Small images: the least sure ones, and the surest of each class."""
    result, count = run.result, len(run.result.paths)
    if not most:
        return []
    if count <= most:
        return [("All images", _cards(run, range(count)))]
    best = result.probabilities.topk(2, dim=1).values
    order = (best[:, 0] - best[:, 1]).argsort(stable=True).tolist()
    unsure, left = order[: most // 2], order[most // 2 :][::-1]
    by_class: dict[str, list[int]] = {}
    for i in left:
        by_class.setdefault(result.labels[i], []).append(i)
    each = max(1, (most - len(unsure)) // len(by_class))
    sure = [i for found in by_class.values() for i in found[:each]][: most - len(unsure)]
    pairs = [("Least sure", unsure), ("Surest of each class", sorted(sure, key=lambda i: result.labels[i]))]
    return [(title, _cards(run, chosen)) for title, chosen in pairs if chosen]


def _cards(run: FolderRun, chosen: Sequence[int]) -> list[dict]:
    place = {path: i for i, path in enumerate(run.dataset.paths)}
    rows, names = _rows(run.result, chosen), [run.result.paths[i] for i in chosen]
    return [{**row, "source": _picture(run, place[name])} for row, name in zip(rows, names, strict=True)]


def _picture(run: FolderRun, index: int) -> str:
    """The thumbnail; empty if the image cannot be read any more."""
    try:
        with decode_for(SIDE // 2):
            return thumbnail(run.dataset.read(index))
    except Exception:  # a report on predictions that stand already must not fail for a picture
        return ""


def _rows(result: Classification, chosen: Sequence[int] | None = None) -> list[dict]:
    """What is said of each image; file names below the folder that all share."""
    confidence = _confidence(result)
    start = len(os.path.join(os.path.commonpath([os.path.dirname(path) for path in result.paths]), ""))
    return [
        {
            "path": result.paths[i][start:],
            "label": result.labels[i],
            "confidence": confidence[i],
            "description": result.descriptions[i],
            "truth": None if result.truth is None else result.truth[i],
            "patient": None if result.groups is None else result.groups[i],
        }
        for i in (range(min(ROWS, len(result.paths))) if chosen is None else chosen)
    ]


def _patients(result: Classification) -> list[dict]:
    if result.groups is None:
        return []
    found = by_patient(result)
    confidence, truth = found.probabilities.amax(dim=1).tolist(), found.truth or [None] * len(found.names)
    rows = zip(found.names, found.counts, found.labels, confidence, truth, strict=True)
    keys = ("name", "count", "label", "confidence", "truth")
    return [dict(zip(keys, row, strict=True)) for row in rows][:PATIENT_ROWS]
