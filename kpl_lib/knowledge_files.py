"""The file of a knowledge base: found by name, read strictly, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kpl_lib.descriptions import Description, nearest, parse_class, refuse_unknown_keys, short
from kpl_lib.errors import InputError
from kpl_lib.paths import atomic_path, data_dir
from kpl_lib.strict_files import read_json

if TYPE_CHECKING:
    from kpl_lib.knowledge import KnowledgeBase

HEAD_KEYS = ("name", "modality", "origin", "template", "name_template")


def known_names() -> tuple[str, ...]:
    """Names of the knowledge bases that ship with the library.

    Chapter: ch-knowledge
    """
    return tuple(sorted(path.stem for path in (data_dir() / "knowledge").glob("*.json")))


def find_file(name_or_path: str | Path) -> Path:
    """The file of this name or path."""
    path = Path(name_or_path).expanduser()
    if path.suffix or path.parent != Path("."):
        return path
    if str(name_or_path) in known_names():
        return data_dir() / "knowledge" / f"{name_or_path}.json"
    if path.is_file():
        return path
    hint, known = nearest(str(name_or_path), known_names()), ", ".join(known_names()) or "none"
    raise InputError(
        f"unknown knowledge base {str(name_or_path)!r}: {hint}known: {known}; or name a .json file"
    )


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


def write_base(path: str | Path, base: "KnowledgeBase") -> None:
    """Write a file of our own format, whole or not at all."""
    classes = {
        name: {
            "references": list(base.references.get(name, ())),
            "descriptions": [{"text": d.text, "tags": list(d.tags), "visual": d.visual} for d in found],
        }
        for name, found in base.records.items()
    }
    write_json(path, {**{key: getattr(base, key) for key in HEAD_KEYS}, "classes": classes})


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
