"""Files of knowledge bases: our own, and other people's (CuPL, classification by description, KPL, CSV).

Found by name, read strictly, written whole or not at all; every fault is one line with the file and the place.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kpl_lib.common.errors import InputError, among, did_you_mean, short
from kpl_lib.common.files import atomic_path, read_json, read_text, shipped
from kpl_lib.knowledge.description import TEMPLATE, Description

HEAD_KEYS = ("name", "modality", "origin", "template", "name_template")

CLASS_KEYS = ("references", "descriptions")
ROW_KEYS = ("text", "tags", "visual")


def known_names() -> tuple[str, ...]:
    """Names of the knowledge bases that ship with the library.

    Chapter: ch-knowledge
    """
    return shipped("knowledge")


def read_base(path: Path) -> tuple[dict[str, str], dict[str, list[Description]], dict[str, list[str]]]:
    """Read a file of our own format.

    Args:
        path: the file.

    Returns:
        The head, such as name and template; for each class its descriptions; for each class its references.

    Raises:
        InputError: for anything wrong; says where.
    """
    content = read_json(path)
    refuse_unknown_keys(path, "the file", content, (*HEAD_KEYS, "classes"))
    for key in HEAD_KEYS:
        if not isinstance(content.get(key, ""), str):
            raise InputError(f"{path}: {key!r} must be text, not {short(content[key])}")
    if not isinstance(content.get("classes"), dict):
        raise InputError(f'{path}: no \'classes\'; write {{"classes": {{class: {{"descriptions": [...]}}}}}}')
    head = {"name": path.stem, **{key: content[key] for key in HEAD_KEYS if key in content}}
    records, references = {}, {}
    for name, value in content["classes"].items():
        records[name], references[name] = parse_class(path, name, value)
    refuse_twins(path, records)
    return head, records, references


def write_base(
    path: str | Path,
    head: Mapping[str, str],
    records: Mapping[str, Sequence[Description]],
    references: Mapping[str, Sequence[str]],
) -> None:
    """Write a file of our own format, whole or not at all; the parts are those that `read_base` gives."""
    classes = {
        name: {
            "references": list(references.get(name, ())),
            "descriptions": [{"text": d.text, "tags": list(d.tags), "visual": d.visual} for d in found],
        }
        for name, found in records.items()
    }
    write_json(path, {**head, "classes": classes})


def write_json(path: str | Path, content: Mapping) -> None:
    """Write JSON as people read it, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def refuse_twins(path: str | Path, names: Mapping[str, object]) -> None:
    """Refuse two classes that a reader would take for one."""
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(" ".join(name.casefold().split()), name)
        if twin != name:
            raise InputError(f"{path}: classes {twin!r} and {name!r} differ only in case or spaces; keep one")


COLUMNS = ("class", "description", "tags", "visual")
VISUAL = {"": None, "true": True, "false": False}


def read_csv(path: Path) -> dict[str, list[Description]]:
    """Read a table `class,description[,tags,visual]`: one row a description, tags separated by `;`.

    Args:
        path: the file, UTF-8; its first line names the columns.

    Returns:
        For each class its descriptions, in the order of the file.

    Raises:
        InputError: for anything wrong; says the line.
    """
    lines = _lines(path, read_text(path))
    header = _header(path, next(lines, (1, []))[1])
    records: dict[str, list[Description]] = {}
    for line, cells in lines:
        place = f"{path}: line {line}"
        if len(cells) != len(header):
            raise InputError(f"{place} has {len(cells)} fields, the header has {len(header)}; quote commas")
        found = dict(zip(header, map(str.strip, cells), strict=True))
        for column in COLUMNS[:2]:
            if not found[column]:
                raise InputError(f"{place} has no {column}; write it, or drop the line")
        visual = found.get("visual", "").casefold()
        if visual not in VISUAL:
            raise InputError(f"{place}: 'visual' must be true, false or empty, not {found['visual']!r}")
        tags = tuple(tag.strip() for tag in found.get("tags", "").split(";") if tag.strip())
        records.setdefault(found["class"], []).append(Description(found["description"], tags, VISUAL[visual]))
    refuse_twins(path, records)
    return records


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a table, each with the number of its first line; empty lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{path}: broken CSV in the record that begins in line {line}: {error}; check its quotes"
            ) from None
        if cells is None:
            return
        if cells:
            yield line, cells


def _header(path: Path, cells: list[str]) -> list[str]:
    """The columns, from the first line."""
    header = [cell.strip().casefold() for cell in cells]
    example = f"write {','.join(COLUMNS)} (the last two may be left out)"
    if len(header) == 1 and {";", "\t"} & set(header[0]):
        raise InputError(f"{path}: line 1 has no commas; separate the columns by commas, not ; or tabs")
    for column in COLUMNS[:2]:
        if column not in header:
            raise InputError(f"{path}: line 1 must name the column {column!r}; {example}")
    for number, column in enumerate(header):
        if column not in COLUMNS or column in header[:number]:
            problem = "twice" if column in COLUMNS else "unknown"
            raise InputError(f"{path}: line 1, column {number + 1} {column!r} is {problem}; {example}")
    return header


def write_csv(path: Path, records: Mapping[str, list[Description]]) -> None:
    """Write the table, whole or not at all.

    Raises:
        InputError: if a tag holds `;`, or the file cannot be written.
    """
    spelled = {value: word for word, value in VISUAL.items()}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, found in records.items():
            for number, d in enumerate(found, 1):
                if any(";" in tag for tag in d.tags):
                    raise InputError(
                        f"class {name!r}, description {number}: a tag holds ';'; rename it for CSV"
                    )
                table.writerow((name, d.text, ";".join(d.tags), spelled[d.visual]))


Records = Mapping[str, list[Description]]
Sentences = Mapping[str, list[str]]


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Args:
        title: what people call it.
        template: the sentence around its descriptions.
        read: takes a path and a section; gives for each class its descriptions.
        write: takes a path, a section, a name, and for each class its descriptions and its sentences.
    """

    title: str
    template: str
    read: Callable[[Path, str | None], Records]
    write: Callable[[Path, str | None, str, Records, Sentences], None]


def import_file(path: Path, format: str, section: str | None = None) -> tuple[dict[str, str], Records]:
    """Read a foreign file.

    Args:
        path: the file.
        format: `cupl`, `descriptors`, `kpl` or `csv`.
        section: the section of a `kpl` file; None takes the only one.

    Returns:
        The head of a knowledge base, such as name and template; for each class its descriptions.

    Raises:
        InputError: for an unknown format, or a wrong file; says where.
    """
    known = find_format(format)
    records = known.read(path, section)
    origin = f"imported from a {known.title} file, {path.name}"
    return {"name": path.stem, "origin": origin, "template": known.template}, records


def export_file(
    path: str | Path, format: str, section: str | None, name: str, records: Records, sentences: Sentences
) -> None:
    """Write a foreign file, whole or not at all; errors as of `KnowledgeBase.export`.

    Args:
        path: the file.
        format: `cupl`, `descriptors`, `kpl` or `csv`.
        section: the section of a `kpl` file; None takes the name.
        name: what the base is called.
        records: for each class its descriptions.
        sentences: for each class its descriptions, each in its sentence.
    """
    find_format(format).write(Path(path), section, name, records, sentences)


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        InputError: if there is none; says the nearest one.

    Example:
        >>> find_format("cupl").title
        'CuPL'
    """
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}: {among(name, FORMATS, 0.4)}")
    return FORMATS[name]


def read_lists(path: Path, section: str | None) -> Records:
    """Read `{class: [text, ...]}`, the shape of CuPL and of classification by description."""
    _refuse_section(path, section)
    return _lists(path, read_json(path), "text", (str,))


def read_sections(path: Path, section: str | None) -> Records:
    """Read `{section: {class: [{"feature": text}, ...]}}`, the shape of KPL; None takes the only section."""
    content = read_json(path)
    known = ", ".join(map(repr, content)) or "none"
    if section is None and len(content) != 1:
        raise InputError(f"{path}: which section? It has {known}; name one")
    section = next(iter(content)) if section is None else section
    if section not in content:
        raise InputError(f"{path}: no section {section!r}; it has {known}")
    if not isinstance(content[section], dict):
        raise InputError(f"{path}: section {section!r} must map classes to descriptions")
    return _lists(path, content[section], "feature", (str, dict))


def _lists(path: Path, content: dict, key: str, kinds: tuple[type, ...]) -> Records:
    """Descriptions of each class, where every class holds a list of these kinds."""
    for name, value in content.items():
        if isinstance(value, dict):
            raise InputError(f"{path}: class {name!r} must hold a list, not an object; is it another format?")
        for number, item in enumerate(value if isinstance(value, list) else (), 1):
            if not isinstance(item, kinds):
                raise InputError(
                    f"{path}: class {name!r}, description {number} must be text, not {short(item)}"
                )
    records = {name: parse_class(path, name, value, key)[0] for name, value in content.items()}
    refuse_twins(path, records)
    return records


def _write_cupl(path: Path, section: str | None, name: str, records: Records, sentences: Sentences) -> None:
    _refuse_section(path, section)
    write_json(path, sentences)


def _write_descriptors(
    path: Path, section: str | None, name: str, records: Records, sentences: Sentences
) -> None:
    _refuse_section(path, section)
    write_json(path, {label: [d.text for d in found] for label, found in records.items()})


def _write_kpl(path: Path, section: str | None, name: str, records: Records, sentences: Sentences) -> None:
    features = {label: [{"feature": d.text} for d in found] for label, found in records.items()}
    write_json(path, {section or name: features})


def _read_csv(path: Path, section: str | None) -> Records:
    _refuse_section(path, section)
    return read_csv(path)


def _write_csv(path: Path, section: str | None, name: str, records: Records, sentences: Sentences) -> None:
    _refuse_section(path, section)
    write_csv(path, records)


def _refuse_section(path: Path, section: str | None) -> None:
    """Only a KPL file has sections."""
    if section is not None:
        raise InputError(
            f"{path}: section {section!r} given, but only the kpl format has sections; leave it out"
        )


# CuPL: Pratt et al. 2023, arXiv 2209.03320. Classification by description: Menon and Vondrick 2023, arXiv
# 2210.07183; their code chooses between "which is" and "which has" by the first word, here it is always
# "which has". KPL: Liu et al. 2025, arXiv 2501.11231.
FORMATS = {
    "cupl": Format("CuPL", "{description}", read_lists, _write_cupl),
    "descriptors": Format(
        "classification by description", "{class}, which has {description}", read_lists, _write_descriptors
    ),
    "kpl": Format("KPL", TEMPLATE, read_sections, _write_kpl),
    "csv": Format("CSV", TEMPLATE, _read_csv, _write_csv),
}


def parse_class(
    path: str | Path, name: str, value: object, key: str = "text"
) -> tuple[list[Description], list[str]]:
    """Read one class: its descriptions and references.

    Args:
        path: the file, for messages.
        name: the class.
        value: a list of descriptions, or an object with `descriptions` and `references`.
        key: where an object keeps its text.

    Returns:
        The descriptions, and the references.

    Raises:
        InputError: for no descriptions, empty or other than text, and unknown keys.

    Example:
        >>> parse_class("pets.json", "cat", ["whiskers"])
        ([Description(text='whiskers', tags=(), visual=None)], [])
    """
    place = f"class {name!r}"
    if not name.strip():
        raise InputError(f"{path}: a class has an empty name; name it")
    references: object = []
    if isinstance(value, dict):
        refuse_unknown_keys(path, place, value, CLASS_KEYS)
        references, value = value.get("references", []), value.get("descriptions")
    if not isinstance(value, list):
        raise InputError(f"{path}: {place} must hold a list of descriptions, not {short(value)}")
    if not value:
        raise InputError(f"{path}: {place} has no descriptions; add some, or drop the class")
    if not _texts(references):
        raise InputError(f"{path}: {place}: 'references' must be a list of texts, not {short(references)}")
    found, keys = [], frozenset((key, *ROW_KEYS[1:]))
    for number, item in enumerate(value, 1):
        try:
            found.append(_read(item, key, keys))
        except _FaultError as fault:
            raise InputError(f"{path}: {place}, description {number} {fault}") from None
    return found, list(references)


class _FaultError(Exception):
    """What is wrong with one description."""


def _read(item: object, key: str, keys: frozenset[str]) -> Description:
    """Read one description."""
    tags, visual = (), None
    if isinstance(item, dict):
        if not item.keys() <= keys:
            raise _FaultError(_unknown_key(item, tuple(keys)))
        tags, visual, item = item.get("tags", ()), item.get("visual"), item.get(key)
        if tags != () and not _texts(tags):
            raise _FaultError(f"has 'tags' that are no list of texts: {short(tags)}")
        if visual is not None and not isinstance(visual, bool):
            raise _FaultError(f"has a 'visual' that is neither true nor false: {short(visual)}")
    if not isinstance(item, str):
        raise _FaultError(f"must be text, not {short(item)}")
    item = item.strip()
    if not item:
        raise _FaultError("is empty; write it, or drop it")
    return Description(item, tuple(tags), visual)


def refuse_unknown_keys(path: str | Path, place: str, found: dict, known: tuple[str, ...]) -> None:
    """Refuse a key that would be ignored; say the nearest one."""
    problem = _unknown_key(found, known)
    if problem:
        raise InputError(f"{path}: {place} {problem}")


def _unknown_key(found: dict, known: tuple[str, ...]) -> str:
    """Say which key would be ignored, and the nearest known one; empty if there is none."""
    for key in found:
        if key not in known:
            return f"has the unknown key {key!r}: {did_you_mean(key, known)}known: {', '.join(sorted(known))}"
    return ""


def _texts(value: object) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
