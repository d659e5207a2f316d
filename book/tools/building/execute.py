"""Execute the notebooks of the table of contents, as many at once as there are cores, into the cache of the build."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from sphinx_external_toc.parsing import parse_toc_yaml

from book.tools.building.setup_cell import config
from book.tools.building.stopped import where_it_stopped
from book.tools.building.warm import has_own_kernel, kernel_for, warm_kernels
from book.tools.claims.statements import claims_name, judged
from kpl_lib.claim_files import claims_file, read_claims

LONG = ("01_zero_shot", "04_modality_gap", "10_failures", "02_kpl_in_one_sitting", "03_knowledge_base")
LONG += (
    "16_limits_and_care",
    "06_transport",
    "12_own_images",
    "11_real_data",
    "13_scaling",
    "07_vision_proxies",
)


def notebooks(book: Path) -> list[Path]:
    """The notebooks of book/_toc.yml, in its order."""
    toc = parse_toc_yaml(book / "_toc.yml")
    files = {
        path.relative_to(book).with_suffix("").as_posix(): path for path in sorted(book.rglob("*.ipynb"))
    }
    wanted = [
        name for document in toc.values() for name in (*document.child_files(), *document.child_globs())
    ]
    found = [path for pattern in wanted for name, path in files.items() if fnmatch(name, pattern)]
    return [path for path in dict.fromkeys(found) if ".ipynb_checkpoints" not in path.parts]


def known(cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode, measured: Path) -> bool:
    """Whether the cache has the outputs of this code, and the table of claims that they end with is today's."""
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    if not claims_file(measured.stem).is_file():
        return True
    record = json.loads(measured.read_text(encoding="utf-8")) if measured.is_file() else {}
    if record.get("digest") != read_claims(measured.stem).digest:
        return False
    return [row["status"] for row in record["claims"]] == [row.status for row in judged(record)]


def run(path: Path, notebook: nbformat.NotebookNode, timeout: int) -> ExecutionResult:
    """Execute one notebook in its folder."""
    place = {"cwd": str(path.parent), "kernel_name": kernel_for(path)}
    return single_nb_execution(notebook, timeout=timeout, allow_errors=False, **place)


def longest_first(pages: Iterable[Path]) -> list[Path]:
    """Pages in the order in which they are run: a long one that begins last would keep one core busy alone."""
    return sorted(pages, key=lambda path: LONG.index(path.stem) if path.stem in LONG else len(LONG))


@contextmanager
def dropped_with(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Whatever ends the work, as Ctrl-C does, drops what has not begun."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def execute(root: Path) -> list[Path]:
    """Execute what the cache does not have, say how long each took, and give the notebooks that failed."""
    cache = get_cache(str(root / "_build" / ".jupyter_cache"))
    read = {path: nbformat.read(path, as_version=4) for path in notebooks(root / "book")}
    claims = root / "_build" / "claims"
    left = {
        path: notebook
        for path, notebook in read.items()
        if not known(cache, notebook, claims / f"{claims_name(path)}.json")
    }
    os.environ["KPL_CLAIMS"] = str(claims)
    cores, failed = os.cpu_count() or 1, []
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small steps gain nothing from a second thread
    timeout = config()["execute"]["timeout"]
    with ThreadPoolExecutor(cores) as pool, ExitStack() as kernels, dropped_with(pool):
        runs = {pool.submit(run, path, left[path], timeout): path for path in left if has_own_kernel(path)}
        kernels.enter_context(warm_kernels(left))  # it takes as long as such a page
        others = longest_first(path for path in left if not has_own_kernel(path))
        runs |= {pool.submit(run, path, left[path], timeout): path for path in others}
        for done in as_completed(runs):
            path, result = runs[done], done.result()
            if result.err is not None:
                failed.append(path)
                print(result.exc_string, where_it_stopped(path, result.nb.cells), sep="\n", file=sys.stderr)
                continue
            print(f"{path.relative_to(root)}: {result.time:.0f} s", flush=True)
            bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return failed
