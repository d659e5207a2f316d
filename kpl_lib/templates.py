"""Sentences around class names and descriptions."""

import re

from kpl_lib.errors import InputError

TEMPLATE = "a photo of a {class}, which has {description}"
NAME_TEMPLATE = "a photo of a {class}."


def check_template(template: str, needed: str) -> str:
    """Return a template that holds the word it is for.

    Args:
        template: a sentence with `{class}`, `{description}` or both.
        needed: the word that must be there.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(template, str) or needed not in template:
        example = TEMPLATE if needed == "{description}" else NAME_TEMPLATE
        raise InputError(f"template {template!r} must hold {needed}, such as {example!r}")
    return template


def fill(template: str, name: str, description: str = "") -> str:
    """Put class name and description in; braces inside them stay as they are.

    Example:
        >>> fill("a {class} with {description}", "cat", "{whiskers}")
        'a cat with {whiskers}'
    """
    words = {"{class}": name, "{description}": description}
    return re.sub(r"\{class\}|\{description\}", lambda found: words[found[0]], template)
