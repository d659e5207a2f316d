"""The printed book: one document from the pages of the site, then one PDF. A small site stands in for the book."""

import re

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

from book.tools.building import pdf as make_pdf
from book.tools.building.one_page import document, entries

MENU = """<nav class="bd-links"><ul><li><a class="reference internal" href="#">Home</a></li></ul>
<p class="caption">Chapters</p><ul>
<li><a class="reference internal" href="notation.html">Notation</a></li>
<li><a class="reference internal" href="chapters/01_a.html">1. Apples</a>
<ul><li><a class="reference internal" href="chapters/more.html">More &amp; more</a></li></ul></li></ul></nav>"""
PAGE = """<html><head><link rel="stylesheet" href="_static/a.css"><script>window.MathJax = undefined</script></head>
<body>{menu}<article class="bd-article"><section id="{label}"><h1>{title}<a class="headerlink" href="#x">#</a></h1>
{text}</section></article></body></html>"""
TEXTS = {
    "intro.html": '<p>See <a href="chapters/01_a.html#pear">pears</a>, <a href="https://example.org/x">out</a>.</p>',
    "notation.html": "<p>Symbols.</p>",
    "chapters/01_a.html": """<h2 id="pear">Pears</h2><img src="../_images/p.svg" alt="a pear"><p>Back to
        <a href="../notation.html">notation</a>.</p><details class="hide above-input"><summary>Show</summary>secret()
        </details><details class="sd-dropdown"><summary>Question</summary>The answer.</details>""",
    "chapters/more.html": '<p id="pear">Last words.</p>' + "<p>Line.</p>" * 90,
}


@pytest.fixture
def site(tmp_path):
    """A site of four pages, as the theme writes them."""
    for page, text in TEXTS.items():
        (tmp_path / page).parent.mkdir(exist_ok=True)
        html = PAGE.format(menu=MENU, label="top", title=f"Title of {page}", text=text)
        (tmp_path / page).write_text(html, encoding="utf-8")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text("h1 { color: #123456 }")
    for picture in ("_images/p.svg", "_static/logo.svg"):
        (tmp_path / picture).parent.mkdir(exist_ok=True)
        (tmp_path / picture).write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return tmp_path


def test_pages_come_in_the_order_of_the_menu(site):
    assert [line.page for line in entries(site)] == list(TEXTS)
    assert [line.depth for line in entries(site)] == [1, 1, 1, 2]
    assert {line.part for line in entries(site)} == {"", "Chapters"}


def test_links_and_names_hold_inside_the_one_document(site):
    soup = BeautifulSoup(document(site, "Book", "facts"), "html.parser")
    names = [element["id"] for element in soup.find_all(id=True)]
    inside = [a["href"][1:] for a in soup.find_all("a", href=True) if a["href"].startswith("#")]
    outside = [a["href"] for a in soup.find_all("a", href=True) if not a["href"].startswith("#")]
    assert len(names) == len(set(names)), "two pages may use the same name"
    assert "chapters-01_a--pear" in inside and "notation" in inside
    assert set(inside) <= set(names)
    assert outside == ["https://example.org/x"]
    assert soup.select_one("article img")["src"] == "_images/p.svg"


def test_answers_are_unfolded_and_folded_code_is_left_out(site):
    soup = BeautifulSoup(document(site, "Book", "facts"), "html.parser")
    assert "secret()" not in soup.get_text()
    assert all(element.has_attr("open") for element in soup.find_all("details"))
    assert "The answer." in soup.get_text()
    assert "#" not in soup.select_one("article h1").get_text()


def test_without_a_site_there_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "_config.yml").write_text(
        "title: Book\nauthor: A\nrepository: {url: https://github.com/a/b}\n"
    )
    assert make_pdf.main(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no site" in line and "make book" in line
    assert not (tmp_path / "_build").exists()


def test_without_chromium_there_is_one_clear_line(site, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(make_pdf.InputError, match="no Chromium was found: install"):
        make_pdf.print_book(site, tmp_path / "out" / "book.pdf", "Book", "facts")
    assert not (tmp_path / "out").exists()


@pytest.mark.browser
def test_the_pdf_has_every_page_its_numbers_and_an_outline(site, tmp_path):
    count = make_pdf.print_book(site, tmp_path / "out" / "book.pdf", "The Book", "facts")
    reader = PdfReader(tmp_path / "out" / "book.pdf")
    texts = [page.extract_text() for page in reader.pages]
    assert len(texts) == count and "The Book" in texts[0] and reader.metadata.title == "The Book"
    contents = " ".join(texts[1].split())
    for title, page in (("Notation", "notation.html"), ("1. Apples", "chapters/01_a.html")):
        number = int(re.search(rf"{re.escape(title)} (\d+)", contents)[1])
        assert f"Title of {page}" in texts[number - 1], "the contents send the reader to another page"
    assert texts[2].split()[-1] == "3", "the number at the foot"
    assert len(reader.outline) > 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["book.pdf"]
