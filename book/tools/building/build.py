"""Build the book: `make book` runs this file. Prints the path of index.html as its last line.

The notebooks are executed first, several at once; Jupyter Book then finds their outputs in its cache.

Two digests decide what runs. The library digest (kpl_lib, data, pins, Python) labels the cache of executed
chapters: when it changes, every chapter runs again. The book digest (book, _config.yml, the claims) covers the rest:
when neither changed since the last good build, nothing is built at all.

A statement that does not come out on this machine is marked on its page and told at the end; with --strict the build
then ends with code 1.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from book.tools.building.execute import execute
from book.tools.claims.statements import report, without_code
from book.tools.teaching import slides
from kpl_lib.common.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ("kpl_lib", "data", "constraints.txt", "pyproject.toml")
BOOK = ("book", "_config.yml", "data/claims")
APART = ("data/claims", "data/results/claims_spread.csv")  # an edit of these runs the page, or none
IGNORED = {"__pycache__", ".ipynb_checkpoints", ".ruff_cache", ".DS_Store"}
# The page that leads to the first one; without an icon, even an empty one, a browser asks for a file that is not there.
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>The book</title><link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url=intro.html"></head><body><a href="intro.html">The book</a></body></html>
"""
COMMAND = "from jupyter_book.cli.main import main; main()"


def digest(root: Path, names: tuple[str, ...], salt: str = "") -> str:
    """Hash the names and contents of every file under `names`, in a fixed order."""
    state = hashlib.sha256(salt.encode())
    for name in names:
        path = root / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            inside = file.relative_to(root).as_posix()
            if name not in APART and inside.startswith(APART):
                continue
            if file.is_file() and not IGNORED & set(file.parts):
                state.update(f"{inside}\0{file.stat().st_size}\0".encode())
                state.update(file.read_bytes())
    return state.hexdigest()


def read(path: Path) -> str:
    """The text of `path`, or nothing if the file is not there."""
    return path.read_text() if path.is_file() else ""


def clear(build: Path, library: str) -> None:
    """Remove what must not outlive a change: old pages always, executed chapters and features with their library.

    Old doctrees would hide a warning or a failure that the last build reported, so they never stay.
    """
    for name in (".doctrees", "html", "jupyter_execute", ".book.key"):
        path = build / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    label = build / ".jupyter_cache.key"
    if read(label) != library:
        for name in (".jupyter_cache", "features", "claims"):
            shutil.rmtree(build / name, ignore_errors=True)
        build.mkdir(exist_ok=True)
        label.write_text(library)


def run_jupyter_book(root: Path) -> int:
    """Run Jupyter Book with warnings as errors; give its exit code."""
    arguments = ["build", "book", "-W", "-n", "--keep-going"]
    return subprocess.run([sys.executable, "-c", COMMAND, *arguments], cwd=root).returncode


def finished(index: Path, claims: Path, strict: bool) -> int:
    """Say which statements differ on this machine, then the path of the book; give the exit code."""
    off = report(claims)
    if off and strict:
        print("The book was built, but not every statement came out (see above).", file=sys.stderr)
    print(index, flush=True)
    return 1 if off and strict else 0


def build(root: Path = ROOT, strict: bool = False) -> int:
    """Bring _build/html up to date; give the exit code."""
    folder, index = root / "_build", root / "_build" / "html" / "index.html"
    library = digest(root, LIBRARY, salt=sys.version)
    key = json.dumps({"library": library, "book": digest(root, BOOK)})
    if read(folder / ".book.key") == key and index.is_file():
        print("Nothing changed since the last build.")
        return finished(index, folder / "claims", strict)
    started = time.monotonic()
    clear(folder, library)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    try:
        failed = execute(root)
        without_code(folder / "claims")
    except InputError as error:
        print(f"The book was not built: {error}", file=sys.stderr)
        return 2
    if failed:
        names = ", ".join(path.name for path in failed)
        print(f"The book was not built: {names} failed. The error above says where.", file=sys.stderr)
        return 1
    code = run_jupyter_book(root)
    if code or not index.is_file():
        reason = f"Jupyter Book ended with code {code}" if code else f"there is no {index}"
        print(
            f"The book was not built: {reason}. The first error or warning above says why.", file=sys.stderr
        )
        return code or 1
    index.write_text(INDEX, encoding="utf-8")
    slides.write(root)
    (folder / ".book.key").write_text(key)
    print(f"Built in {time.monotonic() - started:.0f} s.")
    return finished(index, folder / "claims", strict)


if __name__ == "__main__":
    sys.exit(build(strict="--strict" in sys.argv[1:]))
