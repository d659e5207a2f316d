"""The self-check questions of `book/questions/`, read and checked; README.md there explains the format.

NAME.yml holds the ten questions of the page NAME: a chapter's file, or primer_PAGE for a page of the primer. Of each
kind in KINDS there are as many as COUNTS says, or all ten ask for recall.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

#: recall: the page says it. predict: asked in the flow, before the figure that answers it. transfer: new numbers.
KINDS = ("recall", "predict", "transfer")
COUNTS = ((3, 4, 3), (10, 0, 0))  # questions of a page by kind
ROLE = re.compile(r"\{[a-z:]+\}`")
IDENTIFIER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-\d+")


@dataclass(frozen=True)
class Question:
    """One question of a page. The texts are Markdown: `$math$`, *emphasis* and `code`, no directive and no role."""

    id: str  # unique in the book, such as zero-shot-1
    kind: str  # one of KINDS
    question: str
    answer: str  # one or two sentences
    why: str  # the explanation, one to three sentences
    section: str  # the heading of the page under which the answer stands
    holds: str = (
        ""  # of a transfer question: a condition in Python that its numbers meet, evaluated by a test
    )


*KEYS, CONDITION = [field.name for field in fields(Question)]


def reasons(number: int, entry: object) -> list[str]:
    """What is wrong with one entry of a file."""
    wanted = [*KEYS, CONDITION] if isinstance(entry, dict) and CONDITION in entry else KEYS
    if not isinstance(entry, dict) or list(entry) != wanted:
        return [f"question {number} needs the keys {', '.join(wanted)}, in this order"]
    empty = [key for key in wanted if not isinstance(entry[key], str) or not entry[key].strip()]
    if empty:
        return [f"question {number}: {empty[0]} is empty or no text (quote a number or a colon)"]
    if not IDENTIFIER.fullmatch(entry["id"]):
        return [f"question {number}: the id {entry['id']!r} is not of the form page-1"]
    if entry["kind"] not in KINDS:
        return [f"question {number}: the kind {entry['kind']!r} is not one of {', '.join(KINDS)}"]
    if CONDITION in entry and entry["kind"] != "transfer":
        return [f"question {number}: only a transfer question has the key {CONDITION}"]
    roles = [key for key in KEYS if ROLE.search(entry[key])]
    return (
        [f"question {number}: {roles[0]} holds a role such as {{term}}; write plain words"] if roles else []
    )


def load(file: Path) -> list[Question]:
    """The questions of one file.

    Raises:
        ValueError: with one line that says what to mend.
    """
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{file.name}{where}: no valid YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(entries, list):
        raise ValueError(f"{file.name}: no list; write a list of {sum(COUNTS[0])} questions")
    for number, entry in enumerate(entries, start=1):
        for reason in reasons(number, entry):
            raise ValueError(f"{file.name}: {reason}")
    found = tuple(sum(entry["kind"] == kind for entry in entries) for kind in KINDS)
    if found not in COUNTS:
        said, wanted = (
            ", ".join(f"{count} {kind}" for count, kind in zip(counts, KINDS, strict=True))
            for counts in (found, COUNTS[0])
        )
        raise ValueError(f"{file.name}: {said}; write {wanted}")
    return [Question(**{key: " ".join(text.split()) for key, text in entry.items()}) for entry in entries]


def load_all(book: Path, names: list[str] | None = None) -> dict[str, list[Question]]:
    """The questions of every page, or of the named ones, by the name of their file; the ids differ."""
    files = {file.stem: file for file in sorted((book / "questions").glob("*.yml"))}
    unknown = sorted(set(names or ()) - set(files))
    if unknown:
        raise ValueError(f"there is no book/questions/{unknown[0]}.yml")
    found = {name: load(files[name]) for name in names or files}
    seen: dict[str, str] = {}
    for name, questions in found.items():
        for question in questions:
            if question.id in seen:
                raise ValueError(f"{name}.yml: the id {question.id} is taken, in {seen[question.id]}.yml")
            seen[question.id] = name
    return found


def page_of(name: str, book: Path) -> Path:
    """The page that shows the questions of NAME.yml."""
    stem = f"primer/{name.removeprefix('primer_')}" if name.startswith("primer_") else f"chapters/{name}"
    stem = name if name.startswith("_") else stem
    for suffix in (".ipynb", ".md"):
        if (book / f"{stem}{suffix}").is_file():
            return book / f"{stem}{suffix}"
    raise ValueError(f"{name}.yml: there is no page {stem}.ipynb or {stem}.md for these questions")
