"""MyST Markdown as plain Markdown, for readers whose program knows no directives and no roles.

Boxes become quotes, what is folded becomes `<details>`, references become links to the published site, and equations
carry the numbers of the site. A directive or a role that has no plain form here is an error, so none is left behind.
"""

import html
import posixpath
import re

from book.tools.building.site_links import Links, Target

NOTES = ("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso")
FENCE = re.compile(r"(:{3,}|`{3,})\{([\w:-]+)\} *(.*)")
OPTIONS = re.compile(r"(?::[\w-]+:.*(?:\n|$))*")
GATED = re.compile(
    r"^(:{3,})\{exercise-start\}(.*\n(?::.*\n)*)\1 *\n(.*?)^(:{3,})\{exercise-end\} *\n\4 *$",
    re.DOTALL | re.M,
)
GATE = re.compile(r"^(:{3,})\{solution-(?:start|end)\}.*\n(?::[\w-]+:.*\n)*\1 *$", re.MULTILINE)
WHOLE = re.compile(r"^:{3,}\{solution\}.*\n(?::[\w-]+:.*\n)*", re.MULTILINE)
CODE = r"(?P<code>^(?P<ticks>`{3,})(?!\{).*?^(?P=ticks) *$|(?P<tick>`{1,2})(?!`)(?:(?!\n\n).)*?(?<!`)(?P=tick)(?!`))"
ROLE = r"\{(?P<role>[A-Za-z][\w:-]*)\}`(?P<text>[^`]+)`"
TARGET = r"^\([\w-]+\)=[ \t]*\n?"
EQUATION = r"^\$\$ \((?P<equation>[\w-]+)\)[ \t]*$"
PATH = r"(?P<shown>!?\[[^\]]*\])\((?P<path>[\w./-]+\.(?:ipynb|md|svg|png))(?P<part>#[\w-]+)?\)"
INLINE = re.compile(f"{ROLE}|{CODE}|{TARGET}|{EQUATION}|{PATH}", re.DOTALL | re.MULTILINE)
SUMMARY = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*(.+?)\*\*", r"<b>\1</b>"),
    (r"\*(.+?)\*", r"<em>\1</em>"),
)


def linked(shown: str, url: str) -> str:
    """A Markdown link; without an address, what it shows."""
    return f"[{shown}]({url})" if url else shown


def cited(keys: str, in_text: bool, links: Links) -> str:
    """Authors and years, each with a link to the bibliography."""
    found = [links.papers[key.strip()] for key in keys.split(",")]
    if in_text:
        return ", ".join(linked(f"{who} ({year})", f"{links.site}bibliography.html") for who, year in found)
    return f"({'; '.join(linked(f'{who}, {year}', f'{links.site}bibliography.html') for who, year in found)})"


def role(name: str, text: str, page: str, links: Links) -> str:
    """What stands in the place of a role.

    Raises:
        ValueError: if the role, or what it refers to, is not known.
    """
    given = re.fullmatch(r"(.*?)\s*<([^<>]+)>", text, re.DOTALL)
    shown, wanted = (given[1], given[2]) if given else ("", text)
    try:
        if name in ("cite:p", "cite:t"):
            return cited(text, name == "cite:t", links)
        if name == "term":
            return linked(shown or wanted, links.terms[" ".join(wanted.lower().split())].url)
        if name in ("ref", "numref", "eq"):
            found = links.labels[wanted]
        elif name == "doc":
            found = links.pages[posixpath.normpath(posixpath.join(posixpath.dirname(page), wanted))]
        else:
            raise ValueError(f"{page}: {{{name}}} has no plain form: give it one in plain_markdown.py")
    except KeyError as error:
        raise ValueError(f"{page}: {{{name}}}`{text}` refers to {error}, which is nowhere") from None
    return linked(shown or found.text, found.url)


def address(path: str, page: str, links: Links) -> str:
    """The address on the site of a file that a page names by its relative path."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    return links.site + re.sub(r"\.(ipynb|md)$", ".html", place)


def inline(text: str, page: str, links: Links) -> str:
    """The text with plain links in the place of roles and relative paths, equations numbered, targets removed."""

    def plain(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        if found["role"]:
            return role(found["role"], found["text"], page, links)
        if found["equation"]:
            return f"\\tag{{{links.labels[found['equation']].text.strip('()')}}}\n$$"
        if found["path"]:
            return f"{found['shown']}({address(found['path'], page, links)}{found['part'] or ''})"
        return ""

    return INLINE.sub(plain, text)


def quote(title: str, body: str) -> str:
    """A box as a quote with a bold title. A formula takes one line: programs would read the marks into it."""
    flat = re.sub(r"\$\$(.*?)\$\$", lambda found: " ".join(found[0].split("\n")), body, flags=re.DOTALL)
    return "\n".join(f"> {line}".rstrip() for line in f"**{title}**\n\n{flat.strip()}".split("\n"))


def details(title: str, body: str) -> str:
    """What is folded; its title is HTML, because Markdown is not read there."""
    parts = re.split(r"(\$[^$]+\$)", title)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = part.replace("<", r"\lt ")
            continue
        part = html.escape(re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", part), quote=False)
        for pattern, tags in SUMMARY:
            part = re.sub(pattern, tags, part)
        parts[place] = part
    return f"<details><summary>{''.join(parts)}</summary>\n\n{body.strip()}\n\n</details>"


def figure(target: Target, image: str, caption: str) -> str:
    """A picture, if there is one, and its numbered caption."""
    return f"{image}\n\n**{linked(target.text, target.url)}.** {caption.strip()}".strip()


def directive(kind: str, title: str, body: str, page: str, links: Links) -> str:
    """The plain form of one directive.

    Raises:
        ValueError: if it has none.
    """
    found = OPTIONS.match(body)[0]
    options = dict(re.findall(r"^:([\w-]+): *(.*)$", found, re.MULTILINE))
    body = blocks(body[len(found) :], page, links)
    if kind == "admonition":
        return quote(title, body)
    if kind in NOTES:
        return quote(kind.capitalize(), f"{title}\n{body}" if title else body)
    if kind == "dropdown":
        return details(title, body)
    if kind == "exercise":
        target = links.labels[options["label"]]
        return quote(f"{linked(target.text, target.url)}. {title}", body)
    if kind == "figure":
        image = f"![{options.get('alt', '')}]({address(title, page, links)})"
        return figure(links.labels[options["name"]], image, body)
    raise ValueError(f"{page}: {{{kind}}} has no plain form: give it one in plain_markdown.py")


def blocks(text: str, page: str, links: Links) -> str:
    """The text with plain forms in the place of directives."""
    lines, kept = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        fence = FENCE.fullmatch(line)
        code = re.match(r"(`{3,})(?!\{)", line)
        if not fence and not code:
            kept.append(line)
            continue
        closing = (fence or code)[1]
        ends = [place for place, other in enumerate(lines) if other.rstrip() == closing]
        if not ends:
            raise ValueError(f"{page}: {line!r} is never closed")
        inside, lines = lines[: ends[0]], lines[ends[0] + 1 :]
        body = "\n".join(inside)
        kept.append(
            directive(fence[2], fence[3], body, page, links) if fence else f"{line}\n{body}\n{closing}"
        )
    return "\n".join(kept)


def plain(text: str, page: str, links: Links) -> str:
    """A piece of MyST as plain Markdown; `page` is its path in the book without the suffix."""
    whole = GATED.sub(r"::::::::{exercise}\2\3::::::::", text)
    return blocks(inline(whole, page, links), page, links).strip("\n")


def solution(text: str, asked: Target, first: bool, page: str, links: Links) -> str:
    """A piece of a solution, folded; where it begins with code, a line that says so."""
    title = f"Solution of {asked.text}"
    text, whole = WHOLE.subn("", GATE.sub("", text))
    if whole:
        text = re.sub(r"\n:{3,}\s*$", "", text)
    body = plain(text, page, links)
    if body:
        return details(f"{title} ({asked.title})" if first else f"{title}, continued", body)
    return f"**{title}** ({asked.title}): in the folded cell below." if first else ""
