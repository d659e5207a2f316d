"""What `kpl reproduce` will do, and what it will cost, before anything is fetched."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from kpl_lib.benchmark.grid import DatasetSpec, Grid
from kpl_lib.common.checks import check_count
from kpl_lib.common.devices import choose_device
from kpl_lib.common.errors import InputError, closest
from kpl_lib.datasets.base import DatasetCard
from kpl_lib.datasets.load import card, default_root, load_dataset
from kpl_lib.encoders.load import available as shipped_encoders
from kpl_lib.encoders.table import encoder_table

#: Architectures whose image towers do as much work as those of models that open_clip does not describe.
LIKE = {
    "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": "ViT-B-16",
    "hf-hub:vinid/plip": "ViT-B-32",
}
SHARE = 0.5  # of the speed of one large product that an encoder reaches: an assumption
DECODED = 100.0  # images a second that one process decodes: an assumption, as in `scaling_cost.json`
WIDTH = 1024  # numbers in a feature, where the table of encoders does not say


@dataclass(frozen=True)
class SetPlan:
    """One set of images.

    Args:
        spec: as the grid names it.
        facts: what is known about it without its files.
        source: where it comes from: `there`, `archives` or `download`.
        missing: why it cannot be had; empty where it can.

    Chapter: ch-benchmark
    """

    spec: DatasetSpec
    facts: DatasetCard
    source: str
    missing: str = ""


@dataclass(frozen=True)
class EncoderPlan:
    """One encoder, counted without its weights.

    Args:
        name: for `load_encoder`.
        weights: numbers in it; None where that is not known.
        operations: of one image; None where that is not known.

    Chapter: ch-benchmark
    """

    name: str
    weights: int | None
    operations: int | None


@dataclass(frozen=True)
class Plan:
    """What is fetched, encoded and run.

    Args:
        out: the folder of rows.
        grid: of all runs.
        sets, encoders: what is had and what not.
        archives: folder of files that the reader fetched.
        device: where to compute.
        workers: processes that decode; None lets the encoder choose.

    Chapter: ch-benchmark
    """

    out: Path
    grid: Grid
    sets: tuple[SetPlan, ...]
    encoders: tuple[EncoderPlan, ...]
    archives: Path | None
    device: torch.device
    workers: int | None

    @property
    def had(self) -> tuple[SetPlan, ...]:
        """The sets that are there or can be had."""
        return tuple(one for one in self.sets if not one.missing)

    def __str__(self) -> str:
        images = sum(one.facts.images[""] for one in self.had)
        lines = [f"{one.spec.name}: {_said(one)}" for one in self.sets]
        hours, speed = 0.0, product_speed(self.device)
        cores = min(8, os.cpu_count() or 1) if self.workers is None else max(1, self.workers)
        for one in self.encoders:
            known = ["not counted"]
            if one.operations:
                rate = min(SHARE * speed / one.operations, DECODED * cores)
                hours += images / rate / 3600
                known = [f"{images / rate / 3600:,.1f} h at {rate:,.1f} images/s"]
            known += [f"weights of {4 * one.weights / 1e9:.1f} GB"] if one.weights else []
            lines.append(f"{one.name}: {', '.join(known)}")
        fetched = sum(_size(one.facts) for one in self.had if one.source == "download") / 1e9
        lines += [
            f"in all: {fetched:,.1f} GB of images to download; {len(self.encoders)} x {images:,} images to encode, "
            f"about {hours:,.1f} h on {self.device}; then {len(self.settings):,} rows, seconds to minutes each; memory "
            f"about {self.memory / 1e9:.1f} GB; what is there is not done again",
            f"(hours: counted operations, at {SHARE:.0%} of the {speed / 1e9:,.0f} GFLOP/s of one product here now, "
            f"and at most {DECODED:.0f} decoded images/s a process: an estimate, not measured)",
        ]
        return "\n".join(lines)

    @property
    def settings(self) -> tuple:
        """The runs on the sets that are had."""
        names = [one.spec.name for one in self.had]
        return self.grid.narrow(datasets=names).settings() if names else ()

    @property
    def memory(self) -> int:
        """Bytes at once, about: weights twice while they load, or features, scores and their copies."""
        known = {row.name: row.width for row in encoder_table()}
        width = max((known.get(one.name, WIDTH) for one in self.encoders), default=0)
        facts = [(one.facts.images[""], len(one.facts.class_names)) for one in self.had]
        runs = max((8 * n * (width + 6 * classes) for n, classes in facts), default=0)
        return 8 * max((one.weights or 0 for one in self.encoders), default=0) + runs


def plan(
    out: str | Path,
    sets: Sequence[str] | None = None,
    encoders: Sequence[str] | None = None,
    *,
    archives: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan a run of `kpl reproduce`; nothing is fetched or written.

    Args:
        out: folder of rows.
        sets: names of sets with files; None takes those of the grid `reproduce`.
        encoders: for `load_encoder`; None takes those of the grid.
        archives: folder with archives under their original names.
        device: where to compute; None chooses.
        workers: processes that decode; None lets the encoder choose.

    Returns:
        The plan; print it to see what it costs.

    Raises:
        InputError: for an unknown set, encoder or device (the nearest known one is said), and a missing folder.

    Example:
        >>> plan("out", ["montgmery"])
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: unknown dataset 'montgmery': did you mean 'montgomery'? ...

    Chapter: ch-benchmark
    """
    grid = Grid.load("reproduce")
    families = {one.name: one for one in grid.datasets}
    facts = {name: card(name) for name in (families if sets is None else dict.fromkeys(sets))}
    if not facts:
        raise InputError("no set is named; name at least one, or leave --sets out")
    specs = tuple(replace(families[name.split("/")[0]], name=name) for name in facts)
    if archives is not None and not Path(archives).is_dir():
        raise InputError(f"{archives}: no such folder; name the folder that holds the archives")
    names = [one for (one,) in grid.encoders] if encoders is None else list(dict.fromkeys(encoders))
    for name in names:
        _check_encoder(name)
    return Plan(
        Path(out),
        replace(grid, datasets=specs, encoders=tuple((name,) for name in names)),
        tuple(_set_plan(spec, facts[spec.name], archives) for spec in specs),
        tuple(EncoderPlan(name, *_counted(name)) for name in names),
        None if archives is None else Path(archives),
        choose_device(device),
        None if workers is None else check_count(workers, "workers", 0),
    )


def _set_plan(spec: DatasetSpec, facts: DatasetCard, archives: str | Path | None) -> SetPlan:
    """Where a set comes from: its folder, the archives that are all given, or its source."""
    if default_root(spec.name).is_dir():
        try:
            load_dataset(spec.name)
            return SetPlan(spec, facts, "there")
        except InputError:
            pass  # half a download, or another thing: what is fetched says it
    missing = [a.file for a in facts.archives if archives is None or not (Path(archives) / a.file).is_file()]
    if not missing:
        return SetPlan(spec, facts, "archives")
    if facts.direct:
        return SetPlan(spec, facts, "download")
    place = "name its folder as --archives" if archives is None else f"not in {archives}"
    why = f"{' and '.join(missing)} must be fetched by hand: {place}; steps: kpl datasets get {spec.name}"
    return SetPlan(spec, facts, "", why)


def _check_encoder(name: str) -> None:
    """Refuse a name that cannot be an encoder's before anything is fetched."""
    known = [*shipped_encoders(), *(row.name for row in encoder_table())]
    if name not in known and not name.startswith(("hf-hub:", "path:")) and "/" not in name:
        near = closest(name, known, 3, 0.3)
        raise InputError(f"unknown encoder {name!r}; nearest: {', '.join(near) or 'none'}")


@cache
def _counted(name: str) -> tuple[int | None, int | None]:
    """Numbers in a model and operations of its image tower on one image, counted on a model without memory."""
    architecture = LIKE.get(name, name.split("/")[0])
    config = None if ":" in architecture else open_clip.get_model_config(architecture)  # else it asks the hub
    if config is None or set(config) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}:
        return None, None
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = open_clip.CLIP(**config).eval()
        model.encode_image(torch.empty(1, 3, *(2 * [config["vision_cfg"]["image_size"]])))
    weights = None if name in LIKE else sum(weight.numel() for weight in model.parameters())
    return weights, counter.get_total_flops()


def product_speed(device: torch.device, size: int = 1536, times: int = 3) -> float:
    """Operations a second of float32 products on a device, the best of a few."""
    matrix, best = torch.ones(size, size, device=device), float("inf")
    for _ in range(times):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _size(facts: DatasetCard) -> float:
    """Bytes of a set as its card says them in words, the largest of several."""
    found = re.findall(r"([\d.]+) (GB|MB)", facts.size)
    return max((float(x) * {"GB": 1e9, "MB": 1e6}[unit] for x, unit in found), default=0.0)


def _said(one: SetPlan) -> str:
    """Where a set comes from, in words."""
    how = {
        "there": "on this machine",
        "archives": "from archives",
        "download": f"download ({one.facts.size})",
    }
    texts = one.spec.knowledge == ("class-names",)
    return one.missing or (
        f"{one.facts.images['']:,} images, {how[one.source]}"
        + "; no knowledge base ships, so only what needs class names alone runs" * texts
    )
