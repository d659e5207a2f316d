"""Make an environment with the versions that Colab has: `python tests/house/colab_environment.py FOLDER`.

Whatever the chapters need and Colab's list names is installed at Colab's version. Torch, torchvision and what Colab
lacks are those of the environment that runs this script: Colab's own build of torch is in no public registry.
"""

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from requirements import CORE, asked

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("KPL_SHARED", ROOT.parent / "shared"))
#: What a chapter may import beside the core; open_clip imports transformers where it is there, as it is on Colab.
CHAPTERS = ("transport", "benchmark", "plots", "report", "hub")
KEPT = re.compile(r"torch|torchvision|triton|(nvidia|cuda)-.*")


def frozen(name: str = "pip-freeze.txt") -> dict[str, Version]:
    """Name -> version of one of Colab's lists."""
    text = (SHARED / "colab" / name).read_text()
    found = re.findall(r"^([\w.-]+)==([\w.+!]+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def needed(search: list[str]) -> set[str]:
    """Everything that the chapters need, by what is installed along this search path."""
    left, seen = [*CORE, *(part for extra in CHAPTERS for part in asked(extra))], set()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not wanted or name in seen or KEPT.fullmatch(name):
            continue
        seen.add(name)
        for found in metadata.distributions(name=name, path=search):
            left += [Requirement(line) for line in found.requires or []]
            break
    return seen


def make(folder: Path) -> Path:
    """Make the environment, or bring it up to date; gives its python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python, colab, mine = folder / "bin" / "python", frozen(), sysconfig.get_paths()["purelib"]
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "present.pth").write_text(mine + "\n")
    search, before = [str(site), mine], []
    while True:
        have: dict[str, Version] = {}
        for found in metadata.distributions(path=search):
            have.setdefault(canonicalize_name(found.name), Version(found.version))  # the first is imported
        names = sorted(needed(search) & colab.keys())
        lines = [f"{name}=={colab[name]}" for name in names if have.get(name) != colab[name]]
        if not lines:
            return python
        if lines == before:
            raise SystemExit(f"pip did not install {', '.join(lines)}")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
        subprocess.run([*pip, "install", "-q", "--no-deps", "--only-binary", ":all:", *lines], check=True)
        before = lines


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
