"""The built book as Chromium shows it: `make test-site`, after `make book`."""

import json
from pathlib import Path

import pytest
from browser import DESK, PHONE, SITE, visit_all
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
LARGEST = 1_500_000  # bytes of a page on the first visit, MathJax apart
LIVE = 3_000_000  # and of one with live figures, their scripts and data included


@pytest.fixture(scope="module")
def visits(base):
    """Every page, visited once; what was seen is kept beside the site, with the screenshots."""
    shots = SITE.parent / "screenshots"
    shots.mkdir(exist_ok=True)
    names = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    pages = [name for name in names if not name.startswith(("_static/", "slides/"))]  # decks: test_slides.py
    seen = visit_all(base, pages, shots)
    report = {name: {"bytes": weight(page), "first paint, ms": page.paint} for name, page in seen.items()}
    (SITE.parent / "pages.json").write_text(json.dumps(report, indent=1))
    assert {"intro.html", "search.html", "api/index.html", *chapters()} <= set(seen)
    return seen


def weight(page) -> int:
    return sum(size for address, size in page.sizes.items() if "mathjax" not in address.lower())


def of_each(visits, read) -> dict:
    """By page, what is wrong there; pages without fault are left out."""
    return {name: found for name, page in visits.items() if (found := read(page))}


def test_no_page_has_an_error(visits):
    assert of_each(visits, lambda page: page.errors) == {}


def test_nothing_leaves_this_machine(visits):
    assert of_each(visits, lambda page: page.remote) == {}


def test_everything_loads(visits):
    assert of_each(visits, lambda page: page.failed) == {}


def test_every_formula_is_drawn(visits):
    wrong = of_each(
        visits, lambda p: p.mathematics["drawn"] != p.mathematics["written"] or p.mathematics["wrong"]
    )
    assert wrong == {}
    assert sum(page.mathematics["drawn"] for page in visits.values()) > 500


def test_every_image_is_shown_and_described(visits):
    def faults(page):
        return [i["src"] for i in page.images if not i["loaded"] or _undescribed(i)]

    assert of_each(visits, faults) == {}
    assert sum(len(page.images) for page in visits.values()) > 50


def _undescribed(image: dict) -> bool:
    name = Path(image["src"]).name
    return image["alt"] is None or image["alt"] == name or (not image["alt"] and "logo" not in name)


@pytest.mark.parametrize("width", [PHONE["width"], DESK["width"]])
def test_no_page_scrolls_sideways(visits, width):
    assert of_each(visits, lambda page: page.widths[width] > width and page.widths[width]) == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(visits, theme):
    assert of_each(visits, lambda page: page.violations[theme]) == {}


def test_pages_are_light(visits):
    def too_heavy(page):
        live = any(address.split("?")[0].endswith("live.js") for address in page.sizes)
        return weight(page) > (LIVE if live else LARGEST) and weight(page)

    assert of_each(visits, too_heavy) == {}


def chapters() -> list[str]:
    return sorted(f"chapters/{path.name}" for path in (SITE / "chapters").glob("*.html"))


def test_solutions_unfold_and_fold(chrome, base):
    page = chrome.new_page()
    for name in chapters():
        page.goto(f"{base}/{name}", wait_until="load")
        solutions = page.locator("div.solution.dropdown")
        assert solutions.count() >= 3, name
        for solution in solutions.all():
            answer, button = solution.locator("section").first, solution.locator("button").first
            expect(answer).not_to_be_visible()
            button.click()
            expect(answer).to_be_visible()
            button.click()
            expect(answer).not_to_be_visible()
    page.close()


def test_questions_unfold(chrome, base):
    page = chrome.new_page()
    for name in chapters():
        page.goto(f"{base}/{name}", wait_until="load")
        questions = page.locator("section#check-yourself details")
        assert questions.count() + page.locator(".admonition.predict details").count() == 10, name
        answer = questions.first.locator(".sd-summary-content").first
        expect(answer).not_to_be_visible()
        questions.first.locator("summary").click()
        expect(answer).to_be_visible()
    page.close()


def test_search_finds_greenkhorn(chrome, base):
    page = chrome.new_page()
    page.goto(f"{base}/search.html?q=Greenkhorn")
    page.wait_for_selector("#search-results li a", timeout=30_000)
    found = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    assert any("06_transport" in address for address in found)
    page.close()
