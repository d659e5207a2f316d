"""`kpl knowledge ...`: knowledge bases on the command line. Heavy imports wait until a command needs them."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kpl_lib.cli.own import argument, check_files, flag, option
from kpl_lib.common.errors import InputError, among
from kpl_lib.common.files import check_writable, read_text

if TYPE_CHECKING:
    from kpl_lib.knowledge.base import KnowledgeBase
    from kpl_lib.knowledge.check import Report

app = typer.Typer(help="Knowledge bases.", no_args_is_help=True)

FORMATS = "'cupl', 'descriptors', 'kpl' or 'csv'."


@app.command("check")
def check_knowledge(
    file: argument("A .json file, or a name that `kpl doctor` lists."),
    dataset: option("Compare with its classes: a dataset, a class list, or a file of names.") = None,
    encoder: option("'phantom', 'path:DIR', 'ARCH/TAG' or 'hf-hub:ORG/NAME': adds spread.") = None,
    images: option("A dataset or a folder; with an encoder: adds coverage.") = None,
    figure: option("Figure of the coverage to write, .png or .svg.") = None,
    everything: flag("--all", "Print every finding.") = False,
) -> None:
    """Report what is wrong with a knowledge base on one page; exit code 1 where something has to be corrected.

    Duplicates, near duplicates, class names inside descriptions, length, wording, tags, counts, classes. With
    an encoder and images: what the descriptions cover and what retrieval never keeps. Labels are not read.
    """
    from kpl_lib.knowledge.base import KnowledgeBase

    if images is not None and encoder is None:
        raise InputError("--images needs --encoder, which turns images and texts into features; name one")
    if figure is not None:
        from kpl_lib.plots import check_figure, save_figure

        if images is None:
            raise InputError("--figure shows how descriptions meet images: name some with --images")
        check_figure(figure)
        check_writable(figure)
    base = KnowledgeBase.load(file)
    found, met = base.check(None if dataset is None else _class_names(dataset)), None
    if encoder is not None:
        found, met = _met(base, found, encoder, images)
    limit = {"limit": None} if everything else {}
    print("\n\n".join(part.text(**limit) for part in (found, met) if part is not None))
    if figure is not None:
        save_figure(met, figure, base.name)
        print(f"\nwrote {figure}")
    if not found.clean:
        raise typer.Exit(1)


@app.command("import")
def import_knowledge(
    source: argument("The file."),
    format: option(FORMATS, str),
    out: option("File to write (.json).", str),
    section: option("Section of a kpl file; its only one unless said.") = None,
    classes: option("Keep these classes: a dataset, a class list, or a file of names.") = None,
) -> None:
    """Read a file of another format and write it in ours; classes are matched by name, never by position."""
    from kpl_lib.knowledge.base import KnowledgeBase
    from kpl_lib.knowledge.match import match_classes

    check_files({"--out": out}, {"what is read": source})
    base = KnowledgeBase.read(source, format, section)
    if classes is not None:
        matched = match_classes(base, _class_names(classes))
        print(matched)
        base = matched.knowledge
    base.save(out)
    print(f"wrote {out}: {len(base.records)} classes, {sum(map(len, base.records.values()))} descriptions")


@app.command("export")
def export_knowledge(
    file: argument("A .json file, or a name that `kpl doctor` lists."),
    format: option(FORMATS, str),
    out: option("File to write.", str),
    section: option("Section of a kpl file; the name of the base unless said.") = None,
) -> None:
    """Write a knowledge base for other people's code."""
    from kpl_lib.knowledge.base import KnowledgeBase

    check_files({"--out": out}, {"what is read": file})
    base = KnowledgeBase.load(file)
    base.export(out, format, section)
    print(f"wrote {out}: {len(base.records)} classes, {sum(map(len, base.records.values()))} descriptions")


@app.command("generate")
def generate_knowledge(
    classes: argument("'cub', 'places365', 'imagenet', a base, or a file with one name a line."),
    out: option("File to write (.json).", str),
    model: option("Language model; KPL_LLM_MODEL unless said.") = None,
    prompt: option("'visual', 'cupl-like', 'kpl-like', or a .json file.", str) = "visual",
    per_class: option("Descriptions of each class.", int) = 50,
    modality: option("Kind of picture; 'photograph' unless said.") = None,
    concurrency: option("Calls at the same time.", int) = 16,
    seed: option("Passed to the server.", int) = 0,
    temperature: option("Of the sampling.", float) = 0.7,
    max_tokens: option("The most tokens of an answer.", int | None) = None,
    cache: option("Folder of finished classes; OUT.cache unless said.") = None,
    timeout: option("Seconds that a call may be silent.", float) = 120.0,
    retries: option("How often a failed call is repeated.", int) = 5,
    price_in: option("Price of a million tokens in.", float | None) = None,
    price_out: option("Price of a million tokens out.", float | None) = None,
) -> None:
    """Let a language model describe each class; a stopped run goes on where it was.

    The endpoint speaks the OpenAI chat protocol. Its address and key stand in OPENAI_BASE_URL and OPENAI_API_KEY.
    """
    from kpl_lib.knowledge.generate.write import MODALITY, generate

    names, kind = read_classes(classes)
    priced = price_in is not None or price_out is not None
    done = generate(
        names,
        prompt=prompt,
        per_class=per_class,
        model=model,
        modality=modality or kind or MODALITY,
        name=Path(out).stem,
        concurrency=concurrency,
        seed=seed,
        cache=cache or f"{out}.cache",
        out=out,
        prices=(price_in or 0.0, price_out or 0.0) if priced else None,
        timeout=timeout,
        retries=retries,
        temperature=temperature,
        max_tokens=max_tokens,
    )
    print(f"{done.report}\nwrote {out}")


def _class_names(name: str) -> tuple[str, ...]:
    """Classes of a dataset, of a list or base that ships, or of a file."""
    from kpl_lib.datasets.load import OWN, available, class_names_of

    if name.split("/")[0] in available() and name not in OWN:
        return class_names_of(name)
    return read_classes(name)[0]


def _met(base: "KnowledgeBase", report: "Report", encoder: str, images: str | None) -> tuple:
    """The report with what the encoder finds, and its spread, or coverage where there are images."""
    from kpl_lib.datasets.load import available, load_dataset
    from kpl_lib.encoders.encoder import load_encoder
    from kpl_lib.knowledge.coverage import coverage_of, findings_of, spread_of

    dataset = None
    if images is not None:
        named = images.split("/")[0] in available() and not Path(images).is_dir()
        dataset = load_dataset(images) if named else load_dataset("folder", images)
    model = load_encoder(encoder)
    features = None if dataset is None else model.encode_images(dataset)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* are cut: ")  # the report says it for each sentence
        bank = model.encode_knowledge(base)
    read_by = model.tokenizer, model.context_length, model.name
    report = replace(report, findings=(*report.findings, *findings_of(bank, base.sentences(), *read_by)))
    if features is None:
        return report, spread_of(bank, model.name)
    return report, coverage_of(base, bank, features, encoder=model.name)


def read_classes(name_or_path: str | Path) -> tuple[tuple[str, ...], str]:
    """The names of classes, and the kind of picture, empty where nobody said.

    From a class list or knowledge base that ships with the library; or a file: a knowledge base (.json), or text with
    one name a line (empty lines do not count).

    Raises:
        InputError: if there is no such list or file, or a name is empty, too long, or stands twice; says where.
    """
    from kpl_lib.datasets.names import class_names, known_lists
    from kpl_lib.knowledge.base import KnowledgeBase
    from kpl_lib.knowledge.files import known_names
    from kpl_lib.knowledge.generate.write import checked

    wanted, path = str(name_or_path), Path(name_or_path).expanduser()
    if wanted in known_lists():
        return class_names(wanted), ""
    if wanted in known_names() or path.suffix == ".json":
        base = KnowledgeBase.load(wanted)
        return base.class_names, base.modality
    if not path.suffix and path.parent == Path(".") and not path.is_file():
        known = (*known_lists(), *known_names())
        raise InputError(f"unknown classes {wanted!r}: {among(wanted, known, 0.4)}; or name a file")
    lines = enumerate(read_text(path).splitlines(), 1)
    return checked(path, [(f"line {i}", line) for i, line in lines if line.strip()]), ""
