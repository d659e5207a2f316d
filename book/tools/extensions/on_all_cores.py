"""Sphinx extension: pages are read and written by as many processes as there are cores.

Sphinx does so where every extension says that it is safe. Those that say nothing keep nothing between pages, and a
domain without data, as that of sphinx-proof is, has nothing to merge.
"""

import os
import pkgutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains import Domain
from sphinx.environment import BuildEnvironment
from sphinx.util.parallel import ParallelTasks, SerialTasks, parallel_available

import kpl_lib

CORES = os.cpu_count() or 1


def tasks() -> ParallelTasks | SerialTasks:
    """What runs tasks in forks, as many at once as there are cores; one after another where there are no forks."""
    return (ParallelTasks if parallel_available and CORES > 1 else SerialTasks)(CORES)


def for_each(work: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Do some work on each item; each core takes its share of them."""
    running = tasks()
    for part in range(CORES):
        running.add_task(lambda some: list(map(work, some)), items[part::CORES])
    running.join()


def import_library() -> None:
    """Import each module that the reference shows, before there are forks that would do it again."""
    for module in pkgutil.walk_packages(kpl_lib.__path__, "kpl_lib.", onerror=lambda name: None):
        if "._" not in module.name:
            with suppress(ImportError):  # of a package that is not installed: the reference will say so
                import_module(module.name)


def all_safe(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """Take extensions that say nothing for safe, and let domains without data merge it."""
    for extension in app.extensions.values():
        if extension.parallel_read_safe is None:
            extension.parallel_read_safe = True
    for domain in env.domains.values():
        if type(domain).merge_domaindata is Domain.merge_domaindata and not domain.initial_data:
            domain.merge_domaindata = lambda pages, other: None
    if CORES > 1:
        import_library()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.parallel = CORES + 1 if CORES > 1 else 1  # one of them waits for the others
    app.connect("env-before-read-docs", all_safe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
