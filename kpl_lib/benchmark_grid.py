"""What a benchmark runs: a grid as data, unfolded into single runs."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from kpl_lib.benchmark_settings import (
    DatasetSpec,
    Setting,
    check_known,
    matches,
    nearest,
    unfold,
    unfold_reference,
)
from kpl_lib.datasets import available as known_datasets
from kpl_lib.errors import InputError
from kpl_lib.paths import data_dir
from kpl_lib.validation import check_count

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
        encoders: names for `load_encoder`.
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
    encoders: tuple[str, ...] = ("phantom",)
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
        path = _find(name_or_path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(
                f"{path}: no such file; name a grid ({', '.join(known_grids())}) or a file"
            ) from None
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: not a grid that can be read ({error}); correct it") from None
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
        grid = self
        if datasets:
            kept = [d for d in self.datasets if any(matches(d.name, wish) for wish in datasets)]
            for wish in datasets:
                if not any(matches(d.name, wish) for d in self.datasets):
                    raise InputError(
                        f"unknown dataset {wish!r}: {nearest(wish, [d.name for d in self.datasets])}"
                    )
            grid = replace(grid, datasets=tuple(kept))
        if n is not None:
            check_count(n, "n")
            resized = (replace(d, options={**d.options, "n": n}) for d in grid.datasets)
            grid = replace(grid, datasets=tuple(resized))
        if classifiers:
            held = {s.classifier for s in self.settings()}
            for wish in classifiers:
                if wish not in held:
                    raise InputError(f"unknown classifier {wish!r}: {nearest(wish, sorted(held))}")
            blocks = [{**b, "only": tuple(classifiers)} for b in grid.blocks]
            lines = [r for r in grid.references if r["name"] in classifiers]
            grid = replace(grid, blocks=tuple(blocks), references=tuple(lines))
        return grid if resamples is None else replace(grid, resamples=check_count(resamples, "resamples"))

    def settings(self) -> tuple[Setting, ...]:
        """Every run of the grid, once, by dataset and encoder; references last."""
        found: dict[str, Setting] = {}
        for dataset, encoder in itertools.product(self.datasets, self.encoders):
            for knowledge in dataset.knowledge or (dataset.name.split("/")[0],):
                for block in self.blocks:
                    for setting in unfold(block, dataset, encoder, knowledge, self.seeds):
                        found.setdefault(setting.key, setting)
            for line in self.references:
                for setting in unfold_reference(line, dataset, encoder, self.seeds[0]):
                    found.setdefault(setting.key, setting)
        return tuple(found.values())


def known_grids() -> tuple[str, ...]:
    """Names of the grids that ship with the library.

    Chapter: ch-benchmark
    """
    return tuple(sorted(path.stem for path in (data_dir() / "benchmarks").glob("*.json")))


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix or path.parent != Path("."):
        return path
    if str(name_or_path) in known_grids():
        return data_dir() / "benchmarks" / f"{name_or_path}.json"
    raise InputError(
        f"unknown grid {str(name_or_path)!r}: {nearest(name_or_path, known_grids())}; or name a .json file"
    )


def _dataset(item: str | dict, common: dict) -> DatasetSpec:
    item = {"name": item} if isinstance(item, str) else item
    check_known(item, [f.name for f in fields(DatasetSpec)], "a dataset of the grid")
    if "name" not in item:
        raise InputError("a dataset of the grid has no 'name'; give one")
    for name in (item["name"], *([item["pool"].get("name")] if item.get("pool") else [])):
        if str(name).split("/")[0] not in known_datasets():
            raise InputError(
                f"unknown dataset {name!r}: {nearest(str(name).split('/')[0], known_datasets())}"
            )
    knowledge = item.get("knowledge", ())
    knowledge = (knowledge,) if isinstance(knowledge, str) else tuple(knowledge)
    return DatasetSpec(**{**item, "options": {**common, **item.get("options", {})}, "knowledge": knowledge})
