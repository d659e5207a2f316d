"""What tests of the built book share: a browser, and the site as this machine serves it.

Playwright is imported when a test asks for it: Colab's environment has none, and runs the other tests of this folder.
"""

import pytest


@pytest.fixture(scope="module")
def chrome():
    from browser import browser

    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def base():
    from browser import SITE, served

    assert (SITE / "index.html").is_file(), "no index.html: run `make book` first"
    with served(SITE) as address:
        yield address
