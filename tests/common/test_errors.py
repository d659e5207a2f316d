"""Errors in one line, and the nearest known word."""

import warnings

import pytest

from kpl_lib.common.errors import among, closest, did_you_mean, noted, one_line


def test_an_error_is_one_line_of_limited_length():
    assert one_line(ValueError("a\n  b")) == "a b" and one_line(ValueError("x" * 300)) == "x" * 120
    assert one_line(ValueError("")) == "ValueError" and one_line(KeyError("k"), 9, kind=True) == "KeyError:"


def test_the_nearest_word_is_said_and_all_are_listed():
    assert did_you_mean("visua", ("visual", "cupl")) == "did you mean 'visual'? "
    assert did_you_mean(3, ("visual",)) == "" and among("x", ()) == "known: none"
    assert closest("abcd", ["abce", "abcf", "xyz"], 2) == ["abcf", "abce"]


@pytest.mark.parametrize("others", [False, True])
def test_warnings_of_other_kinds_are_given_again_where_asked(others):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with noted(others=others) as notes:
            warnings.warn("k is clipped", UserWarning, stacklevel=1)
            warnings.warn("numpy will change", FutureWarning, stacklevel=1)
    assert notes == ["k is clipped"]
    assert [str(found.message) for found in caught] == ["numpy will change"] * others
