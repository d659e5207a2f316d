"""A report on your own images: one HTML file that opens offline, loads nothing and runs nothing.

Its page and its figures, inline SVG, are written in `data/templates/report.html`; here is what stands in them.
"""

import datetime
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np

import kpl_lib
from kpl_lib.common.extras import jinja2
from kpl_lib.common.files import data_dir
from kpl_lib.common.pictures import thumbnail
from kpl_lib.datasets.images import decode_for
from kpl_lib.decisions.conformal import CANNOT_SAY
from kpl_lib.metrics.estimates import ReliabilityCurve
from kpl_lib.own_images.classify import FolderRun
from kpl_lib.own_images.facts import Groups, ReportFacts, find_concerns, find_gap, find_groups
from kpl_lib.own_images.table import Classification, by_patient

SIDE = 112  # pixels of a small image
BINS = 20  # of confidences between 0 and 1
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
    folder, strict = jinja2.FileSystemLoader(data_dir() / "templates"), jinja2.StrictUndefined
    templates = jinja2.Environment(
        loader=folder, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True
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
        sets=run.sets and run.sets.figures,
        ranking=() if run.ranking is None else run.ranking.rows,
        answers=_answers(run.result),
        metrics=METRICS,
        classes=_classes(run.result, groups)[:CLASS_ROWS],
        galleries=_galleries(run, thumbnails),
        rows=_rows(run.result),
        patients=_patients(run.result),
        total=len(run.result.paths),
        patients_total=len(set(run.result.groups or ())),
        skipped=run.result.skipped,
        bars=np.histogram(_confidence(run.result), BINS, (0, 1))[0].tolist(),
        points=() if measured is None else _points(measured.curve),
    )


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


def _facts(run: FolderRun) -> dict[str, str]:
    given = run.classifier.parameters_with(run.bank)
    parameters = ", ".join(f"{name} {value}" for name, value in given.items())
    facts = {"Images": f"{len(run.features):,} of {run.dataset.name}"}
    if run.result.groups is not None:
        facts["Patients"] = f"{len(set(run.result.groups)):,}"
    facts |= {
        "Labels": _labels_said(run),
        "Encoder": f"{run.encoder.name} (checksum {run.encoder.fingerprint[:12]})",
        "Classifier": f"{run.classifier.name}: {parameters}",
        "Made": f"{datetime.date.today().isoformat()}, kpl_lib {kpl_lib.__version__}",
    }
    return facts


def _labels_said(run: FolderRun) -> str:
    if run.labels is None:
        return "not given"
    known = int((run.labels >= 0).sum())
    used = "used to measure alone" if run.sets is None else "used to calibrate sets and to measure"
    return f"given for {known:,} of {len(run.labels):,} images, {used}"


def _answers(result: Classification) -> list[tuple[str, int]]:
    """What sets say, in kinds, with the number of images of each."""
    if result.answers is None:
        return []
    kinds = Counter("cannot say" if said == CANNOT_SAY else "two classes" for said in result.answers)
    kinds["one class"] = sum(len(names) == 1 for names in result.sets)
    kinds["two classes"] -= kinds["one class"]
    return [(kind, kinds[kind]) for kind in ("one class", "two classes", "cannot say") if kinds[kind]]


def _confidence(result: Classification) -> list[float]:
    return result.probabilities.amax(dim=1).tolist()


def _points(curve: ReliabilityCurve) -> list[tuple[float, float, int]]:
    """Confidence, share right and number of images of each bin that holds some."""
    rows = zip(curve.confidence.tolist(), curve.accuracy.tolist(), curve.count.tolist(), strict=True)
    return [(x, y, int(n)) for x, y, n in rows if n]


def _classes(result: Classification, groups: Groups | str) -> list[dict]:
    """Of each class, the most predicted first: how often, how sure, and what counted most for it."""
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
            return thumbnail(run.dataset.read(index), SIDE)
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
            "truth": (result.truth[i] or None) if result.truth else None,
            "set": "" if result.sets is None else "; ".join(result.sets[i]) or "none",
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
