"""What pytest says of a notebook that stops: its cell, and what the page had said."""

from pathlib import Path

import pytest

from book.tools.building.stopped import where_it_stopped


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
