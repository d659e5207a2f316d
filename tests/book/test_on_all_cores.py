"""Pages are read and written by several processes: who is taken for safe, and that each item is done once."""

import os
from types import SimpleNamespace
from typing import ClassVar

import pytest
from sphinx.domains import Domain
from sphinx.errors import SphinxParallelError

from book.tools.extensions import on_all_cores


class Empty(Domain):
    """A domain that keeps nothing, as that of sphinx-proof."""


class Full(Domain):
    """A domain that keeps something, and cannot merge it."""

    initial_data: ClassVar[dict] = {"pages": {}}


def test_who_says_nothing_is_safe_and_who_says_no_is_not(monkeypatch):
    monkeypatch.setattr(on_all_cores, "import_library", lambda: None)
    said = {name: SimpleNamespace(parallel_read_safe=name) for name in (None, True, False)}
    domains = {kind: object.__new__(kind) for kind in (Empty, Full)}
    env = SimpleNamespace(domains=domains)
    on_all_cores.all_safe(SimpleNamespace(extensions=said), env, [])
    assert [said[name].parallel_read_safe for name in (None, True, False)] == [True, True, False]
    assert domains[Empty].merge_domaindata(["page"], {}) is None
    with pytest.raises(NotImplementedError):
        domains[Full].merge_domaindata(["page"], {})


def test_each_item_is_done_once_on_every_core(tmp_path, monkeypatch):
    monkeypatch.setattr(on_all_cores, "CORES", 2)
    on_all_cores.for_each(lambda item: (tmp_path / item).write_text(str(os.getpid())), list("abcde"))
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(found) == list("abcde") and len(set(found.values())) == 2
    assert str(os.getpid()) not in found.values()


def test_an_error_in_a_process_is_raised(monkeypatch):
    monkeypatch.setattr(on_all_cores, "CORES", 2)
    with pytest.raises(SphinxParallelError, match="ZeroDivisionError"):
        on_all_cores.for_each(lambda item: 1 / item, [1, 0])
