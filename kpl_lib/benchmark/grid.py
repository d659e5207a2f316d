"""What a benchmark runs: a grid as data, and how its blocks unfold into single runs."""

import fnmatch
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kpl_lib.classifiers.base import Classifier, available, create
from kpl_lib.classifiers.references import REFERENCES
from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError, among
from kpl_lib.common.files import find_shipped, read_json
from kpl_lib.datasets.load import available as known_datasets

PRIORS = ("uniform", "true")
BLOCK_KEYS = ("classifiers", "text", "parameters", "priors", "datasets", "only")
NOT_GIVEN = ("test", "pool", "seed")


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset of the grid.

    Args:
        name: for `load_dataset`.
        options: for `load_dataset`.
        knowledge: names or files of knowledge bases; none means the one that is called like the dataset, and
            `class-names` that there is none.
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
        encoders: names for `load_encoder`; several are joined.
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
    encoders: tuple[str, ...]
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
        names = known.pop("encoders")
        known["encoder"] = names if len(names) > 1 else names[0]
        known["dataset"] = [self.dataset.name, self.dataset.options]
        return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def encoder(self) -> str:
        """Name of the encoder in results."""
        return " + ".join(self.encoders)

    def make(self) -> Classifier:
        """The classifier of this run, not fitted."""
        seed = {"seed": self.seed} if "seed" in _parameters(self.classifier) else {}
        return create(self.classifier, text=self.text, **{**seed, **self.parameters})

    def __str__(self) -> str:
        given = "".join(f", {key}={value}" for key, value in self.parameters.items())
        return f"{self.dataset.label}: {self.classifier} ({self.text}{given}, prior {self.prior}, seed {self.seed})"


def check_known(content: dict, known: Sequence[str], what: str) -> None:
    """Raise unless `content` is a mapping whose keys are all known."""
    if not isinstance(content, dict):
        raise InputError(f"{what}: must be a mapping with {', '.join(known)}, not {content!r}")
    for key in content:
        if key not in known:
            raise InputError(f"{what} knows no {key!r}: {among(key, known)}")


def matches(name: str, wish: str) -> bool:
    """Whether a dataset is meant by its name, the start of its name, or a pattern such as `*/skewed`."""
    return name == wish or name.startswith(f"{wish}/") or fnmatch.fnmatchcase(name, wish)


def _parameters(classifier: str) -> dict:
    return create(classifier).parameters


def _values(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _crossed(parameters: dict) -> Iterator[dict]:
    """Each choice of one value for every parameter."""
    for values in itertools.product(*map(_values, parameters.values())):
        yield dict(zip(parameters, values, strict=True))


def unfold(
    block: dict, dataset: DatasetSpec, encoders: tuple[str, ...], knowledge: str, seeds: Sequence[int]
) -> Iterator[Setting]:
    """The runs of one block on one dataset."""
    check_known(block, BLOCK_KEYS, "a block of the grid")
    if not any(matches(dataset.name, wish) for wish in _values(block.get("datasets", "*"))):
        return
    names = block.get("classifiers", "*")
    every = names == "*"
    names = available() if every else _values(names)
    for prior in (priors := _values(block.get("priors", "uniform"))):
        if prior not in PRIORS:
            raise InputError(f"unknown prior {prior!r}: {among(prior, PRIORS)}")
    for name in names:
        defaults = _parameters(name)
        if "only" in block and name not in block["only"]:
            continue
        several = seeds if "seed" in defaults else seeds[:1]
        texts, swept = _values(block.get("text", "default")), _crossed(block.get("parameters", {}))
        for text, given, prior, seed in itertools.product(texts, swept, priors, several):
            if every and prior != "uniform" and not create(name).takes_prior:
                continue
            text = defaults["text"] if text == "default" else text
            create(name, text=text, **given)
            changed = {key: value for key, value in given.items() if defaults[key] != value}
            yield Setting(dataset, encoders, knowledge, name, text, changed, prior, seed)


def unfold_reference(
    line: dict, dataset: DatasetSpec, encoders: tuple[str, ...], seed: int
) -> Iterator[Setting]:
    """The runs of one reference line on one dataset."""
    check_known(line, ("name", "parameters"), "a reference of the grid")
    name = line.get("name")
    if name not in REFERENCES:
        raise InputError(f"unknown reference {name!r}: {among(name, REFERENCES)}")
    taken = [p for p in inspect.signature(REFERENCES[name]).parameters if p not in NOT_GIVEN]
    check_known(line.get("parameters", {}), taken, f"reference {name!r}")
    for given in _crossed(line.get("parameters", {})):
        yield Setting(dataset, encoders, "none", name, "labels", given, "none", seed, True)


KEYS = ("name", "about", "resamples", "seeds", "encoders", "options", "datasets", "blocks", "references")


@dataclass(frozen=True)
class Grid:
    """Datasets x encoders x knowledge x classifiers x text x parameters x priors x seeds.

    A block of the file crosses `classifiers` (names, or "*" for all registered ones that need no patch tokens) with
    `text` ("default" is the method's own), `parameters` (each a value or a list of values) and `priors`, on the
    `datasets` that match a pattern. What several blocks ask for is run once. `seeds` go to the resamples, and to
    methods that take a seed; the others run with the first one alone.

    Args:
        name: what it is called.
        datasets: what is classified.
        blocks: which methods run, and with what; see above.
        encoders: names for `load_encoder`, each a tuple: several in one are joined.
        references: lines to compare with, which read labels.
        seeds: of resamples and of methods that take one.
        resamples: of each interval.

    Example:
        >>> grid = Grid.load("phantom")
        >>> len(grid.datasets), grid.resamples
        (16, 1000)

    Chapter: ch-benchmark
    """

    name: str
    datasets: tuple[DatasetSpec, ...]
    blocks: tuple[dict, ...]
    encoders: tuple[tuple[str, ...], ...] = (("phantom",),)
    references: tuple[dict, ...] = ()
    seeds: tuple[int, ...] = (0,)
    resamples: int = 1000

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Grid":
        """Load a grid that ships with the library by its name, or any JSON file by its path.

        Raises:
            InputError: if there is none, or it names a key, dataset, classifier, reference or prior that is
                unknown; the nearest known one is said.
        """
        path = find_shipped("benchmarks", name_or_path, "grid")
        content = read_json(path)
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, content: dict) -> "Grid":
        """Make a grid from what its file holds; raises as `load`."""
        check_known(content, KEYS, "the grid")
        common = content.get("options", {})
        for need in ("datasets", "blocks"):
            if not content.get(need) and not (need == "blocks" and content.get("references")):
                raise InputError(f"the grid has no {need!r}; give at least one")
        named = {key: tuple(content[key]) for key in ("encoders", "seeds", "references") if key in content}
        if "encoders" in named:
            named["encoders"] = tuple(tuple(_values(one)) for one in named["encoders"])
        grid = cls(
            content.get("name", "grid"),
            tuple(_dataset(item, common) for item in content["datasets"]),
            tuple(content.get("blocks", ())),
            resamples=check_count(content.get("resamples", 1000), "resamples"),
            **named,
        )
        grid.settings()
        return grid

    def narrow(
        self,
        classifiers: Sequence[str] | None = None,
        datasets: Sequence[str] | None = None,
        n: int | None = None,
        resamples: int | None = None,
    ) -> "Grid":
        """Keep some classifiers or references, and datasets (by name, start of the name, or pattern); change sizes.

        Raises:
            InputError: for a name that the grid does not hold.
        """
        names = [dataset.name for dataset in self.datasets]
        for wish in datasets or ():
            if not any(matches(name, wish) for name in names):
                raise InputError(f"unknown dataset {wish!r}: {among(wish, names)}")
        kept = [d for d in self.datasets if not datasets or any(matches(d.name, wish) for wish in datasets)]
        if n is not None:
            check_count(n, "n")
            kept = [replace(d, options={**d.options, "n": n}) for d in kept]
        resamples = self.resamples if resamples is None else check_count(resamples, "resamples")
        grid = replace(self, datasets=tuple(kept), resamples=resamples)
        if not classifiers:
            return grid
        held = {s.classifier for s in self.settings()}
        for wish in classifiers:
            if wish not in held:
                raise InputError(f"unknown classifier {wish!r}: {among(wish, sorted(held))}")
        blocks = tuple({**block, "only": tuple(classifiers)} for block in self.blocks)
        references = tuple(r for r in self.references if r["name"] in classifiers)
        return replace(grid, blocks=blocks, references=references)

    def settings(self) -> tuple[Setting, ...]:
        """Every run of the grid, once, by dataset and encoder; references last."""
        found: dict[str, Setting] = {}
        for dataset, encoders in itertools.product(self.datasets, self.encoders):
            for knowledge in dataset.knowledge or (dataset.name.split("/")[0],):
                for block in self.blocks:
                    for setting in unfold(block, dataset, encoders, knowledge, self.seeds):
                        found.setdefault(setting.key, setting)
            for line in self.references:
                for setting in unfold_reference(line, dataset, encoders, self.seeds[0]):
                    found.setdefault(setting.key, setting)
        return tuple(found.values())


def _dataset(item: str | dict, common: dict) -> DatasetSpec:
    item = {"name": item} if isinstance(item, str) else item
    check_known(item, [f.name for f in fields(DatasetSpec)], "a dataset of the grid")
    if "name" not in item:
        raise InputError("a dataset of the grid has no 'name'; give one")
    for name in (item["name"], *([item["pool"].get("name")] if item.get("pool") else [])):
        if str(name).split("/")[0] not in known_datasets():
            raise InputError(f"unknown dataset {name!r}: {among(str(name).split('/')[0], known_datasets())}")
    knowledge = item.get("knowledge", ())
    knowledge = (knowledge,) if isinstance(knowledge, str) else tuple(knowledge)
    return DatasetSpec(**{**item, "options": {**common, **item.get("options", {})}, "knowledge": knowledge})
