"""`kpl classify`, `kpl fit`, `kpl predict`: your own images. Heavy imports wait until a command needs them."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from kpl_lib import RECOMMENDED
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import atomic_path, check_writable

NOTE = "research and teaching only, not for clinical use"


def option(text: str, kind: object = str | None, *names: str, **how: object) -> object:
    """The type of an option of a command, with what `--help` says of it."""
    return Annotated[kind, typer.Option(*names, help=text, **how)]


def flag(name: str, text: str) -> object:
    """The type of an option that is given or not."""
    return option(text, bool, name)


def argument(text: str, kind: object = str) -> object:
    """The type of an argument of a command."""
    return Annotated[kind, typer.Argument(help=text)]


Images = option("Folder of images; or one subfolder a class.", str)
Knowledge = option("A .json file, or a name that `kpl doctor` lists.", str)
Table = option("Table to write (.csv).", str)
EncoderNames = option("As for `kpl encode`; several are joined.", list[str] | None, "--encoder")
EncoderName = option("'hf-hub:ORG/NAME', 'ARCH/TAG', 'path:DIR', or 'phantom' for synthetic images.")
AcceptPhantom = flag("--accept-phantom", "Let a phantom encoder read images that are no phantoms; warns.")
Method = option("Method, such as 'kpl' or 'clip'; `kpl doctor` lists all.", str)
Kept = option("Descriptions kept per class; 8 unless said.", int | None)
Settings = option("A parameter of the method, NAME=VALUE; may stand often.", list[str] | None, "--set")
Labels = option("Table path,label (.csv), to measure with; no method reads it.")
Coverage = option(
    "Add sets that hold the true class this often, such as 0.9; some labels are enough.", float | None
)
Groups = option("Table path,group (.csv): the patient of each image.")
Pattern = option(r"Or a regular expression that finds the patient in a path: '^([^_]+)_'.")
Device = option("'cpu' or 'cuda'; chosen unless said.")
Skip = flag("--skip-unreadable", "Leave out images that cannot be read, and list them.")
Workers = option("Processes that decode images; what is soonest, by a timed batch, unless said.", int | None)
Report = option("Report to write (.html): one file, opens offline.")
Thumbnails = option("Small images in the report, 0 to 200.", int)
ByPatient = option("Table of patients to write (.csv).")


def classify(
    images: Images,
    knowledge: Knowledge,
    out: Table,
    encoder: EncoderNames = None,
    classifier: Method = RECOMMENDED,
    k: Kept = None,
    settings: Settings = None,
    labels: Labels = None,
    groups: Groups = None,
    group_pattern: Pattern = None,
    patients: ByPatient = None,
    coverage: Coverage = None,
    report: Report = None,
    thumbnails: Thumbnails = 60,
    device: Device = None,
    workers: Workers = None,
    skip_unreadable: Skip = False,
    accept_phantom: AcceptPhantom = False,
) -> None:
    """Write path, label, probabilities, and the description that counted most for the label, for each image."""
    from kpl_lib.own_images.table import by_patient, write_patients, write_table

    if patients is not None and groups is None and group_pattern is None:
        raise InputError("--patients needs to know them: give --groups FILE.csv, or --group-pattern")
    truth = {"labels": labels, "groups": groups, "group_pattern": group_pattern}
    method = {"classifier": classifier, "k": k, "parameters": parse_settings(settings)}
    where = {"encoder": named(encoder), "device": device, "skip_unreadable": skip_unreadable}
    where |= {"accept_phantom": accept_phantom, "workers": workers}
    outputs = {"--out": out, "--patients": patients, "--report": report}
    run, page = _run(images, knowledge, outputs, thumbnails, coverage=coverage, **method, **truth, **where)
    write_table(run.result, out)
    if patients is not None:
        found = by_patient(run.result)
        write_patients(found, patients)
        say(f"wrote {patients}: {len(found.names)} patients")
    _write_report(page, report)
    say(f"wrote {out}: {len(run.result.paths)} images, {len(run.result.class_names)} classes")


def fit(
    images: Images,
    knowledge: Knowledge,
    out: option("Model to write (.safetensors).", str),
    encoder: EncoderNames = None,
    classifier: Method = RECOMMENDED,
    k: Kept = None,
    settings: Settings = None,
    labels: Labels = None,
    groups: Groups = None,
    group_pattern: Pattern = None,
    report: Report = None,
    thumbnails: Thumbnails = 60,
    device: Device = None,
    workers: Workers = None,
    skip_unreadable: Skip = False,
    accept_phantom: AcceptPhantom = False,
) -> None:
    """Fit a classifier to unlabelled images, and keep it in one file for `kpl predict`."""
    from kpl_lib.own_images.fitted import FittedModel

    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: a model is a safetensors file; let the name end in .safetensors")
    truth = {"labels": labels, "groups": groups, "group_pattern": group_pattern}
    method = {"classifier": classifier, "k": k, "parameters": parse_settings(settings)}
    where = {"encoder": named(encoder), "device": device, "skip_unreadable": skip_unreadable}
    where |= {"accept_phantom": accept_phantom, "workers": workers}
    outputs = {"--out": out, "--report": report}
    run, page = _run(images, knowledge, outputs, thumbnails, **method, **truth, **where)
    FittedModel.of(run).save(out)
    _write_report(page, report)
    if run.classifier.joint is not None:
        how = "`kpl predict` places images one by one, and may differ from classify"
        say(f"{classifier} judged each image by others, near it or before it: {how}")
    say(f"wrote {out}: {classifier} fitted to {len(run.result.paths)} images")


def predict(
    model: argument("What `kpl fit` wrote."),
    images: argument("Images, or folders of images.", list[str]),
    out: Table,
    encoder: option(
        "Where its encoder is now, if that has moved; of several, all in their order.", list[str] | None
    ) = None,
    device: Device = None,
    workers: Workers = None,
    skip_unreadable: Skip = False,
    accept_phantom: AcceptPhantom = False,
) -> None:
    """Classify new images, each alone, with a model that `kpl fit` wrote."""
    from kpl_lib.datasets.sets.folder import open_files
    from kpl_lib.own_images.fitted import FittedModel
    from kpl_lib.own_images.table import write_table

    check_files({"--out": out}, {"the model": model, **{f"image {name}": name for name in images}})
    say(NOTE)
    fitted, dataset = FittedModel.load(model), open_files(images)
    options = {"skip_unreadable": skip_unreadable, "accept_phantom": accept_phantom, "workers": workers}
    found = fitted.predict(dataset, fitted.open_encoder(encoder or (), device), **options)
    write_table(found, out)
    say_skipped([why for _, why in found.skipped])
    say(f"wrote {out}: {len(found.paths)} images, {len(found.class_names)} classes")


def named(encoder):
    """The encoder, or encoders, that were named; without one, a line says which to choose for which images."""
    if not encoder:
        raise InputError(
            "--encoder is missing: an encoder made for images like yours, such as 'hf-hub:microsoft/"
            "BiomedCLIP-PubMedBERT_256-vit_base_patch16_224' for radiographs and other medical images, or "
            "'ViT-L-14-quickgelu/openai' for photographs (`kpl encoders list` has more); 'phantom' knows the synthetic "
            "images of the book, and nothing else"
        )
    return encoder


def parse_settings(settings: list[str] | None) -> dict[str, object]:
    """Parameters from `NAME=VALUE`: whole numbers, numbers, true or false, else text.

    Example:
        >>> parse_settings(["steps=50", "temperature=0.02", "text=all"])
        {'steps': 50, 'temperature': 0.02, 'text': 'all'}
    """
    found: dict[str, object] = {}
    for setting in settings or ():
        name, sign, value = setting.partition("=")
        name, value = name.strip().replace("-", "_"), value.strip()
        if not (name and sign and value):
            raise InputError(f"--set {setting!r}: write it as NAME=VALUE, such as steps=500")
        if name in found:
            raise InputError(f"--set {name} is given twice, as {found[name]!r} and {value!r}; give it once")
        found[name] = _value(value)
    return found


def say(message: str) -> None:
    """One line on standard error."""
    print(f"kpl: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _value(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def check_files(outputs: dict[str, str | None], inputs: dict[str, str | None]) -> None:
    """Refuse what could not be written, or would be written over what is read, before anything is read."""
    seen: dict[str, str] = {}
    for name, path in (inputs | outputs).items():
        if path is not None:
            if name in outputs:
                check_writable(path)
            other = seen.setdefault(os.path.realpath(os.path.expanduser(path)), name)
            if other != name and name in outputs:
                raise InputError(f"{name} {path}: the same file as {other}; name another")


def _run(images: str, knowledge: str, outputs: dict[str, str | None], thumbnails: int, **options):
    """Check what is cheap, classify the folder, say what was measured; the run, and the report if one is wanted."""
    from kpl_lib.own_images.classify import classify_folder
    from kpl_lib.own_images.facts import report_facts

    read = {"--knowledge": knowledge, "--labels": options["labels"], "--groups": options["groups"]}
    check_files(outputs, read)
    if not 0 <= thumbnails <= 200:
        raise InputError(f"--thumbnails {thumbnails}: a report holds 0 to 200 small images")
    say(NOTE)
    run = classify_folder(images, knowledge, **options)
    for finding in getattr(run.classifier, "findings", ()):
        say(f"{run.classifier.name}: {finding}")
    say_skipped([why for _, why in run.result.skipped])
    if run.ranking is not None:
        ranked = ", ".join(f"{row.name} {row.score:.2f}" for row in run.ranking.rows)
        say(f"encoders by agreement, without labels: {ranked}; `kpl encoders rank` shows why")
    measured = report_facts(run)
    if measured is not None:
        for name in ("accuracy", "balanced_accuracy", "macro_auroc", "ece"):
            say(f"{name.replace('_', ' ')} {measured.images[name]}")
    if run.sets is not None:
        say(str(run.sets))
    if outputs["--report"] is None:
        return run, None
    from kpl_lib.own_images.report import render

    return run, render(run, measured, thumbnails=thumbnails)


def _write_report(page: str | None, report: str | None) -> None:
    if page is not None:
        with atomic_path(report) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
        say(f"wrote {report}: open it in a browser; it holds small copies of images and file names")


def say_skipped(reasons: Sequence[str]) -> None:
    """Say which files were left out, if any, and why."""
    if reasons:
        say(f"skipped {len(reasons)} unreadable:")
        for why in reasons:
            say(f"  {why}")
