"""The setup cell of every chapter, and the repository's address: each written in one place.

The address stands in `_config.yml`. The setup cell installs, on Colab alone, what Colab lacks. It never
touches torch, torchvision or numpy: replacing what Colab has loaded would break the session.
"""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
TAGS = ["hide-input"]
FORM = "form"
SOURCE = """\
# @title Setup
import sys

if "google.colab" in sys.modules:  # elsewhere kpl_lib is installed already
    %pip install -q --no-deps "git+{url}" \\
        "open_clip_torch~=3.3" "ftfy>=6.3" "POT>=0.9.6"
"""


def config(root: Path = ROOT) -> dict:
    """The parsed `_config.yml`."""
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))


def repository_url(root: Path = ROOT) -> str:
    """The address of the book's repository, without a trailing slash."""
    return config(root)["repository"]["url"].rstrip("/")


def source(url: str) -> str:
    """The source of the setup cell for a repository."""
    return SOURCE.format(url=url).rstrip("\n")


def cell(url: str, identifier: str = "setup") -> dict:
    """The setup cell as nbformat keeps it."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": identifier,
        "metadata": {"cellView": FORM, "tags": TAGS},
        "outputs": [],
        "source": source(url).splitlines(keepends=True),
    }


def is_setup(candidate: dict) -> bool:
    """Whether a notebook cell is meant to be the setup cell."""
    return candidate["cell_type"] == "code" and "@title Setup" in "".join(candidate["source"])


def requirements(url: str) -> str:
    """What the setup cell installs, in quotes, with this checkout in place of the repository."""
    line = source(url).replace("\\\n", " ")
    return " ".join(re.search(r"--no-deps (.*)", line)[1].replace(f'"git+{url}"', ".").split())


if __name__ == "__main__":
    asked = "--requirements" in sys.argv[1:]
    print(requirements(repository_url()) if asked else json.dumps(cell(repository_url()), indent=1))
