"""Kernels that start at once: forked from one process that has imported already what the pages import.

A kernel of its own spends eight seconds of a core on imports, and each page needs one. Within `warm_kernels` Jupyter
starts a small process instead. It asks for a fork, hands over its folder, environment and outputs, and lives as long as
the fork. This is done only where a fork is safe, on Linux without a GPU; elsewhere kernels are Jupyter's own.
"""

import ast
import builtins
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

GPUS = ("nvidia0", "nvidiactl", "dxg", "kfd")  # no fork can use a driver that was called before
BACKEND = "module://matplotlib_inline.backend_inline"  # what a kernel sets for itself, read when matplotlib is imported


def can_fork() -> bool:
    """Whether a fork of a process that has imported torch can do all that a new process could."""
    return sys.platform == "linux" and not any(Path("/dev", name).exists() for name in GPUS)


@contextmanager
def warm_kernels(pages: Collection[Path]) -> Iterator[None]:
    """Kernels that are started within are forks of one process with the imports of these notebooks."""
    if not pages or not can_fork():
        yield
        return
    from jupyter_client.kernelspec import KernelSpecManager  # here, because `ask` has to start at once

    with tempfile.TemporaryDirectory(prefix="warm-") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/door")
        door.listen(64)
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        asker = [sys.executable, "-I", "-S", __file__, "ask", f"{folder}/door", "-f", "{connection_file}"]
        known = KernelSpecManager().get_kernel_spec("python3").to_dict()
        spec.write_text(json.dumps(known | {"argv": asker}), encoding="utf-8")
        command = [sys.executable, "-P", __file__, "serve", str(door.fileno()), *map(str, pages)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [door.fileno()]}
        before = os.environ.get("JUPYTER_PATH")
        with subprocess.Popen(command, start_new_session=True, **pipes) as server:
            try:
                if server.stdout.read(1):  # it has imported; else kernels are Jupyter's own
                    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before]))
                yield
            finally:
                os.environ.pop("JUPYTER_PATH", None)
                if before is not None:
                    os.environ["JUPYTER_PATH"] = before
                server.kill()  # its kernels end with it


def ask(door: str, *arguments: str) -> None:
    """Ask for a kernel, and end when it ends; it ends when this process, or the one that started it, does."""
    parent = os.getppid()
    asked = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(door)
        signal.signal(signal.SIGINT, lambda *_: line.send(b"i"))
        socket.send_fds(line, [len(asked).to_bytes(8, "big")], [0, 1, 2])
        line.sendall(asked)
        while os.getppid() == parent and not select.select([line], [], [], 1)[0]:
            pass


def imports(page: Path) -> Iterator[str]:
    """The statements of a notebook that import something."""
    for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        with suppress(SyntaxError):  # a line for IPython
            steps = ast.parse("".join(cell["source"])).body if cell["cell_type"] == "code" else []
            yield from (ast.unparse(step) for step in steps if isinstance(step, ast.Import | ast.ImportFrom))


def serve(door: socket.socket, pages: list[str]) -> None:
    """Import, then fork a kernel for each who asks, until standard input is closed; returns in the kernels too."""
    os.environ |= {
        "JPY_PARENT_PID": str(os.getpid()),
        "MPLBACKEND": BACKEND,
    }  # a kernel ends with this process
    import ipykernel.kernelapp

    builtins.get_ipython = lambda: SimpleNamespace(kernel=None)  # by this pandas knows that it is in a kernel
    for statement in dict.fromkeys(line for page in pages for line in imports(Path(page))):
        with suppress(ImportError):  # the page will say so
            exec(statement, {})
    del builtins.get_ipython
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b".")
    while sys.stdin not in (ready := select.select([door, sys.stdin], [], [])[0]):
        line = door.accept()[0] if ready else None
        if os.fork() == 0:
            door.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return kernel(line, ipykernel.kernelapp.IPKernelApp)
        line.close()


def kernel(line: socket.socket, app: type) -> None:
    """Be the kernel of who asked."""
    os.setsid()
    size, outputs, *_ = socket.recv_fds(line, 8, 3)
    with line.makefile("rb") as rest:
        sys.argv[1:], folder, environment = json.loads(rest.read(int.from_bytes(size, "big")))
    for number, output in enumerate(outputs):
        os.dup2(output, number)
        os.close(output)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=end_with, args=[line], daemon=True).start()
    app.launch_instance()


def end_with(line: socket.socket) -> None:
    """Interrupt this process when a line says so, and end it when the line is closed, with those that it started."""
    while line.recv(1):
        os.killpg(0, signal.SIGINT)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(socket.socket(fileno=int(sys.argv[2])), sys.argv[3:])
    else:
        ask(*sys.argv[2:])
