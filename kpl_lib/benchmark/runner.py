"""Benchmarks: a grid of runs in, a file of rows out, safe to interrupt and to run again, in one process or several."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from queue import Empty

import torch
from tqdm import tqdm

from kpl_lib.benchmark.grid import DatasetSpec, Grid, Setting
from kpl_lib.benchmark.inputs import Inputs
from kpl_lib.benchmark.row import Runner
from kpl_lib.benchmark.rows import ResultsFile
from kpl_lib.common.checks import check_count
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import default_folder

PATIENCE = 2.0  # seconds to wait for a worker before a look at it


@dataclass(frozen=True)
class Batch:
    """Runs that share dataset and encoder, with the checksum of each."""

    dataset: DatasetSpec
    encoder: str
    settings: tuple[Setting, ...]
    checksums: tuple[str, ...]


@dataclass(frozen=True)
class Where:
    """Where the runs compute and write."""

    out: str
    resamples: int
    device: str | None
    cache: str | None


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run: `failed` says why there is no row, `written` is False where another runner had it."""

    setting: Setting
    written: bool
    failed: str = ""


def outcomes(groups: Sequence[Batch], place: Where, jobs: int) -> Iterator[RunOutcome]:
    """Do all runs; give each outcome when its row is on the disk.

    Raises:
        InputError: if the results cannot be written, or a worker process is killed.
    """
    if jobs == 1 or len(groups) < 2:
        store = ResultsFile(place.out)
        for group in groups:
            yield from run_group(group, place, store)
    else:
        yield from _in_processes(groups, place, min(jobs, len(groups)))


def run_group(group: Batch, place: Where, store: ResultsFile) -> Iterator[RunOutcome]:
    """Do the runs of a group one after the other."""
    runner = Runner(Inputs(group.dataset, group.encoder, place.device, place.cache), place.resamples)
    for setting, checksum in zip(group.settings, group.checksums, strict=True):
        if store.rows().get(setting.key, {}).get("checksum") == checksum:
            yield RunOutcome(setting, written=False)
            continue
        try:
            row = runner.row(setting, checksum)
        except Exception as error:  # whatever a method raises, the other runs go on
            yield RunOutcome(setting, written=False, failed=reason(error))
            continue
        yield RunOutcome(setting, written=store.add(row))


def reason(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _in_processes(groups: Sequence[Batch], place: Where, jobs: int) -> Iterator[RunOutcome]:
    context = multiprocessing.get_context("spawn")
    tasks, answers = context.Queue(), context.Queue()
    for item in (*groups, *[None] * jobs):
        tasks.put(item)
    threads = max(1, torch.get_num_threads() // jobs)
    workers = [
        context.Process(target=_work, args=(tasks, answers, place, threads), daemon=True) for _ in range(jobs)
    ]
    for worker in workers:
        worker.start()
    try:
        left = sum(len(group.settings) for group in groups)
        while left:
            answer = _next(answers, workers)
            if isinstance(answer, str):
                raise InputError(answer)
            left -= 1
            yield answer
        for worker in workers:
            worker.join(PATIENCE)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _next(answers, workers) -> RunOutcome | str:
    while True:
        dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
        try:
            return answers.get(timeout=PATIENCE)
        except Empty:
            if dead:
                return f"a worker process ended with code {dead[0].exitcode}; run again: whole rows are kept"


def _work(tasks, answers, place: Where, threads: int) -> None:
    """A worker process: groups until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        try:
            store = ResultsFile(place.out)
            for group in iter(tasks.get, None):
                for outcome in run_group(group, place, store):
                    answers.put(outcome)
        except (InputError, OSError) as error:
            answers.put(f"{place.out}: {reason(error)}" if isinstance(error, OSError) else str(error))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


@dataclass(frozen=True)
class RunReport:
    """What a benchmark did.

    Args:
        path: the results file.
        written: rows that were written now.
        kept: rows that were there, made from the same inputs.
        missing: runs without a row.
        failed: which ones, and why; a line each, or one for runs of a dataset that failed alike.

    Chapter: ch-benchmark
    """

    path: Path
    written: int
    kept: int
    missing: int = 0
    failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.written} rows written, {self.kept} kept, {self.missing} runs failed"]
        return "\n".join([*lines, *(f"failed: {line}" for line in self.failed)])


def run(
    grid: Grid | str | Path,
    out: str | Path,
    *,
    jobs: int = 1,
    device: str | None = None,
    cache: str | Path | None = None,
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
        jobs: processes; each takes whole datasets. More than one needs a script guarded by `__main__`.
        device: where to compute; None chooses.
        cache: folder of features; None is the one that chapters use.
        progress: show a bar with the time that remains.

    Returns:
        What was written, kept, and failed. A failed run leaves no row, and the others go on.

    Raises:
        InputError: for an unknown grid, and for a results file that cannot be written.

    Chapter: ch-benchmark
    """
    grid = grid if isinstance(grid, Grid) else Grid.load(grid)
    check_count(jobs, "jobs")
    place = Where(str(out), grid.resamples, device, str(cache or default_folder()))
    groups, kept, failed = _plan(grid, place)
    total, written = sum(len(group.settings) for group in groups), 0
    with tqdm(total=total, desc="benchmark", unit="run", disable=not progress or not total) as bar:
        for outcome in outcomes(groups, place, jobs):
            bar.set_postfix_str(
                f"{outcome.setting.dataset.label} {outcome.setting.classifier}", refresh=False
            )
            bar.update()
            written += outcome.written
            kept += not outcome.written and not outcome.failed
            failed += [outcome] if outcome.failed else []
    return RunReport(Path(out), written, kept, len(failed), tuple(_lines(failed)))


def _plan(grid: Grid, place: Where) -> tuple[list[Batch], int, list[RunOutcome]]:
    """The runs to do, by dataset and encoder; how many rows are there already; runs whose inputs are missing."""
    there = ResultsFile(place.out).rows()
    groups, kept, failed = [], 0, []
    for (dataset, encoder), found in groupby(grid.settings(), key=lambda s: (s.dataset, s.encoder)):
        inputs = Inputs(dataset, encoder, place.device, place.cache)
        wanted = []
        for setting in found:
            try:
                checksum = inputs.checksum(setting, grid.resamples)
            except (InputError, OSError) as error:
                failed.append(RunOutcome(setting, written=False, failed=reason(error)))
                continue
            if there.get(setting.key, {}).get("checksum") == checksum:
                kept += 1
            else:
                wanted.append((setting, checksum))
        if wanted:
            groups.append(Batch(dataset, encoder, *zip(*wanted, strict=True)))
    return groups, kept, failed


def _lines(failed: Sequence[RunOutcome]) -> list[str]:
    """One line for each failure; runs of a dataset that fail for the same reason share one."""
    alike: dict[tuple[str, str], list[RunOutcome]] = {}
    for outcome in failed:
        alike.setdefault((outcome.setting.dataset.label, outcome.failed), []).append(outcome)
    return [
        f"{found[0].setting}: {why}" if len(found) == 1 else f"{label}: {len(found)} runs: {why}"
        for (label, why), found in alike.items()
    ]
