"""Places where a GPU waits for the host: none more than data/results/host_reads.json lists, and none more often."""

import json

import host_reads
import pytest

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
