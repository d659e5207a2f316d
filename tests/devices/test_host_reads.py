"""Places where a GPU waits for the host: none more than data/results/host_reads.json lists, and none more often."""

import json
from dataclasses import replace

import host_reads
import pytest
from core_world import bank_of, world
from pretended_device import DEVICE, pretended

from kpl_lib.classifiers import available, create
from kpl_lib.features import Features

STORED = json.loads(host_reads.FILE.read_text(encoding="utf-8"))
MORE = 1.1  # loops that stop at a tolerance take a step more or less where sums are rounded another way


def test_everything_that_is_counted_is_stored_with_its_size_and_versions():
    assert set(STORED["reads"]) == set(host_reads.works()), "count again: python tests/devices/host_reads.py"
    assert STORED["size"] == host_reads.SIZE and set(STORED["versions"]) == {"kpl_lib", "torch"}


@pytest.mark.parametrize("name", STORED["reads"])
def test_no_place_reads_more_than_is_stored(name):
    stored = STORED["reads"][name]
    over = {
        place: (found, stored.get(place, 0))
        for place, found in host_reads.count(name).items()
        if found > MORE * stored.get(place, 0)
    }
    assert not over, f"now and stored: {over}; read less, or count again: python tests/devices/host_reads.py"


@pytest.fixture(scope="module")
def many():
    """Images, and texts of 1,000 classes."""
    images, texts, labels = world(120, 16, 1000, 9)
    bank = bank_of(texts.float())
    bank = replace(bank, controls={"random": bank.descriptions})
    return Features(images.float(), labels, bank.class_names), bank


FEW = {"steps": 2, "rounds": 1, "iterations": 2, "sweeps": 60}


LONG = ("kpl-adaptive", "otter")
EVERY = [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in available(patches=True)]


def reads_of_a_fit(name, many, **given):
    with pretended() as reads:
        images, bank = (part.to(DEVICE) for part in many)
        reads.clear()
        create(name, **given).fit(images, bank)
    return reads


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EVERY)
def test_a_fit_to_a_thousand_classes_reads_no_more_than_to_ten(name, many):
    reads = reads_of_a_fit(name, many, **{key: FEW[key] for key in FEW if key in create(name).parameters})
    assert reads.total() <= 20, dict(reads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ("kpl", "inmap-sinkhorn"))
def test_two_thousand_steps_read_no_more(name, many):
    reads = reads_of_a_fit(name, many)
    assert reads["solvers.gradient.descend"] >= 8 and reads.total() <= 20, dict(reads)
