"""Compiled functions, also where compiled code cannot be kept."""

from kpl_lib.common.compiled import machine_code


def test_compiles_without_a_place_for_the_compiled_code(monkeypatch):
    asked = []

    def njit(cache, **options):
        asked.append((cache, options))
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function  # the same function, not compiled

    monkeypatch.setattr("numba.njit", lambda **options: njit(**options))
    assert machine_code(lambda x: x + 1, nogil=True)(2) == 3
    assert asked == [(True, {"nogil": True}), (False, {"nogil": True})]
