"""Slides: made from the landmarks of a built chapter, short enough to read, and shown by Chromium with no network."""

import os
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book.tools.building.setup_cell import ROOT
from book.tools.teaching import slides
from book.tools.teaching.slide_code import LONGEST, WIDTH, short_code
from book.tools.teaching.slide_deck import LIST_LIMIT, caption, deck
from book.tools.teaching.slide_text import as_note, portions, sentences, take, words

DECKS = Path(os.environ.get("KPL_SLIDES", ROOT / "_build" / "slides"))
CHAPTERS = sorted(path.stem for path in (ROOT / "book" / "chapters").glob("[0-9]*.ipynb"))
LARGEST_PROSE = LIST_LIMIT + 1  # words of a slide; a formula counts as one
PAGE = """<article class="bd-article"><section id="alike">
<h1><span class="section-number">7. </span>Alike<a class="headerlink" href="#alike">#</a></h1>
<p>Two vectors can be compared. One product does it.</p>
<div class="admonition-in-this-chapter admonition"><p class="admonition-title">In this chapter</p>
<ul><li><p>compute a cosine;</p></li><li><p>read a figure.</p></li></ul></div>
<section id="how-alike"><h2><span class="section-number">7.1. </span>How alike?<a class="headerlink" href="#">#</a></h2>
<p>Take <span class="math">\\(x\\)</span> and <a href="x.html">a text</a>. Here is the formula:</p>
<div class="math"><span class="eqno">(7.1)</span>\\[ c = x^\\top t, \\qquad x = 1 \\]</div>
<div class="cell"><div class="cell_input"><pre>def cosine(x, t):\n    return x @ t\n</pre></div></div>
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
    kinds = ["title", "list", "question", "code", "figure", "list", "exercise", "list", "check", "answer"]
    assert [slide.kind for slide in found] == kinds
    title, objectives, question, code, figure, fails, exercise, summary, check, answer = found
    assert title.title == "Alike" and title.texts == ("Two vectors can be compared.", "One product does it.")
    assert objectives.texts == ("compute a cosine;", "read a figure.")
    assert question.title == "How alike?" and question.texts == (
        'Take <span class="math">\\(x\\)</span> and a text.',
    )
    assert question.equation == r"\[\begin{gathered}c = x^\top t \\[0.6em] x = 1\end{gathered}\]"
    assert "More follows." in " ".join(question.notes) and "<code>x</code>" in question.notes[0]
    assert "cosine" in code.code and code.equation == question.equation
    assert figure.title == "The angle is small." and figure.texts == (
        "Two vectors.",
        "Synthetic, measured here.",
    )
    assert (figure.image, figure.alt) == ("../_images/a.png", "Two lines.")
    assert fails.texts == ("<strong>No length.</strong>",) and "It is lost." in fails.notes[0]
    assert (
        exercise.title == "Short"
        and exercise.texts == ("One two?",)
        and exercise.notes == ("One two?", "Three.")
    )
    assert summary.texts == ("You can now compare.",)
    assert (
        check.title == "Which?" and answer.texts == ("That one.",) and answer.notes[1] == "<em>Why?</em> So."
    )


def test_sentences_end_where_a_reader_ends_them():
    formula = '<span class="math">x</span>'
    mixed = f'<strong>Lead.</strong> About 0.5 % of <em>all</em>. See <a href="#">Fig. 1.2</a> now. {formula} is. '
    expected = [
        "<strong>Lead.</strong>",
        "About 0.5 % of <em>all</em>.",
        "See Fig. 1.2 now.",
        f"{formula} is.",
    ]
    assert sentences(paragraph(mixed)) == expected
    assert sentences(paragraph("1 &lt; 2. Is it? Yes.")) == ["1 &lt; 2.", "Is it?", "Yes."]
    assert as_note(paragraph('So <span class="math">\\(a &lt; b\\)</span>.')) == "So <code>a &lt; b</code>."


def test_a_text_is_cut_at_its_sentences():
    assert words('two <em>words</em>, <span class="math">\\(a b c\\)</span> -') == 3
    assert take(["one two", "three", "four"], 3) == ["one two", "three"]
    assert take(["one two three four"], 3) == ["one two three four"]
    assert portions(["a b", "c", "d e f", "g"], 3) == [["a b", "c"], ["d e f"], ["g"]]


def test_a_caption_that_is_long_keeps_its_origin():
    long = paragraph(f"{'word ' * 30}. Other. Synthetic phantoms.")
    assert caption(long) == ["Synthetic phantoms."]
    assert caption(paragraph("All measured. More.")) == ["All measured."]


def test_code_is_shown_only_if_it_can_be_read():
    wide = "total = " + " + ".join(["a_long_name_of_a_number"] * 6)
    lines = re.sub("<[^>]+>", "", short_code(wide)).splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= WIDTH
    long = "\n".join(f"x{i} = {i}" for i in range(LONGEST + 1))
    assert short_code(long) == "" and short_code("%pip install x") == ""
    assert "def" in short_code(f"{long}\n\n\ndef f(x):\n    return x\n") and "x3" not in short_code(
        f"{long}\ndef f(x): ..."
    )


def test_a_book_that_is_not_built_is_one_line(tmp_path, capsys):
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "book" / "chapters" / "01_one.ipynb").touch()
    assert slides.main(tmp_path) == 2
    assert capsys.readouterr().err == "the book is not built (01_one): run `make book` first\n"
    assert not (tmp_path / "_build").exists()


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
  const prose = page.cloneNode(true), figure = page.classList.contains('figure');
  prose.querySelectorAll(figure ? '.section' : '.section, .hint, h1, h2').forEach(part => part.remove());
  prose.querySelectorAll('mjx-container, pre').forEach(part => part.replaceWith(' x '));
  const count = prose.textContent.split(/\\s+/).filter(word => /[\\p{L}\\p{N}]/u.test(word)).length;
  const raw = page.querySelectorAll('.math:not(:has(mjx-container))').length;
  return { bad: [...new Set(bad)], words: count, formulas: raw };
}"""


@pytest.fixture(scope="module")
def chrome():
    from browser import browser

    with browser() as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_slide_fits_and_can_be_read(name, chrome):
    address = (DECKS / name / "index.html").resolve()
    assert address.is_file(), "run `make book` and `make slides` first"
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
        seen = page.evaluate(MEASURE)
        if seen["bad"] or seen["words"] > LARGEST_PROSE or seen["formulas"]:
            faults[f"{h}.{v}"] = seen
    page.close()
    assert len(places) > 10 and faults == {} and errors == [] and remote == []


@pytest.mark.browser
def test_the_index_lists_every_deck(chrome):
    page = chrome.new_page()
    page.goto((DECKS / "index.html").resolve().as_uri())
    links = page.eval_on_selector_all("ol a", "links => links.map(link => link.getAttribute('href'))")
    page.close()
    assert links == [f"{name}/index.html" for name in CHAPTERS]
