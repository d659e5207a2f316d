"""The figure of the landing page: drawn from the recorded numbers, and from nothing else."""

import json
import re

import pytest

from book.tools.building import overview


@pytest.fixture(scope="module")
def rows():
    return json.loads(overview.NUMBERS.read_text(encoding="utf-8"))["rows"]


def coordinates(svg: str) -> list[float]:
    """Every coordinate outside the embedded images: two drawings are equal when these are."""
    return [float(number) for number in re.findall(r"-?\d+\.\d+", re.sub(r'"data:[^"]*"', "", svg))]


def test_the_figure_is_the_one_that_the_numbers_give(rows):
    drawn, kept = coordinates(overview.draw(rows)), coordinates(overview.PICTURE.read_text(encoding="utf-8"))
    assert len(drawn) > 400
    assert drawn == pytest.approx(kept, abs=0.01), "run `python -m book.tools overview`"


def test_another_number_gives_another_figure(rows):
    other = json.loads(json.dumps(rows))
    other["cataract"]["KPL"][0] += 1
    assert coordinates(overview.draw(other)) != pytest.approx(coordinates(overview.draw(rows)), abs=0.01)


def test_each_interval_holds_its_value_and_has_an_origin(rows):
    assert set(rows) == set(overview.SETS)
    for methods in rows.values():
        assert list(methods) == list(overview.METHODS)
        assert all(low < value < high for value, low, high in methods.values())
    assert "synthetic phantoms" in json.loads(overview.NUMBERS.read_text(encoding="utf-8"))["origin"]
