"""`kpl reproduce`: sets fetched, encoded once each, run, and set beside the authors' log; resumable at every point."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from tqdm import tqdm

from kpl_lib.benchmark.grid import DatasetSpec, Setting
from kpl_lib.benchmark.inputs import Inputs
from kpl_lib.benchmark.plan import Plan, SetPlan
from kpl_lib.benchmark.released_log import beside_log, log_page
from kpl_lib.benchmark.run_folder import RunFolder, digest, run_name
from kpl_lib.benchmark.runner import Batch, RunReport, failed_lines, run_batch
from kpl_lib.common.errors import InputError, one_line
from kpl_lib.common.files import atomic_path, make_folder
from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.get import get
from kpl_lib.datasets.load import default_root, load_dataset
from kpl_lib.encoders.encoder import Encoder, load_encoder

T = TypeVar("T")


def reproduce(what: Plan, progress: bool = True) -> RunReport:
    """Fetch the sets of a plan, encode each with each encoder, and add the rows that are missing.

    Each finished file, shard of features and row stays, so a run that was stopped goes on where it was, and two runs
    may share a folder. Rows are kept while images, weights, texts and code are the same, and made again when not.
    What cannot be had or fails is told at the end; the rest is done.

    Args:
        what: as `plan` gives it.
        progress: show bars.

    Returns:
        What was written, kept, failed, and left out since a set or an encoder could not be had.

    Raises:
        InputError: if the folder of rows cannot be written.

    Chapter: ch-benchmark
    """
    work = _Work(what, RunFolder(what.out), progress)
    sets = [(one.spec, work.tried(one.spec.name, work.fetch, one)) for one in what.sets]
    sets, untried = [(spec, dataset) for spec, dataset in sets if dataset is not None], dict(work.runs)
    for one in what.encoders if sets else ():
        encoder = work.tried(one.name, work.load, one.name)
        for spec, dataset in sets if encoder is not None else ():
            name = run_name(spec.name, one.name)
            untried.pop(name)
            work.tried(name, work.run, spec, dataset, encoder)
    work.compare()
    runs, left_out = (sum(map(len, these.values())) for these in (work.runs, untried))
    missing = runs - work.written - work.kept
    return RunReport(work.folder.rows.path, work.written, work.kept, missing, tuple(work.failed), left_out)


class _Work:
    """What was done so far."""

    def __init__(self, what: Plan, folder: RunFolder, progress: bool) -> None:
        self.what, self.folder, self.progress = what, folder, progress
        self.written, self.kept, self.failed = 0, 0, []
        self.runs: dict[str, list[Setting]] = {}
        for one in what.grid.settings():
            self.runs.setdefault(run_name(one.dataset.name, one.encoder), []).append(one)

    def tried(self, name: str, do: Callable[..., T], *arguments: object) -> T | None:
        """What `do` gives; what it raises is a line at the end, and what rests on it is left out."""
        try:
            return do(*arguments)
        except Exception as error:  # whatever a set or an encoder raises, the others go on
            why = str(error) if isinstance(error, InputError) else one_line(error, 300, kind=True)
            self.failed.append(f"{name}: {why}".replace(f"{name}: {name}: ", f"{name}: "))
            return None

    def fetch(self, one: SetPlan) -> ImageDataset:
        """The images of a set, fetched if need be; one process fetches, others wait."""
        if one.missing:
            raise InputError(one.missing)
        root, name = default_root(one.spec.name), one.spec.name
        make_folder(root.parent)
        with FileLock(root.parent / f".{root.name}.lock"):
            dataset, files, source = None, {}, "there"
            with suppress(InputError):
                dataset = load_dataset(name)
            if dataset is None:
                given = []
                if one.source == "archives":
                    given = [self.what.archives / archive.file for archive in one.facts.archives]
                source = "archives" if given else "download"
                dataset = get(name, None, given, self.progress).dataset
                files = {archive.file: archive.checksum for archive in one.facts.archives}
                files |= {file.name: _sha256(file) for file in given if files[file.name] is None}
        before = self.folder.facts()["sets"].get(name, {})
        if source != "there" or before.get("fingerprint") != dataset.fingerprint:
            facts = {"fingerprint": dataset.fingerprint, "images": len(dataset)}
            facts |= {"classes": list(dataset.class_names), "source": source, "files": files}
            self.folder.note("sets", name, facts)
        return dataset

    def load(self, name: str) -> Encoder:
        """An encoder; its weights stand in `run.json`."""
        encoder = load_encoder(name, self.what.device)
        facts = {"fingerprint": encoder.fingerprint, "temperature": encoder.temperature}
        self.folder.note("encoders", name, facts)
        return encoder

    def run(self, spec: DatasetSpec, dataset: ImageDataset, encoder: Encoder) -> None:
        """The rows of a set and an encoder; the images are encoded if one of them is missing or of other inputs."""
        name, store, cache = run_name(spec.name, encoder.name), self.folder.rows, self.what.out / "features"
        inputs = Inputs(spec, (encoder.name,), str(self.what.device), cache)
        inputs.dataset, inputs.encoder = dataset, encoder
        there, resamples = store.rows(), self.what.grid.resamples
        made = {one.key: inputs.checksum(one, resamples) for one in self.runs[name]}
        left = [one for one in self.runs[name] if there.get(one.key, {}).get("checksum") != made[one.key]]
        if left:
            how = {"workers": self.what.workers, "progress": self.progress, "cache": cache}
            inputs.features = encoder.encode_images(dataset, **how).to(encoder.device)
        batch = Batch(lambda: inputs, tuple(left), store.path, resamples)
        shown = {"total": len(left), "unit": "run", "disable": not self.progress or not left}
        done = list(tqdm(run_batch(batch), desc=name, **shown))
        self.failed += [
            f"{encoder.name}: {line}" for line in failed_lines([one for one in done if one.failed])
        ]
        written = sum(one.written for one in done)
        self.written, self.kept = self.written + written, self.kept + len(self.runs[name])
        self.kept -= written + sum(bool(one.failed) for one in done)
        there = store.rows()
        rows = {key: digest(there[key]) for key in made if there.get(key, {}).get("checksum") == made[key]}
        facts = {"set": dataset.fingerprint, "encoder": encoder.fingerprint, "rows": rows}
        self.folder.note("runs", name, facts, inputs.device)

    def compare(self) -> None:
        """Write all rows beside the log."""
        pairs = beside_log(self.folder.rows.rows().values())
        for end, text in (("csv", pairs.to_csv(index=False, lineterminator="\n")), ("md", log_page(pairs))):
            with atomic_path(self.what.out / f"comparison.{end}") as temporary:
                temporary.write_text(text, "utf-8", newline="")


def _sha256(file: Path) -> str:
    """The checksum of a file that its source gives none for."""
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
