"""The house: no two public names that differ by their place only."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "kpl_lib"
# A room says what is available in it; a set is loaded by `load`; the rest are one function for one process and many.
SHARED = {"available", "load", "fit_proxies", "mean_image", "ridge_proxies", "sinkhorn", "text_proxies"}


def test_a_public_name_stands_for_one_thing():
    homes = defaultdict(list)
    files = [file for file in sorted(ROOT.rglob("*.py")) if "phantoms" not in file.parts]  # its own world
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(file.relative_to(ROOT)))
    assert {name: found for name, found in homes.items() if len(found) > 1 and name not in SHARED} == {}
