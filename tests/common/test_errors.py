"""Errors in one line, and the nearest known word."""

from kpl_lib.common.errors import among, closest, did_you_mean, one_line


def test_an_error_is_one_line_of_limited_length():
    assert one_line(ValueError("a\n  b")) == "a b" and one_line(ValueError("x" * 300)) == "x" * 120
    assert one_line(ValueError("")) == "ValueError" and one_line(KeyError("k"), 9, kind=True) == "KeyError:"


def test_the_nearest_word_is_said_and_all_are_listed():
    assert did_you_mean("visua", ("visual", "cupl")) == "did you mean 'visual'? "
    assert did_you_mean(3, ("visual",)) == "" and among("x", ()) == "known: none"
    assert closest("abcd", ["abce", "abcf", "xyz"], 2) == ["abcf", "abce"]
