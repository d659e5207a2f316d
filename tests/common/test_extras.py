"""A light install: the core runs without any optional package, and each one that is missed names its extra."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kpl_lib.common.extras import EXTRAS, PACKAGES

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "kpl_lib").rglob("*.py"))
METHOD = (
    "classifiers",
    "metrics",
    "solvers",
    "features",
    "prediction",
    "text_proxies",
    "transport",
    "vision_proxies",
)

#: What a user of an extra does first.
USES = {
    "transport": "kpl.create('otter').fit_predict(images, bank)",
    "benchmark": "importlib.import_module('kpl_lib.benchmark')",
    "plots": "importlib.import_module('kpl_lib.plots')",
    "report": "importlib.import_module('kpl_lib.own_images.report')",
    "dicom": "importlib.import_module('kpl_lib.datasets.dicom').read_dicom(pathlib.Path('a.dcm'), 1)",
    "hub": "importlib.import_module('kpl_lib.encoders.config').check_config('m', {'embed_dim': 1,"
    " 'vision_cfg': {}, 'text_cfg': {'hf_tokenizer_name': 'a/b'}})",
    "generate": "importlib.import_module('kpl_lib.knowledge.generate.endpoint').Endpoint('m', environment={"
    "'OPENAI_API_KEY': 'none'})",
}

#: Runs in a process of its own, where the packages of all extras cannot be imported.
SCRIPT = """
import importlib.machinery, json, pathlib, sys

class WithoutHidden(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else super().find_spec(name, path, target)

sys.meta_path[:] = [WithoutHidden if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
import torch
import kpl_lib as kpl

bank = kpl.TextBank(("cat", "dog"), [torch.eye(4)[:2], torch.eye(4)[2:]], torch.eye(4)[[0, 2]])
images = torch.nn.functional.normalize(torch.eye(4).repeat(3, 1) + 0.1, dim=1)
prediction = kpl.create("kpl-adaptive").fit_predict(images, bank)
found = kpl.evaluate(prediction, [0, 0, 1, 1] * 3)
said = {"core": str(found["accuracy"].value), "encoder": kpl.load_encoder("phantom").name}
for extra, use in USES.items():
    try:
        eval(use)
        said[extra] = "nothing"
    except kpl.InputError as error:
        said[extra] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What the core gives without optional packages, and what each extra's use says."""
    head = f"HIDDEN, USES = {sorted(EXTRAS)!r}, {USES!r}\n"
    done = subprocess.run([sys.executable, "-c", head + SCRIPT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_core_runs_without_any_of_them(said):
    assert said["core"] == "1.0" and said["encoder"] == "phantom"


@pytest.mark.parametrize("extra", sorted(set(EXTRAS.values())))
def test_a_missing_package_is_one_line_that_names_its_extra(said, extra):
    assert said[extra].endswith(f'pip install "kpl-lib[{extra}]"') and "\n" not in said[extra]


def test_every_extra_is_one_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras) == {*EXTRAS.values(), "all", "book", "dev"} and set(USES) == set(EXTRAS.values())
    for name, extra in EXTRAS.items():
        assert PACKAGES.get(name, name) in {re.match(r"[\w-]+", line)[0] for line in extras[extra]}


def optional_imports(source: str) -> tuple[set[str], set[str]]:
    """Optional packages that a module imports by itself when it runs, and those that it asks `extras` for."""
    tree, own, asked = ast.parse(source), set(), set()
    nodes = list(ast.walk(tree))
    checks = [
        node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    idle = {id(inner) for node in checks for inner in ast.walk(node)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "kpl_lib.common.extras":
            asked |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom | ast.Import) and id(node) not in idle:
            own |= {(getattr(node, "module", None) or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "need":
            asked.add(getattr(node.args[0], "value", None))
    return own & EXTRAS.keys(), asked & EXTRAS.keys()


def test_an_import_past_the_helper_is_noticed():
    plain = "def f():\n    import pandas.api\n    from umap import UMAP"
    assert optional_imports(plain) == ({"pandas", "umap"}, set())
    helped = (
        "from kpl_lib.common.extras import pandas as pd\nneed('openai').x\nif TYPE_CHECKING:\n    import umap"
    )
    assert optional_imports(helped) == (set(), {"pandas", "openai"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_optional_packages_come_through_the_one_helper(file):
    own, asked = optional_imports(file.read_text(encoding="utf-8"))
    assert own <= asked, "ask kpl_lib.common.extras for it: a missing package is then one line"
    part = file.relative_to(ROOT / "kpl_lib").with_suffix("").parts[0]
    assert part not in METHOD or asked <= {"ot"}, "the method knows no tables and no figures"
    assert not asked & {"matplotlib", "pyplot"} or part in ("plots", "notebook")
