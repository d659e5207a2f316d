"""Phantoms: the same images for a seed everywhere; classes agree with findings; honest captions."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import load_dataset
from kpl_lib.datasets.sets.phantom import NAMES, load
from kpl_lib.phantoms import captions, cell, chest, fundus
from kpl_lib.phantoms.attributes import CLASSES, FREE, SKEWED, detail, draw_class, draw_free, name_class
from kpl_lib.phantoms.corpus import SHARES, make_corpus
from kpl_lib.phantoms.phrases import FINDINGS

BLOCKS = (
    Path(__file__).parent / "phantom_blocks.json"
)  # written by `python -m tests.test_phantoms`, after a look at the images


def drawn_checksum() -> str:
    """Checksum of what is drawn (labels and findings), before any pixel."""
    drawn = {}
    for name in NAMES:
        for balance in ("even", "skewed"):
            dataset = load(name, n=50, balance=balance)
            drawn[f"{name}/{balance}"] = [dataset.labels, dataset.read.findings]
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()


def block_means() -> dict[str, list]:
    """Means of 8 x 8 blocks of two images a set and scanner."""
    found = {}
    for name in NAMES:
        for scanner in ("seen", "unseen"):
            dataset = load(name, n=2, scanner=scanner)
            pixels = np.stack([np.asarray(dataset[i][0], np.float64) for i in range(2)])
            means = pixels.reshape(2, 12, 8, 12, 8, 3).mean((2, 4))
            found[f"{name}/{scanner}"] = means.round(1).tolist()
    return found


def test_same_seed_same_findings_and_pixels():
    expected = json.loads(BLOCKS.read_text())
    assert drawn_checksum() == expected["drawn"]
    found = block_means()
    for key, means in expected["blocks"].items():
        assert np.abs(np.array(found[key]) - np.array(means)).max() <= 2, key


def test_image_i_does_not_depend_on_n_or_on_reading_order():
    short, long = load("phantom-malaria", n=4), load("phantom-malaria", n=9)
    assert long[3][0].tobytes() == short[3][0].tobytes()
    assert long[8][0].tobytes() == load("phantom-malaria", n=9)[8][0].tobytes()


@pytest.mark.parametrize("other", [{"split": "dev"}, {"seed": 1}, {"scanner": "seen"}, {"balance": "skewed"}])
def test_every_option_changes_the_images(other):
    first, second = load("phantom-retinopathy", n=3), load("phantom-retinopathy", n=3, **other)
    assert all(first[i][0].tobytes() != second[i][0].tobytes() for i in range(3))


@pytest.mark.parametrize("name", NAMES)
def test_balance_is_what_it_says(name):
    task = name.removeprefix("phantom-")
    even, skewed = Counter(load(name, n=2000).labels), Counter(load(name, n=2000, balance="skewed").labels)
    assert max(even.values()) - min(even.values()) <= 1
    assert all(abs(skewed[label] / 2000 - share) < 0.04 for label, share in enumerate(SKEWED[task]))


@pytest.mark.parametrize("task", CLASSES)
def test_classes_agree_with_the_naming_rule(task):
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES[task]):
        assert all(name_class(task, draw_class(task, label, rng)) == name for _ in range(200))


@pytest.mark.parametrize("modality", FREE)
def test_pretraining_findings_are_independent(modality):
    rng = np.random.default_rng(0)
    present = np.array(
        [
            [name in drawn for name in FREE[modality]]
            for drawn in (draw_free(modality, rng) for _ in range(4000))
        ]
    )
    lone = present[present.sum(1) == 2]
    pairs = Counter(tuple(np.flatnonzero(row)) for row in lone)
    expected = len(lone) / (len(FREE[modality]) * (len(FREE[modality]) - 1) / 2)
    assert all(abs(count - expected) < 6 * expected**0.5 for count in pairs.values())


def test_captions_name_a_class_rarely_and_only_the_right_one():
    rng, named = np.random.default_rng(0), 0
    for _ in range(4000):
        findings = draw_free("fundus", rng)
        said = captions.caption_scan("fundus", findings, rng)
        name = next((n for n in CLASSES["retinopathy"] + CLASSES["cataract"] if n in said), None)
        if name:
            named += 1
            assert name in {name_class("retinopathy", findings), name_class("cataract", findings)}
    assert 0 < named / 4000 < 2 * captions.NAME_RATE < 0.05


def test_every_finding_has_words_and_a_brush():
    for modality, module in {"chest": chest, "fundus": fundus, "cell": cell}.items():
        plain = module.render({}, np.random.default_rng(3))
        for name in FREE[modality]:
            assert len(FINDINGS[name]) >= 4
            drawn = module.render({name: detail(name, np.random.default_rng(1))}, np.random.default_rng(3))
            assert np.abs(drawn - plain).max() > 0.1, name


def test_corpus_does_not_depend_on_workers():
    one, two = (
        make_corpus(300, 5, captions=2, workers=1, progress=False),
        make_corpus(300, 5, captions=2, workers=2, progress=False),
    )
    assert one.captions == two.captions
    assert (one.images == two.images).all()
    assert set(one.kinds) <= set(SHARES) and len(set(one.kinds)) >= 5


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("phantom-brain", {}, "phantom-chest"),
        ("phantom-chest", {"scanner": "x"}, "seen, unseen"),
        ("phantom-chest", {"n": 0}, "n must be"),
        ("phantom-chest", {"seed": -1}, "seed"),
    ],
)
def test_bad_options_say_what_is_allowed(name, options, told):
    with pytest.raises(InputError, match=told):
        load(name, **options)


def test_load_dataset_reads_options_from_the_name():
    dataset = load_dataset("phantom-chest/seen/skewed", n=5)
    assert (
        dataset[0][0].tobytes()
        == load("phantom-chest", scanner="seen", balance="skewed", n=5)[0][0].tobytes()
    )


if __name__ == "__main__":
    BLOCKS.write_text(json.dumps({"drawn": drawn_checksum(), "blocks": block_means()}) + "\n")
