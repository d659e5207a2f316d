"""Knowledge bases: for each class, what its images look like, in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import find_shipped, uncollected
from kpl_lib.knowledge.check import Report, check_base
from kpl_lib.knowledge.description import NAME_TEMPLATE, TEMPLATE, Description, check_template, fill
from kpl_lib.knowledge.files import export_file, import_file, read_base, write_base


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

    Chapter: ch-one-sitting
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
                bare = f"class {name!r} has no descriptions; add some, or drop it"
                raise InputError(f"knowledge base {self.name!r}: {bare}")
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

    def subset(self, keep: Callable[[Description], bool]) -> "KnowledgeBase":
        """Keep the descriptions that pass a test.

        Args:
            keep: says which descriptions stay.

        Returns:
            A new knowledge base.

        Raises:
            InputError: if a class would be left without descriptions.

        Example:
            >>> texts = [Description("whiskers", visual=True), Description("pride")]
            >>> KnowledgeBase("pets", {"cat": texts}).subset(lambda d: d.visual).classes
            {'cat': ['whiskers']}
        """
        left = {name: [d for d in found if keep(d)] for name, found in self.records.items()}
        empty = [name for name, found in left.items() if not found]
        if empty:
            raise InputError(f"subset: no description of {empty[0]!r} is left; keep one of each class")
        return replace(self, records=left)

    def check(self, class_names: Sequence[str] | None = None) -> Report:
        """Look for what is wrong, as far as words tell.

        What an encoder makes of the descriptions, and how they meet images, says
        `kpl_lib.knowledge.coverage.coverage_of(base, encoder.encode_knowledge(base), features)`.

        Args:
            class_names: the classes that there should be, as of a dataset; None does not compare.

        Returns:
            The findings; print it for one page of text.

        Raises:
            InputError: if `class_names` is one text.

        Example:
            >>> print(KnowledgeBase("pets", {"cat": [Description("a tail"), Description("A tail.")]}).check())
            pets: 1 classes, 2 descriptions
              ! class 'cat': 'A tail.' stands twice
              1 to correct (!)

        Chapter: ch-knowledge
        """
        whole = "{class}" not in self.template  # then the descriptions are whole sentences and must say it
        return check_base(self.name, self.records, self.sentences(), whole, class_names)

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all.

        Raises:
            InputError: if the file cannot be written.
        """
        write_base(path, vars(self))

    def export(self, path: str | Path, format: str, section: str | None = None) -> None:
        """Write a file for other people's code.

        Args:
            path: the file.
            format: `cupl` (whole sentences), `descriptors` (phrases), `kpl`, or `csv` (also tags and visual).
            section: the section of a `kpl` file; None takes the name of this base.

        Raises:
            InputError: for an unknown format, or if the file cannot be written.
        """
        export_file(path, format, section, vars(self), self.sentences())

    @classmethod
    def load(cls, name_or_path: str | Path) -> "KnowledgeBase":
        """Load a knowledge base that ships with the library by its name, or any file by its path.

        Raises:
            InputError: if there is no such base or file, or its content is wrong; says where.

        Example:
            >>> KnowledgeBase.load("nowhere.json")
            Traceback (most recent call last):
            kpl_lib.common.errors.InputError: nowhere.json: no such file; ...
        """
        path = find_shipped("knowledge", name_or_path, "knowledge base")
        with uncollected():
            return _made(path, read_base(path))

    @classmethod
    def read(cls, path: str | Path, format: str, section: str | None = None) -> "KnowledgeBase":
        """Read a file of another format.

        Args:
            path: the file.
            format: `cupl` (whole sentences), `descriptors` (phrases), `kpl` or `csv`.
            section: the section of a `kpl` file; None takes the only one.

        Returns:
            The base; its origin says the format and the file.

        Raises:
            InputError: for an unknown format, or a wrong file; says where.
        """
        path = Path(path).expanduser()
        return _made(path, import_file(path, format, section))


def _made(path: Path, parts: Mapping[str, object]) -> KnowledgeBase:
    """Build the base; name the file in whatever is wrong with it as a whole."""
    try:
        return KnowledgeBase(**parts)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
