"""Files of knowledge bases: our own, and other people's (CuPL, classification by description, KPL, CSV).

Found by name, read strictly, written whole or not at all; every fault is one line with the file and the place.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from kpl_lib.common.errors import InputError, among, short
from kpl_lib.common.files import atomic_path, read_json, read_text, shipped, write_json
from kpl_lib.knowledge.description import TEMPLATE, Description

HEAD_KEYS = ("name", "modality", "origin", "template", "name_template")
COLUMNS = ("class", "description", "tags", "visual")
VISUAL = {"": None, "true": True, "false": False}

# Format: what people call it, and the sentence around its descriptions. CuPL: Pratt et al. 2023, arXiv 2209.03320.
# Classification by description: Menon and Vondrick 2023, arXiv 2210.07183; their code chooses between "which is" and
# "which has" by the first word, here it is always "which has". KPL: Liu et al. 2025, arXiv 2501.11231.
FORMATS = {
    "cupl": ("CuPL", "{description}"),
    "descriptors": ("classification by description", "{class}, which has {description}"),
    "kpl": ("KPL", TEMPLATE),
    "csv": ("CSV", TEMPLATE),
}


def known_names() -> tuple[str, ...]:
    """Names of the knowledge bases that ship with the library.

    Chapter: ch-knowledge
    """
    return shipped("knowledge")


def read_base(path: Path) -> dict[str, object]:
    """Read a file of our own format: the parts of a `KnowledgeBase`.

    Raises:
        InputError: for anything wrong; says where.
    """
    content = read_json(path)
    refuse_unknown_keys(f"{path}: the file", content, (*HEAD_KEYS, "classes"))
    for key in HEAD_KEYS:
        if not isinstance(content.get(key, ""), str):
            raise InputError(f"{path}: {key!r} must be text, not {short(content[key])}")
    if not isinstance(content.get("classes"), dict):
        raise InputError(f'{path}: no \'classes\'; write {{"classes": {{class: {{"descriptions": [...]}}}}}}')
    records, references = _read_classes(path, content.pop("classes"))
    return {"name": path.stem, **content, "records": records, "references": references}


def write_base(path: str | Path, parts: Mapping) -> None:
    """Write a file of our own format, whole or not at all; the parts are those that `read_base` gives."""
    classes = {
        name: {
            "references": list(parts["references"].get(name, ())),
            "descriptions": [{"text": d.text, "tags": list(d.tags), "visual": d.visual} for d in found],
        }
        for name, found in parts["records"].items()
    }
    write_json(path, {**{key: parts[key] for key in HEAD_KEYS}, "classes": classes})


def import_file(path: Path, format: str, section: str | None = None) -> dict[str, object]:
    """Read a foreign file: the parts of a `KnowledgeBase`; arguments and errors as of `KnowledgeBase.read`."""
    title, template = _format(path, format, section)
    if format == "csv":
        records = _read_csv(path)
    elif format == "kpl":
        classes = _section(path, read_json(path), section)
        records, _ = _read_classes(path, classes, ("feature", "tags", "visual"), foreign=True)
    else:
        records, _ = _read_classes(path, read_json(path), (), foreign=True)
    origin = f"imported from a {title} file, {path.name}"
    return {"name": path.stem, "origin": origin, "template": template, "records": records}


def export_file(
    path: str | Path, format: str, section: str | None, parts: Mapping, sentences: Mapping
) -> None:
    """Write a foreign file, whole or not at all; arguments and errors as of `KnowledgeBase.export`.

    The parts are those that `read_base` gives; beside them the sentences of each class.
    """
    _format(path, format, section)
    records = parts["records"]
    if format == "csv":
        _write_csv(path, records)
    elif format == "cupl":
        write_json(path, sentences)
    elif format == "descriptors":
        write_json(path, {label: [d.text for d in found] for label, found in records.items()})
    else:
        features = {label: [{"feature": d.text} for d in found] for label, found in records.items()}
        write_json(path, {section or parts["name"]: features})


def _format(path: str | Path, name: str, section: str | None) -> tuple[str, str]:
    """Title and template of a format; only a KPL file has sections."""
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}: {among(name, FORMATS, 0.4)}")
    if section is not None and name != "kpl":
        raise InputError(f"{path}: section {section!r}, but only the kpl format has sections; leave it out")
    return FORMATS[name]


def _section(path: Path, content: dict, section: str | None) -> dict:
    """One section of `{section: {class: [{"feature": text}, ...]}}`; None takes the only one."""
    known = ", ".join(map(repr, content)) or "none"
    if section is None and len(content) != 1:
        raise InputError(f"{path}: which section? It has {known}; name one")
    section = next(iter(content)) if section is None else section
    if section not in content:
        raise InputError(f"{path}: no section {section!r}; it has {known}")
    if not isinstance(content[section], dict):
        raise InputError(f"{path}: section {section!r} must map classes to descriptions")
    return content[section]


def _read_classes(
    path: Path, classes: dict, keys: tuple[str, ...] = ("text", "tags", "visual"), foreign: bool = False
) -> tuple[dict[str, list[Description]], dict[str, list[str]]]:
    """Read the descriptions of each class, and the references that our own format has."""
    odd = next((name for name, value in classes.items() if foreign and isinstance(value, dict)), None)
    if odd is not None:
        raise InputError(f"{path}: class {odd!r} must hold a list, not an object; is it another format?")
    records, references = {}, {}
    for name, value in classes.items():
        place = f"{path}: class {name!r}"
        if not name.strip():
            raise InputError(f"{path}: a class has an empty name; name it")
        sources: object = []
        if isinstance(value, dict):
            refuse_unknown_keys(place, value, ("references", "descriptions"))
            sources, value = value.get("references", []), value.get("descriptions")
        if not isinstance(value, list):
            raise InputError(f"{place} must hold a list of descriptions, not {short(value)}")
        if not _texts(sources):
            raise InputError(f"{place}: 'references' must be a list of texts, not {short(sources)}")
        records[name] = [_read(f"{place}, description {i}", item, keys) for i, item in enumerate(value, 1)]
        references[name] = sources
    _refuse_twins(path, records)
    return records, references


def _read(place: str, item: object, keys: tuple[str, ...]) -> Description:
    """Read one description: a text, or an object with these keys; the first one holds the text."""
    tags, visual = [], None
    if isinstance(item, dict) and keys:
        refuse_unknown_keys(place, item, keys)
        tags, visual, item = item.get("tags", []), item.get("visual"), item.get(keys[0])
        if not _texts(tags):
            raise InputError(f"{place} has 'tags' that are no list of texts: {short(tags)}")
        if visual is not None and not isinstance(visual, bool):
            raise InputError(f"{place} has a 'visual' that is neither true nor false: {short(visual)}")
    if not isinstance(item, str):
        raise InputError(f"{place} must be text, not {short(item)}")
    if not item.strip():
        raise InputError(f"{place} is empty; write it, or drop it")
    return Description(item.strip(), tuple(tags), visual)


def refuse_unknown_keys(place: str, found: dict, known: tuple[str, ...]) -> None:
    """Refuse a key that would be ignored; say the nearest one."""
    unknown = next((key for key in found if key not in known), None)
    if unknown is not None:
        raise InputError(f"{place} has the unknown key {unknown!r}: {among(unknown, sorted(known), 0.4)}")


def _texts(value: object) -> bool:
    """Whether this is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _refuse_twins(path: Path, names: Mapping[str, object]) -> None:
    """Refuse two classes that a reader would take for one."""
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(" ".join(name.casefold().split()), name)
        if twin != name:
            raise InputError(f"{path}: classes {twin!r} and {name!r} differ only in case or spaces; keep one")


def _read_csv(path: Path) -> dict[str, list[Description]]:
    """Read a table `class,description[,tags,visual]`: one row a description, tags separated by `;`."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    records: dict[str, list[Description]] = {}
    line = 1  # in which a record begins
    try:
        header = _header(path, next(filter(None, reader), []))
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                name, description = _row(f"{path}: line {line}", header, cells)
                records.setdefault(name, []).append(description)
            line = reader.line_num + 1
    except csv.Error as error:
        place = f"in the record that begins in line {line}"
        raise InputError(f"{path}: broken CSV {place}: {error}; check its quotes") from None
    _refuse_twins(path, records)
    return records


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


def _row(place: str, header: list[str], cells: list[str]) -> tuple[str, Description]:
    """The class of a row, and its description."""
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
    return found["class"], Description(found["description"], tags, VISUAL[visual])


def _write_csv(path: str | Path, records: Mapping[str, Sequence[Description]]) -> None:
    """Write the table, whole or not at all."""
    spelled = {value: word for word, value in VISUAL.items()}
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, found in records.items():
            for number, d in enumerate(found, 1):
                if any(";" in tag for tag in d.tags):
                    place = f"class {name!r}, description {number}"
                    raise InputError(f"{place}: a tag holds ';'; rename it for CSV")
                table.writerow((name, d.text, ";".join(d.tags), spelled[d.visual]))
