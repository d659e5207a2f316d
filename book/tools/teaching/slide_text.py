"""Prose of a built page, cut down to what a slide can hold: sentences, with their inline HTML, and word counts."""

import re
from html import escape

from bs4 import NavigableString, Tag

KEPT = {
    "em",
    "strong",
    "code",
    "sub",
    "sup",
}  # inline elements that stay; links and other spans lose their tags
END = re.compile(r"(?<=[.!?])\s+(?=[\"“(\[A-Z0-9])")


def is_math(node: object) -> bool:
    """Whether a node of the page is mathematics, inline or displayed."""
    return isinstance(node, Tag) and "math" in node.get("class", [])


def inline(node: Tag | NavigableString) -> str:
    """A node as HTML of a slide: text, emphasis, code and mathematics."""
    if isinstance(node, NavigableString):
        return escape(str(node), quote=False)
    if is_math(node):
        return f'<span class="math">{escape(node.get_text(), quote=False)}</span>'
    if "headerlink" in node.get("class", []):
        return ""
    inner = "".join(inline(child) for child in node.children)
    return f"<{node.name}>{inner}</{node.name}>" if node.name in KEPT else inner


def sentences(paragraph: Tag) -> list[str]:
    """The sentences of a paragraph as HTML; a bold lead that ends in a stop is one of them."""
    found, ended = [""], False
    for child in paragraph.children:
        if isinstance(child, NavigableString):
            first, *others = END.split(str(child))
            if ended and first[:1].isspace():
                found.append("")
            found[-1] += escape(first, quote=False)
            found += [escape(other, quote=False) for other in others]
            ended = str(child).rstrip().endswith((".", "!", "?"))
            if ended and str(child)[-1:].isspace():
                found.append("")
        else:
            found[-1] += inline(child)
            ended = child.name == "strong" and child.get_text().rstrip().endswith((".", "!", "?"))
    joined = [" ".join(sentence.split()) for sentence in found]
    return [sentence for sentence in joined if sentence]


def words(html: str) -> int:
    """The number of words of a text; a formula counts as one."""
    plain = re.sub(r"<[^>]+>", "", re.sub(r'<span class="math">.*?</span>', " x ", html, flags=re.DOTALL))
    return len([word for word in plain.split() if re.search(r"\w", word)])


def take(texts: list[str], limit: int) -> list[str]:
    """The first texts that hold at most `limit` words together, and always one."""
    kept: list[str] = []
    for text in texts:
        if kept and words(" ".join([*kept, text])) > limit:
            break
        kept.append(text)
    return kept


def portions(texts: list[str], limit: int) -> list[list[str]]:
    """The texts in order, in groups of at most `limit` words each."""
    groups = []
    while texts:
        groups.append(take(texts, limit))
        texts = texts[len(groups[-1]) :]
    return groups


def as_note(paragraph: Tag) -> str:
    """A paragraph as speakers read it: plain text, formulas as their TeX."""
    copy = inline(paragraph)
    copy = re.sub(r'<span class="math">\\\((.*?)\\\)</span>', r"<code>\1</code>", copy, flags=re.DOTALL)
    return " ".join(re.sub(r"\\\[(.*?)\\\]", r"<code>\1</code>", copy, flags=re.DOTALL).split())
