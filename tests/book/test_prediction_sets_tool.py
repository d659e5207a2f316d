"""The experiment behind the figures of set sizes, scanners and alarms: its three parts, and the table that it wrote."""

import pandas as pd
import pytest
import torch
from text_world import world

from book.tools.research.dev_world import ENCODERS, PHANTOMS
from book.tools.research.prediction_sets import COUNTS, VARIANTS, alarms, scanner, sizes
from kpl_lib.common.files import data_dir
from kpl_lib.features import Features, TextBank


def scan(seed: int, n: int = 480, noise: float = 0.3) -> tuple[Features, TextBank]:
    """Images with labels, and the texts of three classes."""
    images, texts, names = world(0, n, noise=noise)
    push = torch.zeros_like(images[0])
    push[0] = float(seed)
    images = torch.nn.functional.normalize(images + push, dim=1)
    return Features(images, torch.arange(n) % 3, {}), TextBank(("cat", "dog", "bird"), texts, names)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sizes_are_counted_for_four_ways_at_the_coverage_that_was_asked():
    features, bank = scan(0, n=900, noise=0.5)
    some = torch.cat([torch.arange(0, 900, 3), torch.arange(1, 900, 12), torch.arange(2, 900, 12)])
    rows = list(sizes(Features(features.images[some], features.labels[some], {}), bank, halves=3))
    assert [row["way"] for row in rows] == ["text", "joint step", "joint step, true shares", "kpl-adaptive"]
    assert all(row["coverage"] == pytest.approx(0.9, abs=0.04) for row in rows)
    text, even, told = (row["size"] for row in rows[:3])
    assert told < text < even  # one class holds two thirds of the images


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_scanner_is_counted_apart_and_rings():
    (seen, bank), (unseen, _) = scan(0), scan(2)
    for row in scanner(seen, unseen, bank, halves=3):
        assert row["coverage"] > 0.8 and row["coverage elsewhere"] < row["coverage"] - 0.1
    rows = {(row["way"], row["images"]): row["alarms"] for row in alarms(seen, unseen, seen, draws=4)}
    assert {images for _, images in rows} == set(COUNTS)
    assert all(rows["other scanner", images] == 1 for images in COUNTS)
    assert rows["same source", 50] < 1


def test_the_table_has_every_set_encoder_and_variant():
    table = pd.read_csv(data_dir() / "results" / "prediction_sets.csv", comment="#")
    counts = table.groupby("experiment").size()
    worlds = len(PHANTOMS) * len(ENCODERS)
    assert dict(counts) == {
        "sizes": 4 * len(VARIANTS) * worlds,
        "scanner": 2 * worlds,
        "alarms": 4 * len(COUNTS) * worlds,
    }
    asked = table[(table["experiment"] == "sizes") & table["way"].isin(["text", "joint step"])]
    assert asked["coverage"].between(0.89, 0.91).all()
