"""The process in which one submission meets the hidden tests: `python child.py job.json`.

It runs pytest, and writes one line of JSON as each item begins and ends, so that the parent knows where a
submission hung or ended the program. An audit hook refuses what a graded function has no business with. It
is a guard against accidents, not a prison: run submissions of strangers in a container.
"""

import contextlib
import json
import os
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from checks import Student, line

from book.tools.grading.submission import MARK, load

JOB = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
GRADING = Path(JOB["hidden"]).parents[1]
MEMORY = 16 << 30  # bytes of address space
REFUSED = (
    *("os.remove", "os.rmdir", "os.rename", "os.truncate", "os.chmod", "os.link", "os.symlink"),
    *("shutil.rmtree", "shutil.move", "subprocess.Popen", "socket.connect", "os.kill", "os.killpg"),
    *("os.system", "os.exec", "os.posix_spawn", "os.fork"),
)


def tell(**event: object) -> None:
    """Append one event, at once."""
    with open(JOB["events"], "a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


def called_by_submission() -> bool:
    """Whether code of the submission is on the stack; what a package does while it is imported is its own."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(MARK):
            return True
        if file.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return False


def guard(event: str, arguments: tuple) -> None:
    """Refuse deletions, processes, the network, writing files, and reading the grader's own."""
    if event not in REFUSED and event != "open":
        return
    if not called_by_submission():
        return
    if event in REFUSED:
        raise PermissionError(f"{event} is not allowed in a graded function")
    path, mode, flags = arguments
    if isinstance(path, int):
        return
    writes = set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
    if writes:
        raise PermissionError("writing a file is not allowed in a graded function")
    if Path(os.fsdecode(path)).resolve().is_relative_to(GRADING):
        raise PermissionError("reading the grader's files is not allowed")


class Reporter:
    """Tells of each item, leaves out the finished ones, and gives the tests what they ask for."""

    def __init__(self, student: Student) -> None:
        self.subject = student

    @pytest.fixture
    def student(self) -> Student:
        return self.subject

    @pytest.fixture
    def draw(self, request: pytest.FixtureRequest) -> torch.Generator:
        """Random numbers of this run and of this item."""
        return torch.Generator().manual_seed(JOB["seed"] + zlib.crc32(request.node.name.encode()))

    @pytest.fixture
    def phantoms(self) -> dict:
        return torch.load(JOB["phantoms"], weights_only=True)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.name.removeprefix("test_") not in JOB["finished"]]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item):
        name = item.name.removeprefix("test_")
        tell(item=name, state="begun")
        outcome = yield
        tell(item=name, state="done", message=line(outcome.excinfo[1]) if outcome.excinfo else "")


def main() -> int:
    """Load the submission, then run the hidden tests on it."""
    with contextlib.suppress(ImportError):
        import resource  # there is none on Windows

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    torch.ones(2, 2, dtype=torch.float64).softmax(dim=1).logsumexp(
        dim=0
    )  # whatever is loaded late is loaded now
    tell(item="load", state="begun")
    sys.addaudithook(guard)
    try:
        module, trouble = load(Path(JOB["submission"]))
    except ValueError as error:  # not even text: the hidden tests say so, item by item
        module, trouble = ModuleType("submission"), [f"the file {error}"]
    tell(item="load", state="done", message="")
    options = ["-q", "-s", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "-c", JOB["settings"]]
    code = pytest.main([*options, JOB["hidden"]], plugins=[Reporter(Student(module, trouble))])
    tell(item="end", state="done", message="")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
