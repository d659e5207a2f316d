"""Print the built site as one PDF: `make pdf`, after `make book`. Prints the path of the file.

Chromium lays the book out twice: the first time tells on which page each chapter begins.
"""

import os
import shutil
import sys
from html import escape
from io import BytesIO
from pathlib import Path

from playwright.sync_api import Page, Route, sync_playwright
from pypdf import PdfReader

import kpl_lib
from book.tools.building.one_page import document
from book.tools.building.setup_cell import ROOT, config
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path

ORIGIN = "http://book.local/"  # never asked for: every request is answered from the folder of the site
FLAGS = ["--no-sandbox", "--disable-gpu"]
FOOTER = (
    '<div style="width: 100%; font: 8px sans-serif; color: #555; text-align: center">'
    '<span class="pageNumber"></span></div>'
)
FILL = """numbers => document.querySelectorAll('[data-page-of]').forEach(
    slot => slot.textContent = numbers[slot.dataset.pageOf])"""
READY = "async () => { if (window.MathJax) await MathJax.startup.promise; await document.fonts.ready; }"


def chromium() -> str:
    """The browser's path: CHROMIUM, or the first one on the PATH.

    Raises:
        InputError: if there is none.
    """
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if found is None:
        raise InputError("no Chromium was found: install the package chromium, or name one, CHROMIUM=/path")
    return found


def answer(site: Path, html: str):
    """What answers the browser: the one document, the files of the site, and nothing else."""

    def handle(route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN).split("?")[0]
        if path == "book.html":
            route.fulfill(body=html, content_type="text/html; charset=utf-8")
        elif route.request.url.startswith(ORIGIN) and (site / path).is_file():
            route.fulfill(path=site / path)
        else:
            route.abort()

    return handle


def lay_out(page: Page) -> bytes:
    """The pages as they stand."""
    return page.pdf(
        print_background=True,
        prefer_css_page_size=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
        outline=True,
        tagged=True,
    )


def first_pages(pdf: bytes) -> dict[str, int]:
    """On which page each named place of the PDF lies, from 1."""
    reader = PdfReader(BytesIO(pdf))
    return {
        name.lstrip("/"): reader.get_destination_page_number(place) + 1
        for name, place in reader.named_destinations.items()
    }


def print_book(site: Path, target: Path, title: str, facts: str) -> int:
    """Write the site as one PDF, whole or not at all; give the number of its pages.

    Raises:
        InputError: if there is no site or no Chromium, or the file cannot be written.
    """
    if not (site / "intro.html").is_file():
        raise InputError(f"there is no site in {site}: run `make book` first")
    browser_path, html = chromium(), document(site, title, facts)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.route("**/*", answer(site, html))
        page.goto(f"{ORIGIN}book.html", wait_until="load")
        page.evaluate(READY)
        page.evaluate(FILL, first_pages(lay_out(page)))
        pdf = lay_out(page)
        browser.close()
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        temporary.write_bytes(pdf)
    return len(PdfReader(BytesIO(pdf)).pages)


def main(root: Path = ROOT) -> int:
    """Run from the command line; give the exit code."""
    book = config(root)
    facts = f"{escape(book['author'])}<br>kpl_lib {kpl_lib.__version__} · {escape(book['repository']['url'])}"
    target = root / "_build" / "pdf" / "training-free-medical-vlm.pdf"
    try:
        count = print_book(root / "_build" / "html", target, book["title"], facts)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} pages, {target.stat().st_size / 1e6:.1f} MB", target, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
