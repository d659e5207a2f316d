"""Slides: made from the landmarks of a built chapter, short enough to read, and shown by Chromium with no network."""

import os
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book.tools.building.setup_cell import ROOT
from book.tools.teaching import slides
from book.tools.teaching.slides import LINES, WIDTH, begin, code_of, deck
from kpl_lib.common.errors import InputError

DECKS = Path(os.environ.get("KPL_SITE", ROOT / "_build" / "html")) / "slides"
CHAPTERS = sorted(path.stem for path in (ROOT / "book" / "chapters").glob("[0-9]*.ipynb"))
PAGE = """<article class="bd-article"><section id="alike">
<h1><span class="section-number">7. </span>Alike<a class="headerlink" href="#alike">#</a></h1>
<p>Two vectors can be compared. One product does it.</p>
<div class="admonition-in-this-chapter admonition"><p class="admonition-title">In this chapter</p>
<ul><li><p>compute a cosine;</p></li><li><p>read a figure.</p></li></ul></div>
<section id="how-alike"><h2><span class="section-number">7.1. </span>How alike?<a class="headerlink" href="#">#</a></h2>
<p>Take <span class="math">\\(x\\)</span> and <a href="x.html">a text</a>. Here is the formula:</p>
<div class="math"><span class="eqno">(7.1)</span>\\[ c = x^\\top t, \\qquad x = 1 \\]</div>
<div class="cell"><div class="cell_input"><div class="highlight">
<pre>def cosine(x, t):\n    return x @ t\n</pre></div></div></div>
<div class="cell tag_hide-input"><div class="cell_output"><figure id="fig-angle">
<img alt="Two lines." src="../_images/a.png"/>
<figcaption><p><span class="caption-number">Fig. 7.1 </span><span class="caption-text">Two vectors. Drawn long.
Synthetic, measured here.</span></p></figcaption></figure></div></div>
<p><strong>What to notice.</strong> It is small. The angle in <a href="#fig-angle">Fig. 7.1</a> is small.
More follows.</p>
</section>
<section id="when-this-fails"><h2>When this fails</h2>
<ul><li><p><strong>No length.</strong> It is lost.</p></li></ul></section>
<section id="exercises"><h2>Exercises</h2>
<div class="exercise admonition"><p class="admonition-title"><span>Exercise 7.1 </span> (Concept: long (very))</p>
<section><p>One two three four?</p></section></div>
<div class="solution admonition"><p class="admonition-title">Solution</p><section><p>Long.</p></section></div>
<div class="exercise admonition"><p class="admonition-title"><span>Exercise 7.2 </span> (Code: short)</p>
<section><p>One two?</p></section></div>
<div class="solution admonition"><p class="admonition-title">Solution</p><section><p>Three.</p></section></div>
</section>
<section id="check-yourself"><h2>Check yourself</h2><details><summary><span class="sd-summary-text">1. Which?</span>
</summary><div class="sd-card-body"><p>That one.</p><p><em>Why?</em> So.</p></div></details></section>
<section id="summary"><h2>Summary</h2><ul><li><p>You can now compare.</p></li></ul></section>
</section></article>"""


def paragraph(html):
    return BeautifulSoup(f"<p>{html}</p>", "html.parser").p


def test_a_deck_follows_the_template():
    found = deck(PAGE)
    kinds = ["title", "list", "question", "code", "figure", "list", "exercise", "check", "list"]
    assert [slide.kind for slide in found] == kinds
    title, objectives, question, code, figure, fails, exercise, check, summary = found
    assert title.title == "Alike" and title.body == "<p>Two vectors can be compared. One product does it.</p>"
    assert "compute a cosine;" in objectives.body and "read a figure." in objectives.body
    assert question.title == "How alike?" and question.place == "#how-alike"
    assert '<span class="math">\\(x\\)</span> and a text.' in question.body
    assert r"\[\begin{gathered}c = x^\top t \\[0.6em] x = 1\end{gathered}\]" in question.body
    assert "More follows." in question.notes
    assert "def cosine" in code.body
    assert figure.body.startswith('<img src="../_images/a.png" alt="Two lines.">')
    assert (
        "Fig. 7.1" in figure.body
        and "Synthetic, measured here." in figure.body
        and "More follows" in figure.notes
    )
    assert fails.body == "<ul><li><p>No length.</p></li></ul>" and "It is lost." in fails.notes
    assert "One two three four?" in exercise.body and exercise.notes == "<p>Long.</p>"
    assert "You can now compare." in summary.body
    assert (
        check.title == "Which?"
        and check.below[0].body == "<p>That one.</p>"
        and "So." in check.below[0].notes
    )


def test_a_paragraph_is_cut_at_its_sentences():
    assert (
        begin(paragraph("One two. Three? <em>Four five six. Seven.</em> Eight."), 3)
        == "<p>One two. Three?</p>"
    )
    assert begin(paragraph("A <em>b. C d e</em>."), 2) == "<p>A <em>b.</em></p>"
    assert (
        begin(paragraph("About 0.5 % of one long sentence, uncut."), 2)
        == "<p>About 0.5 % of one long sentence, uncut.</p>"
    )


def test_code_is_shown_only_if_it_can_be_read():
    def cell(code):
        pre = f'<div class="highlight"><pre>{code}</pre></div>'
        html = f'<div><div class="cell"><div class="cell_input">{pre}</div></div></div>'
        return [*code_of(BeautifulSoup(html, "html.parser"))]

    short = "def f(x):\n    return x\n"
    assert cell(short) and not cell("x = 1\n")
    assert not cell(short + "y = 2\n" * LINES) and not cell(short + "#" * (WIDTH + 1))


def test_a_book_that_is_not_built_is_one_line(tmp_path):
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "book" / "chapters" / "01_one.ipynb").touch()
    with pytest.raises(InputError, match=r"is not built \(01_one\)"):
        slides.write(tmp_path)
    assert not (tmp_path / "_build").exists()


def test_the_teachers_page_links_every_deck():
    page = (ROOT / "book" / "instructor" / "slides.md").read_text(encoding="utf-8")
    assert re.findall(r'href="\.\./slides/([^"]+)\.html"', page) == CHAPTERS


def test_reveal_is_kept_with_its_licence_and_version():
    folder = ROOT / "book" / "slides" / "reveal"
    version = re.search(r"reveal\.js (\d+\.\d+\.\d+), MIT", (folder / "VERSION").read_text())[1]
    assert f"`{version}`" in (folder / "reveal.js").read_text()
    assert "Hakim El Hattab" in (folder / "LICENSE").read_text()


MEASURE = """() => {
  const page = Reveal.getCurrentSlide().querySelector('.page'), frame = page.getBoundingClientRect(), bad = [];
  for (const part of page.querySelectorAll(':not(mjx-assistive-mml, mjx-assistive-mml *)')) {
    const box = part.getBoundingClientRect(), formula = part.closest('mjx-container');
    const across = box.left < frame.left - 1 || box.right > frame.right + 1;
    if (across || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      bad.push(`${part.tagName} leaves the slide`);
    if (part.tagName == 'PRE' && part.scrollWidth > part.clientWidth) bad.push('code is cut off');
    if (!formula && part.innerText && parseFloat(getComputedStyle(part).fontSize) < 24) bad.push('text under 24 px');
    if (part.tagName == 'MJX-MERROR') bad.push('a formula is wrong');
    if (part.tagName == 'IMG' && !part.naturalWidth) bad.push('a figure is missing');
    if (part.tagName == 'IMG' && part.alt.length < 20) bad.push('a figure has no alt text');
    if (part.tagName == 'IMG' && part.clientHeight < 300) bad.push('a figure is small');
  }
  const raw = page.querySelectorAll('.math:not(:has(mjx-container))').length;
  if (raw) bad.push('a formula is not set');
  return [...new Set(bad)];
}"""


@pytest.mark.browser
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_slide_fits_and_can_be_read(name, chrome):
    address = (DECKS / f"{name}.html").resolve()
    assert address.is_file(), "run `make book` first"
    page, errors, remote = chrome.new_page(viewport={"width": 1280, "height": 720}), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type in {"error", "warning"} else None)
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.on(
        "request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else remote.append(r.url)
    )
    page.goto(address.as_uri())
    page.evaluate("MathJax.startup.promise.then(() => null)")
    places = page.evaluate(
        "Reveal.getSlides().map(slide => Reveal.getIndices(slide)).map(i => [i.h, i.v ?? 0])"
    )
    faults = {}
    for h, v in places:
        page.evaluate(f"Reveal.slide({h}, {v})")
        if seen := page.evaluate(MEASURE):
            faults[f"{h}.{v}"] = seen
    page.close()
    assert len(places) > 10 and faults == {} and errors == [] and remote == []
