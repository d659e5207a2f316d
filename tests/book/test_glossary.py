"""No term of the glossary is used before it is explained or linked."""

import json
import re

import pytest

from book.tools.rules.glossary import findings, glossary, lost, main, reading_pages
from book.tools.rules.glossary_terms import EVERYDAY, entries, longest_first, matcher, sentences
from book.tools.rules.page_text import BOOK, labels_of, toc_pages

PAGES = reading_pages()
TERMS = glossary()
LABELS = labels_of(toc_pages(BOOK))
FOUND = findings(PAGES, TERMS, LABELS)
GLOSSARY = """# Glossary

:::{glossary}
:sorted:

plan
transport plan
  The table. See {ref}`ch-b`.

proxy
  A vector. See {ref}`ch-c`.

proxy score
  A number. See {ref}`ch-a`.
:::
"""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_term_is_used_before_it_is_explained_or_linked(path):
    assert [f"{use.word}: {use.sentence}" for page, use in FOUND if page == path] == []


def test_every_entry_names_a_page_that_uses_it():
    assert len(TERMS) > 50 and lost(TERMS, LABELS) == []


def test_terms_stand_once():
    names = [term.name.lower() for term in TERMS]
    assert sorted(names) == sorted(set(names))


def test_every_everyday_use_is_in_the_book():
    text = "\n".join(sentence for path in PAGES for sentence in sentences(path))
    assert [pattern for pattern in EVERYDAY if not re.search(pattern, text)] == []


def book(folder, pages: dict[str, str]) -> tuple:
    """Pages a, b, c ... with the glossary above: what `findings` takes."""
    paths = []
    for name, text in pages.items():
        path = folder / f"{name}.ipynb"
        cell = {"cell_type": "markdown", "metadata": {}, "source": [f"(ch-{name})=\n# Title\n\n{text}"]}
        path.write_text(json.dumps({"cells": [cell]}))
        paths.append(path)
    return paths, tuple(entries(GLOSSARY)), labels_of(paths)


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("Take the plan. A plan is a table.", ["plan"]),
        ("Two transport plans.", ["transport plans"]),
        ("A *proxy score*. Proxies are vectors; Plans are tables.", ["Proxies", "Plans"]),
        ("Take the {term}`plan`. Then the plan is used.", []),
        ("Two {term}`plans <plan>`.", []),
        ("The *plan* is a table; a **proxy** is a vector.", []),
        ("Plan\n: A table.", []),
        ("A plan, as {ref}`ch-b` says. A proxy, as {ref}`ch-b` says.", ["proxy"]),
        ("| Plan | {ref}`ch-x` |\n| {ref}`ch-x` | of a proxy |", ["proxy"]),
        (
            "```{note}\nA plan.\n```\n\nA proxy.\n\n```{note}\nNo.\n```\n\n```bash\nproxy score\n```",
            ["plan", "proxy"],
        ),
        ("## The plan\n\nIts `plan`, $plan$, [text](plan.html), {ref}`plan <ch-c>` and explanation.", []),
        ("```\nplan\n```\n\n![the figure](plan.png) planned", []),
        (":::{figure} x.png\n:alt: A plan.\n\nA caption.\n:::", []),
    ],
)
def test_first_uses(tmp_path, first, found):
    late = {"b": "The **plan**.", "c": "The **proxy** and the plan."}
    assert [use.word for _, use in findings(*book(tmp_path, {"a": first} | late))] == found


def test_the_page_of_a_term_explains_it_and_later_pages_may_use_it(tmp_path):
    pages = {"a": "Nothing.", "b": "A plan. The **plan** is a table.", "c": "A **proxy** and a plan."}
    assert findings(*book(tmp_path, pages)) == []
    (tmp_path / "plain").mkdir()
    found = findings(
        *book(tmp_path / "plain", pages | {"b": "A plan is a table.", "c": "A proxy and a plan."})
    )
    assert [(path.stem, use.word) for path, use in found] == [("b", "plan"), ("c", "proxy")]


def test_lost_entries(tmp_path):
    _, terms, labels = book(tmp_path, {"a": "", "b": "A plan.", "c": "Nothing."})
    assert lost(terms, labels) == ["proxy: c never uses it", "proxy score: a never uses it"]
    assert lost(terms, {"ch-b": labels["ch-b"]})[0] == "proxy: its entry names no page by See {ref}"


def test_the_longest_term_counts():
    text = "Balanced accuracy and accuracies, not inaccuracy or accuracy-like"
    found = [match[0] for match in matcher(longest_first(("accuracy", "balanced accuracy"))).finditer(text)]
    assert found == ["Balanced accuracy", "accuracies"]


def test_the_command_prints_what_it_finds(capsys, monkeypatch):
    monkeypatch.setattr("book.tools.rules.glossary.reading_pages", lambda: [])
    assert main() == 0 and capsys.readouterr().out == "0 plain first uses, 0 lost entries\n"
