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
START = "import sys; sys.path.insert(0, sys.argv[1]); import warm; del sys.path[0]; warm.{}(*sys.argv[2:])"
WARM = "warm"  # name of the kernels
OWN = 'environ[\\"HF_'  # what a page sets that is read when the hub's packages are imported
BACKEND = "module://matplotlib_inline.backend_inline"  # what a kernel sets for itself, read when matplotlib is imported


def can_fork() -> bool:
    """Whether a fork of a process that has imported torch can be asked for, and do all that a new process could."""
    short = len(tempfile.gettempdir()) < 80  # the address of a socket may have 107 characters
    return sys.platform == "linux" and short and not any(Path("/dev", name).exists() for name in GPUS)


@contextmanager
def warm_kernels(pages: Collection[Path]) -> Iterator[None]:
    """Within, kernels of the name `warm` are forks of one process with the imports of these notebooks."""
    if not pages or not can_fork():
        yield
        return
    from jupyter_client.kernelspec import KernelSpecManager  # here, because `ask` has to start at once

    with tempfile.TemporaryDirectory(prefix="warm-") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/door")
        door.listen(64)
        spec = Path(folder, "kernels", WARM, "kernel.json")
        spec.parent.mkdir(parents=True)
        here = str(Path(__file__).parent)
        asker = [sys.executable, "-I", "-S", "-c", START.format("ask"), here, f"{folder}/door"]
        known = KernelSpecManager().get_kernel_spec("python3").to_dict()
        spec.write_text(json.dumps(known | {"argv": [*asker, "-f", "{connection_file}"]}), encoding="utf-8")
        command = [sys.executable, "-P", "-c", START.format("serve"), here, str(door.fileno())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [door.fileno()]}
        before = os.environ.get("JUPYTER_PATH")
        with subprocess.Popen([*command, *map(str, pages)], start_new_session=True, **pipes) as server:
            try:
                if server.stdout.read(1):  # it has imported; else kernels are Jupyter's own
                    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, before]))
                yield
            finally:
                os.environ.pop("JUPYTER_PATH", None)
                if before is not None:
                    os.environ["JUPYTER_PATH"] = before
                server.kill()  # its kernels end with it


def has_own_kernel(page: Path) -> bool:
    """Whether a page has to set what its imports read."""
    return OWN in page.read_text(encoding="utf-8")


def kernel_for(page: Path) -> str:
    """`warm` within `warm_kernels`, but for pages with a kernel of their own; else Jupyter's own."""
    folders = os.environ.get("JUPYTER_PATH", "").split(os.pathsep)
    there = any(Path(folder, "kernels", WARM).is_dir() for folder in folders if folder)
    return WARM if there and not has_own_kernel(page) else "python3"


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


def serve(number: str, *pages: str) -> None:
    """Import, then fork a kernel for each who asks at a door; until standard input is closed, and in each kernel."""
    os.environ["MPLBACKEND"], os.environ["JPY_PARENT_PID"] = (
        BACKEND,
        str(os.getpid()),
    )  # with which kernels end
    door = socket.socket(fileno=int(number))
    import ipykernel.kernelapp
    import ipykernel_launcher

    builtins.get_ipython = lambda: SimpleNamespace(kernel=None)  # by this pandas knows that it is in a kernel
    for statement in dict.fromkeys(line for page in pages for line in imports(Path(page))):
        with suppress(Exception):  # the page will say so
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
            sys.argv[:] = [ipykernel_launcher.__file__]
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
