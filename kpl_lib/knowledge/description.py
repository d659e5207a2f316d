"""A description, and the sentences around class names and descriptions."""

import re
from dataclasses import dataclass

from kpl_lib.common.errors import InputError


@dataclass(frozen=True, slots=True)
class Description:
    """One short phrase that describes a class.

    Args:
        text: the phrase, such as `a cavity with a thick wall`.
        tags: what it describes, such as `location` or `shape`.
        visual: True if it can be seen in the image, False if not, None where nobody said.

    Chapter: ch-knowledge
    """

    text: str
    tags: tuple[str, ...] = ()
    visual: bool | None = None


#: The sentence around a description, unless a knowledge base has its own.
TEMPLATE = "a photo of a {class}, which has {description}"
#: The sentence around a class name alone.
NAME_TEMPLATE = "a photo of a {class}."


def check_template(template: str, needed: str) -> str:
    """Return a template that holds the word it is for, `{class}` or `{description}`; else raise an InputError."""
    if not isinstance(template, str) or needed not in template:
        example = TEMPLATE if needed == "{description}" else NAME_TEMPLATE
        raise InputError(f"template {template!r} must hold {needed}, such as {example!r}")
    return template


def fill(template: str, name: str, description: str = "") -> str:
    """Put class name and description in; braces inside them stay as they are.

    Args:
        template: a sentence with `{class}`, `{description}` or both.
        name: the class.
        description: what is said of it.

    Returns:
        The sentence.

    Example:
        >>> fill("a {class} with {description}", "cat", "{whiskers}")
        'a cat with {whiskers}'

    Chapter: ch-knowledge
    """
    words = {"{class}": name, "{description}": description}
    return re.sub(r"\{class\}|\{description\}", lambda found: words[found[0]], template)
