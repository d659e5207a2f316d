"""Where the published site shows what a page refers to: sections, figures, equations, exercises, terms, papers.

Numbers are those of the site: they start again in each numbered chapter, and run on through the other pages.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pybtex.database import Entry, Person, parse_file
from pybtex.richtext import Text

from book.tools.building.setup_cell import repository_url
from book.tools.rules.glossary_terms import entries
from book.tools.rules.page_text import read_cells, toc_pages, toc_patterns

LABELS = re.compile(
    r"^\((?P<section>[\w-]+)\)=\s*\n#+ (?P<title>.+)$"
    r"|^[:`]{3,}\{figure\}.*\n(?::.*\n)*?:name: *(?P<figure>\S+)"
    r"|^\$\$ \((?P<equation>[\w-]+)\)"
    r"|^:{3,}\{exercise(?:-start)?\} *(?P<asked>.*)\n(?::.*\n)*?:label: *(?P<exercise>\S+)",
    re.MULTILINE,
)
KINDS = {"figure": ("Fig. {}", ""), "equation": ("({})", "equation-"), "exercise": ("Exercise {}", "")}


@dataclass(frozen=True)
class Target:
    """What a link shows where the page gives no text of its own, its address, and the title of an exercise."""

    text: str
    url: str
    title: str = ""


@dataclass(frozen=True)
class Links:
    """All targets of the book by label, term, key of a paper, and path of a page without its suffix."""

    site: str
    labels: dict[str, Target]
    terms: dict[str, Target]
    papers: dict[str, tuple[str, str]]
    pages: dict[str, Target]

    def named_only(self) -> "Links":
        """The same without links to pages, for readers who are not to see solutions: these are only named."""
        labels, pages = (
            {key: replace(to, url="") for key, to in found.items()} for found in (self.labels, self.pages)
        )
        return replace(self, labels=labels, pages=pages)


def site_url(root: Path) -> str:
    """The address of the site that GitHub Pages makes of the repository, with a slash at its end."""
    owner, repository = repository_url(root).split("/")[-2:]
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if repository.lower() == host else f"https://{host}/{repository}/"


def numbered(book: Path) -> Iterator[tuple[str, Path]]:
    """The pages in order, each with what its numbers begin with: `6.` in chapter 6, nothing outside chapters."""
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["chapters"] for part in toc["parts"] if part.get("numbered")]
    chapters = {path for part in parts for pattern in toc_patterns(part) for path in book.glob(pattern)}
    count = 0
    for path in toc_pages(book):
        count += path in chapters
        yield f"{count}." if path in chapters else "", path


def named(path: Path) -> Iterator[tuple[str, str, str]]:
    """What has a label on a page, in its order: the kind, the label, the title."""
    for cell in read_cells(path):
        if cell["cell_type"] == "markdown":
            for found in LABELS.finditer("".join(cell["source"])):
                kind = next(kind for kind in ("section", *KINDS) if found[kind])
                yield kind, found[kind], (found["title"] or found["asked"] or "").strip()
        elif figure := cell["metadata"].get("mystnb", {}).get("figure", {}):
            yield "figure", figure["name"], ""


def anchor(term: str) -> str:
    """The name under which the glossary of the site has a term."""
    plain = unicodedata.normalize("NFKD", f"term-{term}").encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", " ".join(plain.split())).strip("-")


def surname(person: Person) -> str:
    """The last name of an author, without the marks of TeX."""
    return str(Text.from_latex(" ".join([*person.prelast_names, *person.last_names])))


def authors(paper: Entry) -> str:
    """The authors as the text names them: one, two, or the first and the others."""
    names = [surname(person) for person in paper.persons.get("author", paper.persons.get("editor", []))]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names)


def read_links(root: Path) -> Links:
    """Read the pages of the table of contents, the glossary and the bibliography of a checkout."""
    book, site = root / "book", site_url(root)
    counts: Counter[tuple[str, str]] = Counter()
    labels, pages = {}, {}
    for start, path in numbered(book):
        page = path.relative_to(book).with_suffix("").as_posix()
        url = f"{site}{page}.html"
        pages[page] = Target(re.search(r"^# (.+)$", "".join(read_cells(path)[0]["source"]), re.M)[1], url)
        for kind, label, title in named(path):
            if kind == "section":
                labels[label] = Target(title, f"{url}#{label}")
                continue
            counts[kind, start] += 1
            shown, before = KINDS[kind]
            text = shown.format(f"{start}{counts[kind, start]}")
            labels[label] = Target(text, f"{url}#{before}{label}", title)
    glossary = (book / "glossary.md").read_text(encoding="utf-8")
    terms = {
        term.name.lower(): Target(term.name, f"{site}glossary.html#{anchor(term.name)}")
        for term in entries(glossary)
    }
    found = parse_file(book / "references.bib").entries
    papers = {key: (authors(paper), paper.fields["year"]) for key, paper in found.items()}
    return Links(site, labels, terms, papers, pages)
