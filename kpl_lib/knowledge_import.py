"""Other people's knowledge files, read and written: CuPL, classification by description, KPL, CSV."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kpl_lib.descriptions import Description, nearest, parse_class, short
from kpl_lib.errors import InputError
from kpl_lib.knowledge_csv import read_csv, write_csv
from kpl_lib.knowledge_files import refuse_twins, write_json
from kpl_lib.strict_files import read_json
from kpl_lib.templates import TEMPLATE

if TYPE_CHECKING:
    from kpl_lib.knowledge import KnowledgeBase

Records = dict[str, list[Description]]


@dataclass(frozen=True)
class Format:
    """One foreign format.

    Args:
        title: what people call it.
        template: the sentence around its descriptions.
        read: takes a path and a section; gives for each class its descriptions.
        write: takes a path, a knowledge base and a section.
    """

    title: str
    template: str
    read: Callable[[Path, str | None], Records]
    write: Callable[[Path, "KnowledgeBase", str | None], None]


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


def export_file(path: str | Path, base: "KnowledgeBase", format: str, section: str | None = None) -> None:
    """Write a foreign file, whole or not at all; arguments and errors as of `KnowledgeBase.export`."""
    find_format(format).write(Path(path), base, section)


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        InputError: if there is none; says the nearest one.

    Example:
        >>> find_format("cupl").title
        'CuPL'
    """
    if name not in FORMATS:
        raise InputError(
            f"unknown format {name!r}: {nearest(str(name), tuple(FORMATS))}known: {', '.join(FORMATS)}"
        )
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


def _write_cupl(path: Path, base: "KnowledgeBase", section: str | None) -> None:
    _refuse_section(path, section)
    write_json(path, base.sentences())


def _write_descriptors(path: Path, base: "KnowledgeBase", section: str | None) -> None:
    _refuse_section(path, section)
    write_json(path, base.classes)


def _write_kpl(path: Path, base: "KnowledgeBase", section: str | None) -> None:
    features = {name: [{"feature": text} for text in texts] for name, texts in base.classes.items()}
    write_json(path, {section or base.name: features})


def _read_csv(path: Path, section: str | None) -> Records:
    _refuse_section(path, section)
    return read_csv(path)


def _write_csv(path: Path, base: "KnowledgeBase", section: str | None) -> None:
    _refuse_section(path, section)
    write_csv(path, base.records)


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
