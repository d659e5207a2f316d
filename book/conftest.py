"""Notebooks under pytest: warm kernels, and what a page that stops had said."""

from pathlib import Path

import pytest

from book.tools.building.stopped import where_it_stopped
from book.tools.building.warm import kernel_for, warm_kernels


def pytest_configure(config: pytest.Config) -> None:
    """Keep warm kernels while notebooks are run; the workers of xdist inherit them."""
    if config.getoption("nbmake", False) and not hasattr(config, "workerinput"):
        warm = warm_kernels(
            [Path(name) for name in config.args if name.endswith(".ipynb")]
        )
        warm.__enter__()
        config.add_cleanup(lambda: warm.__exit__(None, None, None))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Choose the kernel of a notebook."""
    if getattr(item, "nbmake", False):
        item.config.option.nbmake_kernel = kernel_for(Path(item.filename))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> None:
    """Add the cell and the sentence to the report of a notebook."""
    result = (
        call.excinfo.value.args[0]
        if call.excinfo and getattr(item, "nbmake", False)
        else None
    )
    if getattr(result, "nb", None):
        item.add_report_section(
            "call", "by nbmake", where_it_stopped(Path(item.filename), result.nb.cells)
        )
