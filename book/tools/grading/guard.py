"""Runs in the kernel before a submission does: what the cells of a notebook have no business with is refused.

nbgrader has nothing of the kind. This is a guard against accidents, not a prison: run strangers' files in a container.
"""

import contextlib
import os
import sys
from pathlib import Path

MEMORY = 16 << 30  # bytes of address space
REFUSED = (
    *("os.remove", "os.rmdir", "os.rename", "os.truncate", "os.chmod", "os.link", "os.symlink", "os.mkdir"),
    *("shutil.rmtree", "shutil.move", "subprocess.Popen", "socket.connect", "os.kill", "os.killpg"),
    *("os.system", "os.exec", "os.posix_spawn", "os.fork"),
)
CELL = f"ipykernel_{os.getpid()}"  # the files that a kernel names its cells by stand in such a folder
LIBRARY = f"{os.sep}kpl_lib{os.sep}"
HIDDEN = tuple(os.environ.get("KPL_HIDDEN", "").split(os.pathsep))


def called_by_a_cell() -> bool:
    """Whether a cell of the notebook is on the stack; what an import or the book's library does is its own."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if CELL in file:
            return True
        if file.startswith("<frozen importlib") or LIBRARY in file:
            return False
        frame = frame.f_back
    return False


def guard(event: str, arguments: tuple) -> None:
    """Refuse deletions, processes, the network, writing files, and reading the grader's own."""
    if (event not in REFUSED and event != "open") or not called_by_a_cell():
        return
    if event in REFUSED:
        raise PermissionError(f"{event} is not allowed in a graded notebook")
    path, mode, flags = arguments
    if isinstance(path, int):
        return
    if set(mode or "") & set("wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
        raise PermissionError("writing a file is not allowed in a graded notebook")
    if str(Path(os.fsdecode(path)).resolve()).startswith(HIDDEN):
        raise PermissionError("reading the grader's files is not allowed")


def leave(*_: object) -> None:
    """In the place of `os._exit`, which would take the marks of the other cells with it."""
    raise PermissionError("leaving the program is not allowed in a graded notebook")


with contextlib.suppress(ImportError):
    import resource  # there is none on Windows

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
os._exit = os.abort = leave
sys.addaudithook(guard)
