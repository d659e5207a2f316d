"""Carry a new repository address through the tree: `make set-repository URL=https://github.com/ORG/REPO`."""

import os
import re
import sys
from pathlib import Path

from book.tools.building.setup_cell import ROOT, repository_url

ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
SUFFIXES = {".cff", ".css", ".ipynb", ".md", ".py", ".toml", ".txt", ".yml", ".yaml"}
SKIPPED = {"_build", "__pycache__", "node_modules"}


def clean(url: str) -> str:
    """The address without `.git` or a trailing slash.

    Raises:
        ValueError: if it is not the address of a GitHub repository (Colab opens no others).
    """
    address = url.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"URL={url!r} is no repository address: give one as https://github.com/ORG/REPO")
    return address


def name(url: str) -> str:
    """ORG/REPO of a repository's address."""
    return "/".join(clean(url).split("/")[-2:])


def mention(repository: str) -> re.Pattern[str]:
    """What finds ORG/REPO in an address, on GitHub or behind Colab's own address."""
    end = r"(?![A-Za-z0-9_-]|\.(?!git\b)[A-Za-z0-9])"
    return re.compile(r"(github\.com/|research\.google\.com/github/)" + re.escape(repository) + end)


def text_files(root: Path) -> list[Path]:
    """Every text file of the tree that may name the repository; hidden folders but .github are left out."""
    kept = []
    for folder, inside, files in os.walk(root):
        hidden = {part for part in inside if part.startswith(".")} - {".github"}
        inside[:] = sorted(set(inside) - hidden - SKIPPED)
        kept += [Path(folder, file) for file in sorted(files) if Path(file).suffix in SUFFIXES]
    return kept


def set_repository(url: str, root: Path = ROOT) -> list[Path]:
    """Replace the address of `_config.yml` by `url` wherever the tree names it; give the changed files."""
    new = name(clean(url))
    old = mention(name(repository_url(root)))
    changes = {}
    for file in text_files(root):
        before = file.read_bytes().decode("utf-8")
        after = old.sub(rf"\g<1>{new}", before)
        if after != before:
            changes[file] = after
    for file, text in changes.items():
        file.write_bytes(text.encode("utf-8"))
    return list(changes)


def main(arguments: list[str]) -> int:
    """Run from the command line; give the exit code."""
    try:
        changed = set_repository(arguments[0] if arguments else "")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(changed)} files changed", *(str(file.relative_to(ROOT)) for file in changed), sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
