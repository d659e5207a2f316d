"""Knowledge bases: for each class, what its images look like, in words."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kpl_lib.errors import InputError
from kpl_lib.knowledge_check import Report, check_records
from kpl_lib.knowledge_files import find_file, parse_class, read_json, refuse_unknown_keys, uncollected
from kpl_lib.paths import atomic_path
from kpl_lib.templates import NAME_TEMPLATE, TEMPLATE, check_template, fill

KEYS = ("name", "modality", "origin", "template", "name_template", "classes")


@dataclass(frozen=True, slots=True)
class Description:
    """One short phrase that describes a class.

    Args:
        text: the phrase, such as `a cavity with a thick wall`.
        tags: what it describes, such as `location` or `shape`.
        visual: True if it can be seen in the image, False if not, None where nobody said.
    """

    text: str
    tags: tuple[str, ...] = ()
    visual: bool | None = None


@dataclass(frozen=True)
class KnowledgeBase:
    """Descriptions of the classes of one dataset.

    Args:
        name: what it is called.
        records: for each class, in class order, its descriptions.
        modality: the kind of image, such as `chest radiograph`.
        origin: who wrote it and who has reviewed it, in free text.
        template: the sentence around a description; holds `{description}`, and `{class}` where it is said.
        name_template: the sentence around a class name alone; holds `{class}`.
        references: for each class the sources of its facts.

    Example:
        >>> kb = KnowledgeBase("pets", {"cat": [Description("whiskers")], "dog": [Description("a wet nose")]})
        >>> kb.sentences()["dog"]
        ['a photo of a dog, which has a wet nose']

    Derived in chapter "KPL in one sitting".
    """

    name: str
    records: Mapping[str, list[Description]]
    modality: str = ""
    origin: str = ""
    template: str = TEMPLATE
    name_template: str = NAME_TEMPLATE
    references: Mapping[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.records:
            raise InputError(f"knowledge base {self.name!r}: no classes; give at least one")
        for name, descriptions in self.records.items():
            if not descriptions:
                raise InputError(
                    f"knowledge base {self.name!r}: class {name!r} has no descriptions; add some, or drop it"
                )
        check_template(self.template, "{description}")
        check_template(self.name_template, "{class}")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(self.records)

    @property
    def classes(self) -> dict[str, list[str]]:
        """The description texts of each class."""
        return {name: [description.text for description in found] for name, found in self.records.items()}

    def sentences(self, template: str | None = None) -> dict[str, list[str]]:
        """Put every description into its sentence.

        Args:
            template: None takes the template of this base.

        Returns:
            For each class, one sentence a description.

        Raises:
            InputError: for a template without `{description}`.
        """
        template = check_template(self.template if template is None else template, "{description}")
        return {name: [fill(template, name, text) for text in texts] for name, texts in self.classes.items()}

    def prompts(self, template: str | None = None) -> list[str]:
        """Put every class name into its sentence, such as `a photo of a cat.`, in class order."""
        template = check_template(self.name_template if template is None else template, "{class}")
        return [fill(template, name) for name in self.records]

    def subset(self, keep: Callable[[Description], bool], limit: int | None = None) -> "KnowledgeBase":
        """Keep the descriptions that pass a test.

        Args:
            keep: says which descriptions stay.
            limit: the most that stay in one class, the first ones; None keeps all.

        Returns:
            A new knowledge base.

        Raises:
            InputError: if a class would be left without descriptions.

        Example:
            >>> texts = [Description("whiskers", visual=True), Description("pride")]
            >>> KnowledgeBase("pets", {"cat": texts}).subset(lambda d: d.visual).classes
            {'cat': ['whiskers']}
        """
        left = {name: [d for d in found if keep(d)][:limit] for name, found in self.records.items()}
        empty = [name for name, found in left.items() if not found]
        if empty:
            raise InputError(
                f"subset: no description of {empty[0]!r} is left; keep at least one of each class"
            )
        return replace(self, records=left)

    def check(self) -> Report:
        """Look for duplicates, class names inside descriptions, and uneven counts."""
        return check_records(self.name, self.classes)

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all.

        Raises:
            InputError: if the file cannot be written.
        """
        classes = {
            name: {
                "references": list(self.references.get(name, ())),
                "descriptions": [{"text": d.text, "tags": list(d.tags), "visual": d.visual} for d in found],
            }
            for name, found in self.records.items()
        }
        head = {key: getattr(self, key) for key in KEYS if key != "classes"}
        with atomic_path(path) as temporary:
            text = json.dumps({**head, "classes": classes}, ensure_ascii=False, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, name_or_path: str | Path) -> "KnowledgeBase":
        """Load a knowledge base that ships with the library by its name, or any file by its path.

        Raises:
            InputError: if there is no such base or file, or its content is wrong; says where.

        Example:
            >>> KnowledgeBase.load("nowhere.json")
            Traceback (most recent call last):
            kpl_lib.errors.InputError: nowhere.json: no such file; ...
        """
        with uncollected():
            return cls._load(find_file(name_or_path))

    @classmethod
    def _load(cls, path: Path) -> "KnowledgeBase":
        """Read one file of our own format."""
        content = read_json(path)
        refuse_unknown_keys(path, "the file", content, KEYS)
        for key in KEYS[:-1]:
            if not isinstance(content.get(key, ""), str):
                raise InputError(f"{path}: {key!r} must be text, not {content[key]!r}")
        if not isinstance(content.get("classes"), dict):
            raise InputError(
                f'{path}: no \'classes\'; write {{"classes": {{class: {{"descriptions": [...]}}}}}}'
            )
        parsed = {name: parse_class(path, name, value) for name, value in content["classes"].items()}
        head = {key: content[key] for key in KEYS[:-1] if key in content}
        records = {name: [Description(*row) for row in rows] for name, (rows, _) in parsed.items()}
        return _made(
            path, {"name": path.stem, **head}, records, {name: found for name, (_, found) in parsed.items()}
        )

    @classmethod
    def from_cupl(cls, path: str | Path, name_template: str = NAME_TEMPLATE) -> "KnowledgeBase":
        """Import a CuPL file, `{class: [sentence, ...]}`: whole sentences that already say the class.

        Source: Pratt et al. 2023, arXiv 2209.03320.
        """
        return _import(path, read_json(path), "CuPL", "{description}", name_template)

    @classmethod
    def from_descriptors(cls, path: str | Path, name_template: str = NAME_TEMPLATE) -> "KnowledgeBase":
        """Import a file of classification by description, `{class: [phrase, ...]}`.

        Source: Menon and Vondrick 2023, arXiv 2210.07183. Their code chooses between `which is` and
        `which has` by the first word; here the sentence always says `which has`.
        """
        return _import(
            path,
            read_json(path),
            "classification by description",
            "{class}, which has {description}",
            name_template,
        )

    @classmethod
    def from_kpl(cls, path: str | Path, section: str) -> "KnowledgeBase":
        """Import one section of a KPL file, `{section: {class: [{"feature": phrase}, ...]}}`.

        Source: Liu et al. 2025, arXiv 2501.11231.
        """
        content = read_json(path)
        if section not in content:
            raise InputError(
                f"{path}: no section {section!r}; it has {', '.join(map(repr, content)) or 'none'}"
            )
        found = content[section]
        if not isinstance(found, dict):
            raise InputError(f"{path}: section {section!r} must map classes to descriptions")
        return _import(path, found, "KPL", TEMPLATE, NAME_TEMPLATE, "feature")


def _import(
    path, content: dict, source: str, template: str, name_template: str, key: str = "text"
) -> KnowledgeBase:
    """Read `{class: [text or {key: text}, ...]}`."""
    rows = {name: parse_class(path, name, value, key)[0] for name, value in content.items()}
    records = {name: [Description(*row) for row in found] for name, found in rows.items()}
    head = {"origin": f"imported from a {source} file, {Path(path).name}", "template": template}
    return _made(Path(path), {"name": Path(path).stem, "name_template": name_template, **head}, records, {})


def _made(path: Path, head: dict, records: dict, references: dict) -> KnowledgeBase:
    """Build the base; name the file in whatever is wrong with it as a whole."""
    seen: dict[str, str] = {}
    for name in records:
        twin = seen.setdefault(" ".join(name.casefold().split()), name)
        if twin != name:
            raise InputError(f"{path}: classes {twin!r} and {name!r} differ only in case or spaces; keep one")
    try:
        return KnowledgeBase(records=records, references=references, **head)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
