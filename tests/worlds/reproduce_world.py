"""What `kpl reproduce` finds in a small world: sets in their own layouts, packed, with cards that give their sizes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import dataset_layouts

from kpl_lib.benchmark.plan import Plan, plan
from kpl_lib.common.files import data_dir
from kpl_lib.datasets import load

CLASSIFIERS = ["clip", "cupl", "kpl-closed-form"]


def small_world(folder: Path, monkeypatch) -> Path:
    """Archives of Montgomery (10 images) and malaria (8), whose checksum is a wrong one; gives their folder."""
    archives = folder / "archives"
    archives.mkdir()
    dataset_layouts.chest(folder / "chest", "montgomery", normal=6, abnormal=4)
    shutil.make_archive(str(archives / "NLM-MontgomeryCXRSet"), "zip", folder / "chest")
    dataset_layouts.malaria(folder / "cells")
    shutil.make_archive(str(archives / "cell_images"), "zip", folder / "cells")
    cards = json.loads((data_dir() / "datasets.json").read_text(encoding="utf-8"))
    for card in cards["datasets"]:
        card["images"] = {"montgomery": {"": 10, "all": 10}}.get(card["name"], card["images"])
    (folder / "datasets.json").write_text(json.dumps(cards), encoding="utf-8")
    monkeypatch.setattr(load, "data_dir", lambda: folder)
    monkeypatch.setenv("KPL_DATA", str(folder / "data"))
    return archives


def small_plan(out: Path, archives: Path, sets=("montgomery",), encoders=("phantom",), **change) -> Plan:
    """A plan with a few quick classifiers and resamples."""
    made = plan(out, sets, encoders, archives=archives, workers=0)
    grid = made.grid.narrow(classifiers=change.get("classifiers", CLASSIFIERS), resamples=20)
    return replace(made, grid=grid)


def figures(out: Path) -> dict[str, dict]:
    """The rows of a folder by key, without what differs from run to run."""
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["key"]: {k: v for k, v in row.items() if k not in ("seconds", "date")} for row in rows}
