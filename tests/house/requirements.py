"""What pyproject.toml asks for, with the extras that name this project's other extras spelled out."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = tuple(PROJECT["optional-dependencies"])
OPTIONAL = tuple(name for name in EXTRAS if name not in ("all", "book", "dev"))  # a part of the library each


def asked(extra: str) -> list[Requirement]:
    """What an extra brings beside the core."""
    found = []
    for line in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) == PROJECT["name"]:
            found += [child for name in sorted(requirement.extras) for child in asked(name)]
        else:
            found.append(requirement)
    return found
