"""Checksums of code follow what is used, and forget where it stands."""

import shutil
from pathlib import Path

import pytest

from kpl_lib.classifiers import Classifier, create
from kpl_lib.common.code import bare, code_checksum, code_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    """A copy of the library; its folder, and a function that replaces a piece of a file in it."""
    folder = tmp_path / "kpl_lib"
    shutil.copytree(ROOT / "kpl_lib", folder, ignore=shutil.ignore_patterns("__pycache__"))

    def change(file, old, new):
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")

    return folder, change


FITTED = "kpl_lib.vision_proxies.fit_proxies"
BEFORE = code_checksum(FITTED)


def test_comments_docstrings_and_imports_do_not_count():
    text = '"""Says."""\nimport os\nx = 1  # why\n\n# more\ndef f():\n    """Doc."""\n    return x\n'
    assert bare(text) == "x = 1  # why\ndef f():\n    return x"


def test_what_is_used_counts_and_what_is_not_does_not(copy):
    folder, change = copy
    assert code_checksum(FITTED, folder=folder) == BEFORE
    other, _ = folder.parent / "other", shutil.copytree(folder, folder.parent / "other" / "kpl_lib")
    change("solvers/gradient.py", "CHECK_EVERY = 10", "CHECK_EVERY = 11")
    file = other / "kpl_lib" / "solvers" / "ridge.py"
    file.write_text(file.read_text().replace("MOST_MASS, LEAST_LENGTH, MOST_LEVERAGE = 0.2", "A, B, C = 0.3"))
    assert code_checksum(FITTED, folder=other / "kpl_lib") == BEFORE
    (folder.parent / "again").mkdir()
    shutil.move(folder, folder.parent / "again" / "kpl_lib")
    assert code_checksum(FITTED, folder=folder.parent / "again" / "kpl_lib") != BEFORE


def test_a_move_alone_changes_nothing(copy):
    folder, change = copy
    text = (folder / "solvers" / "gradient.py").read_text()
    start, end = text.index("def harden("), text.index("def descend(")
    change("solvers/gradient.py", text[start:end], "")
    (folder / "attic.py").write_text("from torch import Tensor\n\n\n" + text[start:end].rstrip() + "\n")
    (folder / "solvers" / "gradient.py").rename(folder / "solvers" / "slope.py")
    change(
        "vision_proxies.py",
        "from kpl_lib.solvers.gradient import Descent, descend, descend_in_order, harden\n",
        "from kpl_lib.attic import harden\nfrom kpl_lib.solvers.slope import Descent, descend, descend_in_order\n",
    )
    assert code_checksum(FITTED, folder=folder) == BEFORE


def test_names_that_a_face_gives_are_followed_and_strangers_are_refused():
    assert code_checksum("kpl_lib.classifiers.create") == code_checksum("kpl_lib.classifiers.base.create")
    with pytest.raises(ValueError, match=r"no such definition: kpl_lib\.transport\.sinkhron"):
        code_checksum("kpl_lib.transport.sinkhron")


def test_a_class_of_a_notebook_has_a_checksum_of_its_own():
    class Mine(Classifier):
        def _fit(self, images, bank, prior):
            return None

    assert len({code_of(Mine), code_of(type(create("clip"))), code_of(type(create("kpl")))}) == 3
