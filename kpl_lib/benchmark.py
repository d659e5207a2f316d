"""Benchmarks: a grid of runs in, a file of rows out, safe to interrupt and to run again."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from kpl_lib.benchmark_grid import Grid
from kpl_lib.benchmark_inputs import Inputs
from kpl_lib.benchmark_jobs import Group, Outcome, Place, outcomes, reason
from kpl_lib.benchmark_report import Report, report
from kpl_lib.benchmark_rows import ResultsFile, read_rows
from kpl_lib.benchmark_settings import DatasetSpec, Setting
from kpl_lib.errors import InputError
from kpl_lib.feature_cache import default_folder
from kpl_lib.validation import check_count

__all__ = ["DatasetSpec", "Grid", "Report", "RunReport", "Setting", "read_rows", "report", "run"]


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
    place = Place(str(out), grid.resamples, device, str(cache or default_folder()))
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


def _plan(grid: Grid, place: Place) -> tuple[list[Group], int, list[Outcome]]:
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
                failed.append(Outcome(setting, written=False, failed=reason(error)))
                continue
            if there.get(setting.key, {}).get("checksum") == checksum:
                kept += 1
            else:
                wanted.append((setting, checksum))
        if wanted:
            groups.append(Group(dataset, encoder, *zip(*wanted, strict=True)))
    return groups, kept, failed


def _lines(failed: Sequence[Outcome]) -> list[str]:
    """One line for each failure; runs of a dataset that fail for the same reason share one."""
    alike: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in failed:
        alike.setdefault((outcome.setting.dataset.label, outcome.failed), []).append(outcome)
    return [
        f"{found[0].setting}: {why}" if len(found) == 1 else f"{label}: {len(found)} runs: {why}"
        for (label, why), found in alike.items()
    ]
