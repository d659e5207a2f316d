"""The built book in Chromium: served from this machine, every page visited once, and what was seen there."""

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SITE = Path(os.environ.get("KPL_SITE", Path(__file__).resolve().parents[2] / "_build" / "html"))
NAMES = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SERIOUS = {"serious", "critical"}

# What is read from a page, each in one go.
IMAGES = """() => [...document.images].map(i => ({
    src: i.getAttribute('src'), alt: i.getAttribute('alt'), loaded: i.complete && i.naturalWidth > 0 }))"""
MATHEMATICS = """() => ({
    written: document.querySelectorAll('.math').length,
    drawn: [...document.querySelectorAll('.math')].filter(m => m.querySelector('mjx-container')).length,
    wrong: document.querySelectorAll('mjx-merror, [data-mjx-error]').length })"""
WIDTH = "() => document.documentElement.scrollWidth"
PAINT = "() => performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? null"
LAZY = "() => document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager')"
READY = """async () => { await window.MathJax?.startup?.promise;
    await Promise.all([...document.images].map(i => i.decode().catch(() => null))) }"""


@dataclass(frozen=True)
class Visit:
    """What one page did.

    Args:
        errors: uncaught errors and errors on the console.
        remote: addresses asked for that are not on this machine.
        failed: addresses that could not be loaded.
        images: source, alternative text and whether it is shown, of every image.
        mathematics: how many formulas are written, drawn, and drawn as an error.
        widths: by width of the window, the width of the page, in pixels.
        sizes: by address, the bytes transferred on a first visit.
        paint: milliseconds to the first paint with content.
        violations: by theme, what axe-core finds that is serious or critical.
    """

    errors: tuple[str, ...]
    remote: tuple[str, ...]
    failed: tuple[str, ...]
    images: tuple[dict, ...]
    mathematics: dict[str, int]
    widths: dict[int, int]
    sizes: dict[str, int]
    paint: float | None
    violations: dict[str, tuple[str, ...]]


def chromium() -> str:
    """The browser's program."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed: apt-get install chromium"
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield started
        started.close()


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder at an address of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def visit(chrome: Browser, base: str, name: str, shots: Path) -> Visit:
    """Open a page for the first time, on a desk and on a phone, light and dark; keep a picture of each theme."""
    context = chrome.new_context(viewport=DESK, color_scheme="light")
    page = context.new_page()
    errors, remote, failed, sizes = [], [], [], {}
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.on("request", lambda r: None if _is_local(r.url, base) else remote.append(r.url))
    page.on("requestfailed", lambda request: failed.append(f"{request.url} {request.failure}"))
    page.on("response", lambda r: failed.append(f"{r.url} {r.status}") if r.status >= 400 else None)
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    asked = {}
    network.on("Network.requestWillBeSent", lambda e: asked.update({e["requestId"]: e["request"]["url"]}))
    network.on(
        "Network.loadingFinished",
        lambda e: sizes.update({asked.get(e["requestId"], ""): int(e["encodedDataLength"])}),
    )
    page.goto(f"{base}/{name}", wait_until="networkidle")
    transferred, paint = dict(sizes), page.evaluate(PAINT)
    page.evaluate(LAZY)
    page.evaluate(READY)
    widths, violations = {DESK["width"]: page.evaluate(WIDTH)}, {}
    images, mathematics = page.evaluate(IMAGES), page.evaluate(MATHEMATICS)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.screenshot(
            path=shots / f"{name.replace('/', '-').removesuffix('.html')}-{theme}.png",
            full_page=True,
            animations="disabled",
        )
        violations[theme] = serious(page)
    page.set_viewport_size(PHONE)
    widths[PHONE["width"]] = page.evaluate(WIDTH)
    context.close()
    return Visit(
        tuple(errors),
        tuple(remote),
        tuple(failed),
        tuple(images),
        mathematics,
        widths,
        transferred,
        paint,
        violations,
    )


def visit_all(base: str, names: Sequence[str], shots: Path, at_once: int = 2) -> dict[str, Visit]:
    """Visit every page, in as many browsers at a time; the longest pages first."""
    names = sorted(names, key=lambda name: -(SITE / name).stat().st_size)
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        parts = [pool.submit(_visit_some, base, names[first::at_once], shots) for first in range(at_once)]
        return {name: seen for part in parts for name, seen in part.result().items()}


def _visit_some(base: str, names: Sequence[str], shots: Path) -> dict[str, Visit]:
    with browser() as chrome:
        return {name: visit(chrome, base, name, shots) for name in names}


def serious(page: Page) -> tuple[str, ...]:
    """What axe-core calls serious or critical, with the first place of each."""
    asked = {"preload": False, "resultTypes": ["violations"]}  # what passes is not listed: half of the time
    found = Axe().run(page, options=asked).response["violations"]
    return tuple(
        f"{item['id']} x {len(item['nodes'])}: {item['nodes'][0]['html'][:150]}"
        for item in found
        if item["impact"] in SERIOUS
    )


def _is_local(address: str, base: str) -> bool:
    return address.startswith(base) or urlsplit(address).scheme in {"data", "blob"}
