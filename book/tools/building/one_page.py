"""The whole built site as one HTML document, for printing: `book/tools/building/pdf.py` prints it.

Links between pages become links inside the document. Answers and solutions are unfolded. Code that the site
folds away (the setup, the drawing of figures) is left out: it stands in the notebooks.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

FOLDED_CODE = (
    "details.hide.above-input, details.admonition.hide"  # what the tags hide-input and hide-cell make
)
SCREEN_ONLY = ".headerlink, .prev-next-footer, script, .cell-toggle, .onlyprint"
STYLE = """
@page { size: A4; margin: 20mm 18mm 20mm 18mm; }
html { font-size: 13px; }
body { background: #fff; }
main { display: block; }
article.bd-article, .bd-article-container { max-width: none !important; padding: 0 !important; }
.sheet { break-before: page; }
.cover { height: 240mm; display: flex; flex-direction: column; justify-content: center; }
.cover h1 { font-size: 3.2rem; margin: 0 0 1rem; border: 0; text-wrap: balance; }
.cover img { width: 22mm; margin-bottom: 12mm; }
.toc ol { list-style: none; padding: 0; margin: 0 0 1rem; }
.toc li { display: flex; gap: 1rem; justify-content: space-between; padding: 0.16rem 0; }
.toc a { color: inherit; text-decoration: none; }
.toc .deep { padding-left: 1.4rem; }
.landing { display: block !important; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-height: 215mm; }
"""


@dataclass(frozen=True)
class Entry:
    """One line of the table of contents."""

    page: str  # path inside the site
    title: str
    part: str  # caption of its part; empty for the first page
    depth: int


def entries(site: Path) -> list[Entry]:
    """The pages in the order of the menu, each once."""
    menu = BeautifulSoup((site / "intro.html").read_text(encoding="utf-8"), "html.parser")
    found, part = [Entry("intro.html", "About this book", "", 1)], ""
    for element in menu.select("nav.bd-links p.caption, nav.bd-links a.reference.internal"):
        if element.name == "p":
            part = element.get_text(strip=True)
        elif element["href"] != "#" and part:
            depth = len(element.find_parents("ul"))
            found.append(Entry(element["href"], element.get_text(" ", strip=True), part, depth))
    return found


def name(page: str, anchor: str = "") -> str:
    """The name, in the one document, of a page or of an anchor in it."""
    return page.removesuffix(".html").replace("/", "-") + (f"--{anchor}" if anchor else "")


def address(page: str, target: str, pages: set[str]) -> str:
    """Where a link of a page leads in the one document; addresses outside the book stay as they are."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return target
    path = normpath(join(dirname(page), unquote(parts.path))) if parts.path else page
    return f"#{name(path, parts.fragment)}" if path in pages else path


def article(site: Path, page: str, pages: set[str]) -> Tag:
    """The text of one page, with names and links that hold in the one document."""
    soup = BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")
    body = soup.select_one("article.bd-article")
    for element in body.select(f"{SCREEN_ONLY}, {FOLDED_CODE}"):
        element.decompose()
    for element in body.find_all("details"):
        element["open"] = ""
    for element in body.find_all(id=True):
        element["id"] = name(page, element["id"])
    for element in body.find_all("a", href=True):
        element["href"] = address(page, element["href"], pages)
    for element in body.find_all("img", src=True):
        element["src"] = normpath(join(dirname(page), element["src"]))
    return body


def contents(lines: list[Entry]) -> str:
    """The table of contents; the page numbers are filled in once they are known."""
    html, part = ["<h1>Contents</h1><ol>"], ""
    for line in lines:
        if line.part != part:
            part = line.part
            html.append(f"</ol><p><strong>{escape(part)}</strong></p><ol>")
        deep = ' class="deep"' if line.depth > 1 else ""
        target = name(line.page)
        html.append(
            f'<li{deep}><a href="#{target}">{escape(line.title)}</a><span data-page-of="{target}"></span></li>'
        )
    return "".join([*html, "</ol>"])


def document(site: Path, title: str, facts: str) -> str:
    """The whole book as one page: cover, contents, then every page of the menu."""
    lines = entries(site)
    pages = {line.page for line in lines}
    source = BeautifulSoup(
        (site / "notation.html").read_text(encoding="utf-8"), "html.parser"
    )  # it has formulas
    sheets = [link for link in source.find_all("link", href=True) if "stylesheet" in link.get("rel", [])]
    maths = [script for script in source.head.find_all("script") if "mathjax" in str(script).lower()]
    texts = [f'<div class="sheet" id="{name(p.page)}">{article(site, p.page, pages)}</div>' for p in lines]
    return (
        f'<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>{''.join(map(str, sheets + maths))}<style>{STYLE}</style></head><body><main>"
        f'<div class="cover"><img src="_static/logo.svg" alt=""><h1>{escape(title)}</h1><p>{facts}</p></div>'
        f'<div class="sheet toc">{contents(lines)}</div>{"".join(texts)}</main></body></html>'
    )
