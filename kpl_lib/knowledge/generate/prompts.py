"""Prompts as data: what a language model is asked for each class."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.common.files import find_shipped, read_json, shipped
from kpl_lib.knowledge.description import TEMPLATE, check_template
from kpl_lib.knowledge.files import refuse_unknown_keys

AGAIN = "These are written already; repeat none of them:\n{known}\n\nWrite {count} others, in the same form."
KEYS = ("name", "about", "system", "user", "again", "template")
PLACES = {  # text of the prompt: what it must hold, what it may hold
    "system": ((), ("class_name", "count", "modality")),
    "user": (("class_name", "count"), ("modality",)),
    "again": (("known", "count"), ("class_name", "modality")),
}


@dataclass(frozen=True)
class Prompt:
    """What a language model is asked.

    Args:
        name: what it is called.
        system: the standing order.
        user: the question; holds `{class_name}` and `{count}`, and `{modality}` where it is said.
        again: what follows the question when some are missing; holds `{known}` and `{count}`.
        template: the sentence around one description of the base that comes of it.
        about: one line for readers.

    Example:
        >>> prompt = Prompt("short", "Answer with JSON.", "Class: {class_name}. Give {count}.")
        >>> prompt.messages("cat", 2)[1]["content"]
        'Class: cat. Give 2.'

    Chapter: ch-knowledge
    """

    name: str
    system: str
    user: str
    again: str = AGAIN
    template: str = TEMPLATE
    about: str = ""

    def __post_init__(self) -> None:
        for key in KEYS:
            if not isinstance(getattr(self, key), str):
                raise InputError(f"prompt {self.name!r}: {key!r} must be text, not {getattr(self, key)!r}")
        if not self.name.strip():
            raise InputError("prompt '': 'name' is empty; write it")
        for key, (needed, allowed) in PLACES.items():
            where, text = f"prompt {self.name!r}: {key!r}", getattr(self, key)
            for word in needed:
                if f"{{{word}}}" not in text:
                    raise InputError(f"{where} must hold {{{word}}}, once at least")
            for word in re.findall(r"\{ *(\w*) *\}", text):
                if word not in (*needed, *allowed) or f"{{{word}}}" not in text:
                    known = ", ".join(f"{{{word}}}" for word in (*needed, *allowed))
                    raise InputError(f"{where} holds {{{word}}}, which nothing fills; known: {known}")
        check_template(self.template, "{description}")

    @property
    def checksum(self) -> str:
        """16 digits that change with any word that the model or the base sees."""
        seen = json.dumps([self.system, self.user, self.again, self.template])
        return hashlib.sha256(seen.encode()).hexdigest()[:16]

    def messages(
        self, class_name: str, count: int, modality: str = "photograph", known: Sequence[str] = ()
    ) -> list[dict[str, str]]:
        """The chat messages that ask for `count` descriptions beside the `known` ones.

        Args:
            class_name: the class; braces inside it stay as they are.
            count: how many are wanted.
            modality: the kind of picture.
            known: the descriptions that are there already.
        """
        words = {"class_name": class_name, "count": str(count), "modality": modality}
        words["known"] = "\n".join(f"- {text}" for text in known)
        asked = {"system": self.system, "user": self.user + ("\n\n" + self.again if known else "")}
        return [
            {"role": role, "content": re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), text)}
            for role, text in asked.items()
            if text.strip()
        ]


def known_prompts() -> tuple[str, ...]:
    """Names of the prompts that ship with the library.

    Example:
        >>> known_prompts()
        ('cupl-like', 'kpl-like', 'visual')

    Chapter: ch-knowledge
    """
    return shipped("prompts")


def load_prompt(name_or_path: str | Path) -> Prompt:
    """Load a prompt that ships with the library by its name, or any prompt file by its path.

    Args:
        name_or_path: a name of `known_prompts()`, or a file.

    Returns:
        The prompt.

    Raises:
        InputError: if there is none, or a key or a placeholder is missing or unknown.

    Example:
        >>> load_prompt("visua")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: unknown prompt 'visua': did you mean 'visual'? ...

    Chapter: ch-knowledge
    """
    path = find_shipped("prompts", name_or_path, "prompt")
    content = read_json(path)
    refuse_unknown_keys(f"{path}: the prompt", content, KEYS)
    absent = [key for key in ("name", "system", "user") if key not in content]
    if absent:
        raise InputError(f"{path}: the prompt has no {absent[0]!r}; it needs 'name', 'system' and 'user'")
    try:
        return Prompt(**content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
