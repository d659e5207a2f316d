"""Single runs, and how the blocks of a grid unfold into them."""

import difflib
import fnmatch
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kpl_lib import classifiers
from kpl_lib.errors import InputError
from kpl_lib.references import REFERENCES

PRIORS = ("uniform", "true")
BLOCK_KEYS = ("classifiers", "text", "parameters", "priors", "datasets", "only")
NOT_GIVEN = ("test", "pool", "seed")


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset of the grid.

    Args:
        name: for `load_dataset`.
        options: for `load_dataset`.
        knowledge: names or files of knowledge bases; none means the one that is called like the dataset.
        positive: the positive class, where the second of two is not meant.
        ordered: the classes are grades.
        pool: `name` and options of labelled images outside the evaluated ones, for the linear probe.

    Chapter: ch-benchmark
    """

    name: str
    options: dict = field(default_factory=dict)
    knowledge: tuple[str, ...] = ()
    positive: str | int | None = None
    ordered: bool = False
    pool: dict | None = None

    @property
    def label(self) -> str:
        """Name of the dataset in results: for a folder, the folder's name."""
        root = self.options.get("root")
        return f"{self.name}:{Path(root).name}" if root else self.name


@dataclass(frozen=True)
class Setting:
    """One run: everything that a row is known by.

    Args:
        dataset: what is classified.
        encoder: a name for `load_encoder`.
        knowledge: name or file of a knowledge base.
        classifier: a name for `create`, or of a reference line.
        text: where the text proxies come from.
        parameters: of the method, where they are not its defaults.
        prior: `uniform`, or `true`: the shares in the labels.
        seed: of the resamples, and of a method that takes one.
        reference: whether this is a line that reads labels.

    Chapter: ch-benchmark
    """

    dataset: DatasetSpec
    encoder: str
    knowledge: str
    classifier: str
    text: str
    parameters: dict
    prior: str
    seed: int
    reference: bool = False

    @property
    def key(self) -> str:
        """16 hexadecimal digits; parameters that equal their defaults do not change them."""
        known = asdict(self)
        known["dataset"] = [self.dataset.name, self.dataset.options]
        return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def make(self) -> classifiers.Classifier:
        """The classifier of this run, not fitted."""
        seed = {"seed": self.seed} if "seed" in _parameters(self.classifier) else {}
        return classifiers.create(self.classifier, text=self.text, **{**seed, **self.parameters})

    def __str__(self) -> str:
        given = "".join(f", {key}={value}" for key, value in self.parameters.items())
        return f"{self.dataset.label}: {self.classifier} ({self.text}{given}, prior {self.prior}, seed {self.seed})"


def nearest(word: Any, known: Sequence[str]) -> str:
    """The nearest known name, and all of them, for an error message."""
    near = difflib.get_close_matches(str(word), known, 1, 0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}"


def check_known(content: dict, known: Sequence[str], what: str) -> None:
    """Raise unless `content` is a mapping whose keys are all known."""
    if not isinstance(content, dict):
        raise InputError(f"{what}: must be a mapping with {', '.join(known)}, not {content!r}")
    for key in content:
        if key not in known:
            raise InputError(f"{what} knows no {key!r}: {nearest(key, known)}")


def matches(name: str, wish: str) -> bool:
    """Whether a dataset is meant by its name, the start of its name, or a pattern such as `*/skewed`."""
    return name == wish or name.startswith(f"{wish}/") or fnmatch.fnmatchcase(name, wish)


def _parameters(classifier: str) -> dict:
    return classifiers.create(classifier).parameters


def _values(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def unfold(
    block: dict, dataset: DatasetSpec, encoder: str, knowledge: str, seeds: Sequence[int]
) -> Iterator[Setting]:
    """The runs of one block on one dataset."""
    check_known(block, BLOCK_KEYS, "a block of the grid")
    if not any(matches(dataset.name, wish) for wish in _values(block.get("datasets", "*"))):
        return
    names = block.get("classifiers", "*")
    every = names == "*"
    names = classifiers.available() if every else _values(names)
    for prior in (priors := _values(block.get("priors", "uniform"))):
        if prior not in PRIORS:
            raise InputError(f"unknown prior {prior!r}: {nearest(prior, PRIORS)}")
    swept = {key: _values(value) for key, value in block.get("parameters", {}).items()}
    for name in names:
        defaults = _parameters(name)
        if "only" in block and name not in block["only"]:
            continue
        several = seeds if "seed" in defaults else seeds[:1]
        axes = itertools.product(_values(block.get("text", "default")), *swept.values(), priors, several)
        for text, *values, prior, seed in axes:
            if every and prior != "uniform" and not classifiers.create(name).takes_prior:
                continue
            text = defaults["text"] if text == "default" else text
            given = dict(zip(swept, values, strict=True))
            classifiers.create(name, text=text, **given)
            changed = {key: value for key, value in given.items() if defaults[key] != value}
            yield Setting(dataset, encoder, knowledge, name, text, changed, prior, seed)


def unfold_reference(line: dict, dataset: DatasetSpec, encoder: str, seed: int) -> Iterator[Setting]:
    """The runs of one reference line on one dataset."""
    check_known(line, ("name", "parameters"), "a reference of the grid")
    if line.get("name") not in REFERENCES:
        raise InputError(
            f"unknown reference {line.get('name')!r}: {nearest(line.get('name'), list(REFERENCES))}"
        )
    taken = [p for p in inspect.signature(REFERENCES[line["name"]]).parameters if p not in NOT_GIVEN]
    check_known(line.get("parameters", {}), taken, f"reference {line['name']!r}")
    swept = {key: _values(value) for key, value in line.get("parameters", {}).items()}
    for values in itertools.product(*swept.values()):
        given = dict(zip(swept, values, strict=True))
        yield Setting(dataset, encoder, "none", line["name"], "labels", given, "none", seed, True)
