"""The runs of a benchmark, in this process or in several."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty

import torch

from kpl_lib.benchmark_inputs import Inputs
from kpl_lib.benchmark_rows import ResultsFile
from kpl_lib.benchmark_run import Runner
from kpl_lib.benchmark_settings import DatasetSpec, Setting
from kpl_lib.errors import InputError

PATIENCE = 2.0  # seconds to wait for a worker before a look at it


@dataclass(frozen=True)
class Group:
    """Runs that share dataset and encoder, with the checksum of each."""

    dataset: DatasetSpec
    encoder: str
    settings: tuple[Setting, ...]
    checksums: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where the runs compute and write."""

    out: str
    resamples: int
    device: str | None
    cache: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of a run: `failed` says why there is no row, `written` is False where another runner had it."""

    setting: Setting
    written: bool
    failed: str = ""


def outcomes(groups: Sequence[Group], place: Place, jobs: int) -> Iterator[Outcome]:
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


def run_group(group: Group, place: Place, store: ResultsFile) -> Iterator[Outcome]:
    """Do the runs of a group one after the other."""
    runner = Runner(Inputs(group.dataset, group.encoder, place.device, place.cache), place.resamples)
    for setting, checksum in zip(group.settings, group.checksums, strict=True):
        if store.rows().get(setting.key, {}).get("checksum") == checksum:
            yield Outcome(setting, written=False)
            continue
        try:
            row = runner.row(setting, checksum)
        except Exception as error:  # whatever a method raises, the other runs go on
            yield Outcome(setting, written=False, failed=reason(error))
            continue
        yield Outcome(setting, written=store.add(row))


def reason(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _in_processes(groups: Sequence[Group], place: Place, jobs: int) -> Iterator[Outcome]:
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


def _next(answers, workers) -> Outcome | str:
    while True:
        dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
        try:
            return answers.get(timeout=PATIENCE)
        except Empty:
            if dead:
                return f"a worker process ended with code {dead[0].exitcode}; run again: whole rows are kept"


def _work(tasks, answers, place: Place, threads: int) -> None:
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
