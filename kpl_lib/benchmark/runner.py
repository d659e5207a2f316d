"""Benchmarks: a grid of runs in, a file of rows out, safe to interrupt and to run again, in one process or several."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from kpl_lib.benchmark.grid import Grid, Setting
from kpl_lib.benchmark.inputs import Inputs
from kpl_lib.benchmark.row import Runner
from kpl_lib.benchmark.rows import ResultsFile
from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.files import default_folder


@dataclass(frozen=True)
class Batch:
    """Runs that share dataset and encoder."""

    make_inputs: Callable[[], Inputs]
    settings: tuple[Setting, ...]
    out: Path
    resamples: int


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run: `failed` says why there is no row, `written` is False where it was there."""

    setting: Setting
    written: bool = False
    failed: str = ""


def outcomes(batches: Sequence[Batch], jobs: int) -> Iterator[RunOutcome]:
    """Do all runs; give each outcome when its row is on the disk.

    Raises:
        InputError: if the results cannot be written, or a worker process is killed.
    """
    if jobs == 1 or len(batches) < 2:
        for batch in batches:
            yield from run_batch(batch)
        return
    work = Parallel(min(jobs, len(batches)), return_as="generator_unordered")
    try:
        for found in work(delayed(_in_worker)(batch, os.getpid()) for batch in batches):
            yield from found
    except BrokenProcessPool:
        raise InputError("a worker process was killed; run again: whole rows are kept") from None


def run_batch(batch: Batch) -> Iterator[RunOutcome]:
    """Do the runs of a batch one after the other."""
    store, inputs = ResultsFile(batch.out), batch.make_inputs()
    runner = Runner(inputs, batch.resamples)
    for setting in batch.settings:
        there = store.rows().get(setting.key, {}).get("checksum")
        try:
            checksum = inputs.checksum(setting, batch.resamples)
            row = None if there == checksum else runner.row(setting, checksum)
        except Exception as error:  # whatever a method raises, the other runs go on
            ours = isinstance(error, InputError)
            yield RunOutcome(setting, failed=str(error) if ours else one_line(error, 300, kind=True))
            continue
        yield RunOutcome(setting, written=row is not None and store.add(row))


def _in_worker(batch: Batch, parent: int) -> list[RunOutcome]:
    """The runs of a batch in a worker process, which ends with the process that started it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return list(run_batch(batch))


@dataclass(frozen=True)
class RunReport:
    """What a benchmark did.

    Args:
        path: the results file.
        written: rows that were written now.
        kept: rows that were there, made from the same inputs.
        missing: runs without a row.
        failed: which ones, and why; a line each, or one for runs of a dataset that failed alike.
        left_out: how many of `missing` were not tried, since their set or encoder could not be had.

    Chapter: ch-benchmark
    """

    path: Path
    written: int
    kept: int
    missing: int = 0
    failed: tuple[str, ...] = ()
    left_out: int = 0

    def __str__(self) -> str:
        failed, untried = self.missing - self.left_out, "not tried, their set or encoder could not be had"
        line = f"{self.path}: {self.written} rows written, {self.kept} kept, {failed} runs failed"
        line += f", {self.left_out} {untried}" * bool(self.left_out)
        return "\n".join([line, *(f"failed: {why}" for why in self.failed)])


def run(
    grid: Grid | str | Path,
    out: str | Path,
    *,
    jobs: int = 1,
    device: str | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> RunReport:
    """Do the runs of a grid that the results file does not hold yet, and add a row for each.

    Images are encoded once for each dataset and encoder. A row carries a checksum of what it was made from (images,
    labels, encoder, texts, parameters, the code of the method and of the metrics): rows with the same checksum are
    kept, others are made again. Each row is on the disk before the next run starts, so what was cut off goes on
    where it was, and several runners may share a file.

    Args:
        grid: a grid, or its name or file.
        out: the results file, JSON lines.
        jobs: processes; each takes whole datasets.
        device: where to compute; None chooses.
        cache: folder of features; None is the one that chapters use.
        workers: processes that decode, in each of the `jobs`; None chooses.
        progress: show a bar with the time that remains.

    Returns:
        What was written, kept, and failed. A failed run leaves no row, and the others go on.

    Raises:
        InputError: for an unknown grid, and for a results file that cannot be written.

    Chapter: ch-benchmark
    """
    grid = grid if isinstance(grid, Grid) else Grid.load(grid)
    check_count(jobs, "jobs")
    if workers is not None:
        check_count(workers, "workers", 0)
    ResultsFile(out).rows()  # refused, or mended, before anything runs
    settings, cache, done = grid.settings(), str(cache or default_folder()), []
    how = {"device": device, "cache": cache, "workers": workers}
    batches = [
        Batch(partial(Inputs, dataset, encoders, **how), tuple(found), Path(out), grid.resamples)
        for (dataset, encoders), found in groupby(settings, key=lambda one: (one.dataset, one.encoders))
    ]
    with tqdm(total=len(settings), desc="benchmark", unit="run", disable=not progress) as bar:
        for outcome in outcomes(batches, jobs):
            setting = outcome.setting
            bar.set_postfix_str(f"{setting.dataset.label} {setting.classifier}", refresh=False)
            bar.update()
            done.append(outcome)
    written, failed = sum(one.written for one in done), [one for one in done if one.failed]
    kept = len(done) - written - len(failed)
    return RunReport(Path(out), written, kept, len(failed), tuple(failed_lines(failed)))


def failed_lines(failed: Sequence[RunOutcome]) -> list[str]:
    """One line for each failure; runs of a dataset that fail for the same reason share one."""
    alike: dict[tuple[str, str], list[RunOutcome]] = {}
    for outcome in failed:
        alike.setdefault((outcome.setting.dataset.label, outcome.failed), []).append(outcome)
    return [
        f"{found[0].setting}: {why}" if len(found) == 1 else f"{label}: {len(found)} runs: {why}"
        for (label, why), found in alike.items()
    ]
