"""Kernels that are forked from one process: what they share, what they do not, and that none outlives its asker."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_cache.executors.utils import single_nb_execution
from nbclient.exceptions import DeadKernelError

from book.tools.building import warm

ROOT = Path(__file__).resolve().parents[2]
ABOUT = "import os, sys, slow_to_import; print(os.getcwd(), os.environ['ASKED'], __name__, os.getppid())"
BUILD = """
import sys, time
from pathlib import Path
from book.tools.building.warm import warm_kernels
from jupyter_client.manager import start_new_kernel
if __name__ == "__main__":
    with warm_kernels([Path(sys.argv[1])]):
        _, client = start_new_kernel(kernel_name="warm")
        client.execute_interactive("import os; print(os.getpid(), os.getppid(), flush=True)")
        time.sleep(60)
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not warm.can_fork(), reason="kernels are forked on Linux without a GPU alone"),
]


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    """A notebook that imports a module, which notes that it was imported."""
    (tmp_path / "slow_to_import.py").write_text("print('imported', file=open('imports.log', 'a'))")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return write(tmp_path / "page.ipynb", ABOUT)


def write(path: Path, *sources: str) -> Path:
    """A notebook with these code cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def run(path: Path) -> list[str]:
    """What the cells print, word by word."""
    result = single_nb_execution(
        nbformat.read(path, 4), str(path.parent), 60, False, kernel_name=warm.kernel_for(path)
    )
    assert result.err is None, result.exc_string
    return "".join(out.text for cell in result.nb.cells for out in cell.outputs).split()


def gone(process: int) -> bool:
    """Whether a process ends within ten seconds."""
    for _ in range(100):
        status = Path(f"/proc/{process}/status")
        if not status.exists() or "\nState:\tZ" in status.read_text():
            return True
        time.sleep(0.1)
    return False


def test_imports_are_made_once_and_the_rest_is_that_of_who_asks(page, tmp_path, monkeypatch):
    (tmp_path / "chapters").mkdir()
    second = write(tmp_path / "chapters" / "second.ipynb", "x = 1", ABOUT)
    with warm.warm_kernels([page, second]):
        assert list(tmp_path.glob("warm-*"))
        found = []
        for notebook, asked in ((page, "one"), (second, "two")):
            monkeypatch.setenv("ASKED", asked)
            found.append(run(notebook))
    assert (tmp_path / "imports.log").read_text().split() == ["imported"]
    assert [words[:3] for words in found] == [
        [str(tmp_path), "one", "__main__"],
        [str(tmp_path / "chapters"), "two", "__main__"],
    ]
    assert found[0][3] == found[1][3] and gone(int(found[0][3]))
    assert "JUPYTER_PATH" not in os.environ and not list(tmp_path.glob("warm-*"))


def test_names_of_one_page_are_not_those_of_another(page, tmp_path):
    first = write(tmp_path / "first.ipynb", "import json; json.left = value = 1")
    second = write(
        tmp_path / "second.ipynb", "import json; print('value' in globals(), hasattr(json, 'left'))"
    )
    with warm.warm_kernels([page]):
        assert run(first) == [] and run(second) == ["False", "False"]


def test_tables_are_those_of_a_kernel_and_not_of_a_terminal(page, tmp_path):
    table = write(tmp_path / "table.ipynb", "import pandas; print(pandas.get_option('display.max_columns'))")
    with warm.warm_kernels([table]):
        assert run(table) == ["20"]


def test_a_kernel_that_dies_is_told_and_the_next_one_starts(page, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKED", "one")
    dies = write(tmp_path / "dies.ipynb", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with warm.warm_kernels([page]):
        with pytest.raises(DeadKernelError):
            run(dies)
        assert run(page)[1] == "one"


def test_a_page_that_cannot_import_says_so_itself(page, tmp_path):
    wrong = write(tmp_path / "wrong.ipynb", "import no_such_module")
    with warm.warm_kernels([page, wrong]):
        result = single_nb_execution(nbformat.read(wrong, 4), str(tmp_path), 60, False, kernel_name=warm.WARM)
    assert "No module named 'no_such_module'" in result.exc_string


def test_a_cell_that_takes_too_long_is_stopped(page, tmp_path):
    slow = write(tmp_path / "slow.ipynb", "import time; time.sleep(600)")
    with warm.warm_kernels([page]):
        result = single_nb_execution(nbformat.read(slow, 4), str(tmp_path), 2, False, kernel_name=warm.WARM)
    assert "Timeout" in type(result.err).__name__


def test_a_page_that_sets_what_its_imports_read_has_a_kernel_of_its_own(page, tmp_path):
    own = write(tmp_path / "own.ipynb", 'import os; os.environ["HF_HUB_CACHE"] = "here"')
    with warm.warm_kernels([page]):
        assert [warm.kernel_for(one) for one in (page, own)] == ["warm", "python3"]
    assert warm.kernel_for(page) == "python3"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_kernel_outlives_a_build_that_is_stopped(page, how):
    command = [sys.executable, "-c", BUILD, page]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as build:
        processes = [int(word) for word in build.stdout.readline().split()]
        build.send_signal(how)
        build.wait(30)
    assert len(processes) == 2 and all(map(gone, processes))


def test_where_a_fork_is_not_safe_kernels_are_jupyters_own(page, monkeypatch):
    monkeypatch.setattr(warm, "can_fork", lambda: False)
    with warm.warm_kernels([page]):
        assert "JUPYTER_PATH" not in os.environ
