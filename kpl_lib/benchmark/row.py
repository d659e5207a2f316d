"""One run of a benchmark: fit, predict, measure, and the row that says everything about it.

A row has the metrics with their intervals, and paired differences against the plain text proxy.
"""

import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
import sklearn
import torch

from kpl_lib import __version__
from kpl_lib.benchmark.grid import Setting
from kpl_lib.benchmark.inputs import BASELINE, Inputs
from kpl_lib.classifiers.base import create
from kpl_lib.classifiers.references import REFERENCES
from kpl_lib.common.errors import InputError, noted
from kpl_lib.metrics.estimates import bounds, positive_class
from kpl_lib.metrics.measures import measure_all, metric_names
from kpl_lib.metrics.tally import bootstrap_weights, make_cases, tally, tally_once
from kpl_lib.prediction import Prediction

DIFFERENCES = ("accuracy", "balanced_accuracy")
VERSIONS = {  # that a figure may depend on
    "kpl_lib": __version__,
    "python": platform.python_version(),
    "torch": torch.__version__,
    "numpy": np.__version__,
    "scikit-learn": sklearn.__version__,
}


@dataclass(frozen=True)
class Figures:
    """Metrics of one run.

    Args:
        names: M metrics.
        point: `[M]`, their values.
        drawn: `[M, R]`, on the resamples.
        spread: `[M]`, standard deviation over the draws of a reference; zeros for one prediction.
    """

    names: tuple[str, ...]
    point: np.ndarray
    drawn: np.ndarray
    spread: np.ndarray


def figures_of(
    predictions: Sequence[Prediction],
    labels: Sequence[int] | None,
    blocks: Sequence[np.ndarray],
    positive: int | str | None = None,
    ordered: bool = False,
) -> Figures:
    """Measure predictions of the same images; several are averaged, figure by figure and resample by resample.

    Args:
        predictions: of N images.
        labels: true class numbers `[N]`.
        blocks: weights of the resamples, `[N, R_b]` each.
        positive, ordered: as for `evaluate`, whose errors it raises.
    """
    which = positive_class(predictions[0], positive)
    cases = [make_cases(prediction, labels) for prediction in predictions]
    points = np.stack([measure_all(tally_once(each), which, ordered)[:, 0] for each in cases])
    drawn = sum(measure_all(tally(each, blocks), which, ordered) for each in cases) / len(cases)
    names = (*metric_names(ordered), *(f"recall/{name}" for name in predictions[0].class_names))
    return Figures(names, points.mean(axis=0), drawn, points.std(axis=0))


def as_rows(found: Figures) -> dict[str, list[float | None]]:
    """Value, low and high of each metric, ready for JSON."""
    low, high = bounds(found.drawn)
    return {
        name: [plain(x) for x in triple]
        for name, *triple in zip(found.names, found.point, low, high, strict=True)
    }


def difference(found: Figures, baseline: Figures) -> dict[str, list[float | None]]:
    """Value, low and high of `found - baseline`, on the same resamples."""
    rows = [found.names.index(name) for name in DIFFERENCES]
    low, high = bounds(found.drawn[rows] - baseline.drawn[rows])
    gap = found.point[rows] - baseline.point[rows]
    return {
        name: [plain(x) for x in triple] for name, *triple in zip(DIFFERENCES, gap, low, high, strict=True)
    }


def plain(x: float) -> float | None:
    """Six digits; None where undefined, as JSON has no nan."""
    return None if math.isnan(x) else round(float(x), 6)


@dataclass
class Runner:
    """Runs settings on the same inputs; resamples and plain text proxies are made once and kept.

    Args:
        inputs: of one dataset and encoder.
        resamples: of the intervals.
    """

    inputs: Inputs
    resamples: int
    _blocks: dict[int, list[np.ndarray]] = field(default_factory=dict, init=False, repr=False)
    _plain: dict[tuple, Figures] = field(default_factory=dict, init=False, repr=False)

    def row(self, setting: Setting, checksum: str) -> dict:
        """Run one setting.

        Args:
            setting: what to run.
            checksum: of its inputs.

        Raises:
            InputError: if labels are missing, or the method refuses its input.
        """
        predict = self._prepared(setting)
        with noted() as notes:
            start = time.perf_counter()
            predictions = predict()
            if self.inputs.features.images.is_cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
        found = self._measure(predictions, setting.seed)
        spread = dict(zip(found.names, map(plain, found.spread), strict=True))
        gain = None if setting.reference else difference(found, self._baseline(setting))
        return {
            "key": setting.key,
            "checksum": checksum,
            **self._identity(setting, positive_class(predictions[0], self.inputs.spec.positive)),
            "metrics": as_rows(found),
            "difference": gain,
            "spread": spread if len(predictions) > 1 else None,
            "resamples": self.resamples,
            "seconds": round(seconds, 4),
            "device": self.inputs.device,
            "threads": torch.get_num_threads(),
            "versions": VERSIONS,
            "warnings": [*self.inputs.notes_on(setting.knowledge, setting.text), *notes],
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _identity(self, setting: Setting, positive: int | None) -> dict:
        """Which run this is, on which images."""
        spec, features = self.inputs.spec, self.inputs.features
        counts = Counter(features.labels.tolist())
        known = setting.parameters
        if not setting.reference:
            known = setting.make().parameters_with(self.inputs.bank(setting.knowledge, setting.text))
        return {
            "origin": self.inputs.origin,
            "reference": setting.reference,
            "dataset": spec.label,
            "options": {key: value for key, value in spec.options.items() if key != "root"},
            "encoder": setting.encoder,
            "knowledge": setting.knowledge,
            "classifier": setting.classifier,
            "text": setting.text,
            "parameters": {key: value for key, value in known.items() if key != "text"},
            "changed": setting.parameters,
            "prior": setting.prior,
            "seed": setting.seed,
            "n": len(features),
            "classes": len(features.class_names),
            "class_counts": {name: counts[c] for c, name in enumerate(features.class_names)},
            "majority_rate": plain(max(counts.values()) / len(features)),
            "positive": None if positive is None else features.class_names[positive],
        }

    def _prepared(self, setting: Setting) -> Callable[[], list[Prediction]]:
        """What is timed: what it reads is encoded before the clock starts."""
        features = self.inputs.features
        if features.labels is None:
            where = self.inputs.spec.label
            raise InputError(f"{where}: labels are missing; a benchmark needs the true classes")
        if setting.reference:
            make = REFERENCES[setting.classifier]
            return partial(make, features, self.inputs.pool, seed=setting.seed, **setting.parameters)
        bank, prior = self.inputs.bank(setting.knowledge, setting.text), None
        if setting.prior == "true":
            prior = torch.bincount(features.labels, minlength=len(bank)).double() / len(features)
        return lambda: [setting.make().fit_predict(features, bank, prior)]

    def _baseline(self, setting: Setting) -> Figures:
        """The plain text proxy on the same text, under a uniform prior."""
        made = setting.make()
        key = (setting.knowledge, made.text, made.k, setting.seed)
        if key not in self._plain:
            bank = self.inputs.bank(setting.knowledge, made.text)
            method = create(BASELINE, text=made.text, k=made.k)
            with noted():  # the run itself says it
                prediction = method.fit_predict(self.inputs.features, bank)
            self._plain[key] = self._measure([prediction], setting.seed)
        return self._plain[key]

    def _measure(self, predictions: list[Prediction], seed: int) -> Figures:
        features, spec = self.inputs.features, self.inputs.spec
        if seed not in self._blocks:
            facts = features.labels.cpu().numpy(), features.meta.get("groups")
            self._blocks[seed] = list(bootstrap_weights(*facts, self.resamples, seed))
        return figures_of(predictions, features.labels, self._blocks[seed], spec.positive, spec.ordered)
