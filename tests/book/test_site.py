"""The built book, as a reader's browser gets it: `make site`, after `make book`."""

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from book.tools.building.setup_cell import config

pytestmark = pytest.mark.site
SITE = Path(os.environ.get("KPL_SITE", Path(__file__).resolve().parents[2] / "_build" / "html"))
LOADED = (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"))
FETCHED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest"}  # kinds of <link>


def parse(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def pages() -> dict[Path, BeautifulSoup]:
    assert (SITE / "index.html").is_file(), "no index.html: run `make book` first"
    return {page: parse(page) for page in sorted(SITE.rglob("*.html")) if "_static" not in page.parts}


def is_remote(address: str) -> bool:
    return bool(urlsplit(address).scheme or urlsplit(address).netloc) and not address.startswith("data:")


def test_every_page_of_the_toc_is_there(pages):
    names = {page.relative_to(SITE).as_posix() for page in pages}
    chapters = [path.stem for path in (Path(__file__).parents[2] / "book" / "chapters").glob("*.ipynb")]
    assert {"intro.html", "bibliography.html"} <= names
    assert {f"chapters/{name}.html" for name in chapters} <= names


def test_every_image_has_a_text_of_its_own(pages):
    missing = []
    for page, soup in pages.items():
        for image in soup.find_all("img"):
            alt, name = image.get("alt"), Path(unquote(image.get("src", ""))).name
            if "logo" in " ".join(image.get("class", [])):
                continue
            if not alt or Path(alt).name == name:
                missing.append((page.name, name))
    assert not missing


def test_nothing_is_loaded_from_elsewhere(pages):
    remote = []
    for page, soup in pages.items():
        for tag, attribute in LOADED:
            for element in soup.find_all(tag):
                address = element.get(attribute, "")
                kinds = FETCHED if tag != "link" else FETCHED & set(element.get("rel", []))
                if kinds and is_remote(address):
                    remote.append((page.name, address))
    assert not remote


def test_everything_that_is_loaded_is_there(pages):
    missing = []
    for page, soup in pages.items():
        addresses = [
            e[a] for tag, a in LOADED for e in soup.find_all(tag, **{a: True}) if not is_remote(e[a])
        ]
        local = {unquote(urlsplit(address).path) for address in addresses if not address.startswith("data:")}
        missing += [(page.name, path) for path in local if path and not (page.parent / path).exists()]
    assert not missing


def test_pages_do_not_carry_thebe(pages):
    assert not [
        page.name for page, soup in pages.items() if "thebe" in str(soup.find_all(["script", "link"])).lower()
    ]


def test_mathematics_needs_no_network(pages):
    loaders = {
        urlsplit(script["src"]).path.lstrip("./")
        for soup in pages.values()
        for script in soup.find_all("script", src=True)
        if "mathjax" in script["src"].lower()
    }
    assert loaders, "no page loads MathJax: is there no equation in the book?"
    assert all((SITE / loader).is_file() for loader in loaders)


def test_style_sheets_load_nothing_from_elsewhere():
    sheets = [sheet for sheet in (SITE / "_static").rglob("*.css") if "mathjax" not in sheet.parts]
    assert sheets
    assert not [sheet.name for sheet in sheets if "@import url(http" in sheet.read_text(encoding="utf-8")]


def test_internal_links_resolve(pages):
    anchors = {page: {tag["id"] for tag in soup.find_all(id=True)} for page, soup in pages.items()}
    broken = []
    for page, soup in pages.items():
        for link in soup.find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            known, wanted = anchors.get(target), unquote(parts.fragment)
            if not target.is_file() or (wanted and known is not None and wanted not in known):
                broken.append((page.name, link["href"]))
    assert not broken


def test_launch_buttons_open_the_files_that_exist(pages, root):
    book = config(root)
    repository = "/".join(book["repository"]["url"].rstrip("/").split("/")[-2:])
    start = f"{book['launch_buttons']['colab_url']}/github/{repository}/blob/{book['launch_buttons']['colab_branch']}/"
    for page in sorted([*(SITE / "chapters").glob("*.html"), *(SITE / "primer").glob("*.html")]):
        links = [a["href"] for a in pages[page].find_all("a", href=True) if "colab.research" in a["href"]]
        assert links, f"{page.name} has no Colab button"
        for link in links:
            assert link.startswith(start)
            assert (root / link.removeprefix(start)).is_file()


def test_pages_that_are_no_notebook_have_no_colab_button(pages):
    notebooks = {page for page in pages if (page.parent / source_name(page)).suffix == ".ipynb"}
    assert {page.stem for page in notebooks} >= {page.stem for page in (SITE / "chapters").glob("*.html")}
    launched = {page for page, soup in pages.items() if soup.select(".dropdown-launch-buttons a")}
    assert launched == notebooks


def source_name(page: Path) -> str:
    """The file that the download button of a page gives, as the page writes it; empty where there is none."""
    button = parse(page).select_one("a.btn-download-source-button")
    return unquote(button["href"]) if button else ""


def contents(path: Path) -> list[str]:
    """What an author wrote: the lines of a page, or the cells of a notebook, whose outputs the build adds."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8").splitlines()
    return ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_the_download_button_gives_the_source_of_the_page(pages, root):
    made = {"genindex.html", "index.html", "py-modindex.html", "search.html"}  # pages without a source
    for page in pages:
        name = page.relative_to(SITE).as_posix()
        if name in made or name.startswith("slides/"):  # decks are made of built pages
            continue
        given = (page.parent / source_name(page)).resolve()
        written = root / "book" / page.relative_to(SITE).with_suffix(given.suffix)
        assert contents(given) == contents(written), page.name
