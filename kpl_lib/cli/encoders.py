"""`kpl encode`: images to one file of features; `kpl encoders`: models that load by name. Heavy imports wait."""

import time
from dataclasses import replace

import typer

from kpl_lib.cli.own import (
    AcceptPhantom,
    Device,
    EncoderName,
    Images,
    Knowledge,
    Skip,
    Workers,
    argument,
    flag,
    named,
    option,
    say,
    say_skipped,
)
from kpl_lib.common.errors import InputError
from kpl_lib.common.files import check_writable, default_folder


def encode(
    encoder: EncoderName = None,
    dataset: option("A name that `kpl datasets list` prints.") = None,
    images: option("Or a folder of images.") = None,
    root: option("Folder of the dataset's files.") = None,
    split: option("Part of the dataset; the evaluation set unless said.") = None,
    out: option("Features to write (.safetensors).") = None,
    cache: option("Folder that keeps features and stopped runs; ~/.cache/kpl unless said.") = None,
    batch_size: option("Images a step.", int) = 64,
    workers: Workers = None,
    precision: option("'fp32', 'mixed', 'fp16' or 'bf16'.") = None,
    device: Device = None,
    patches: flag("--patches", "Patch features too, as 'calip' needs.") = False,
    skip_unreadable: Skip = False,
    accept_phantom: AcceptPhantom = False,
    download_only: flag("--download-only", "Fetch the encoder for later use without a network.") = False,
) -> None:
    """Encode images once, into one file of features. A stopped run goes on where it was."""
    from kpl_lib.distributed.encode import WrittenFeatures, encode_shared
    from kpl_lib.distributed.group import own_device, place
    from kpl_lib.encoders.encoder import load_encoder
    from kpl_lib.encoders.load import download_encoder
    from kpl_lib.encoders.phantom_world import refuse_far

    if download_only:
        print(download_encoder(named(encoder)))
        return
    _check_out(out)
    data = _dataset(dataset, images, root, split)
    drawn = dataset is not None and dataset.startswith("phantom-")
    encoder = named(encoder or ("phantom" if drawn else None))
    shared = place().world > 1  # one of several processes that torchrun started
    model = load_encoder(encoder, own_device(device) if shared else device, precision)
    start = time.perf_counter()
    on_error = "skip" if skip_unreadable else "raise"
    options = {"batch_size": batch_size, "workers": workers, "on_error": on_error}
    options["cache"] = (cache or default_folder()) if data.fingerprint else None
    if shared:
        written = encode_shared(model, data, out, patches=patches, **options)
        if written is None:
            return  # rank 0 speaks for all
    else:
        made = (model.encode_patches if patches else model.encode_images)(data, **options)
        features = made.features if patches else made
        far = refuse_far(model.names, [features.images], accept_phantom)
        if far is not None:
            say(far)
        made.save(out)
        written = WrittenFeatures.of(features)
        _say_agreement(model, data, features)
    shape, seconds = " x ".join(map(str, written.shape)), time.perf_counter() - start
    say_skipped(written.skipped)
    say(f"wrote {out}: {shape} features of {data.name} by {encoder} in {seconds:.1f} s")


def _check_out(out: str | None) -> None:
    """Refuse a result that could not be written, before anything is encoded."""
    if out is None:
        raise InputError("--out is missing: name the file of features to write, such as chest.safetensors")
    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: features are safetensors; let the name end in .safetensors")
    check_writable(out)


def _say_agreement(model, data, features) -> None:
    """Say what mixed precision changes, on a few images: the class whose name is nearest, else the nearest image."""
    import torch

    if model.mixed is None:
        return
    skipped = {path for path, _ in features.meta["skipped"]}
    kept = [i for i, path in enumerate(data.paths) if path not in skipped]
    few = list(range(0, len(kept), max(1, len(kept) // SAMPLE)))[:SAMPLE]
    sample, named = data.subset([kept[i] for i in few]), len(data.class_names) > 1
    full = replace(model, mixed=None).encode_images(sample, workers=0, progress=False).images
    mixed, others = features.images[few], model.encode_texts(data.class_names) if named else full
    own = 0 if named else 2 * torch.eye(len(few))  # nobody is nearest to itself
    same = (mixed @ others.T - own).argmax(dim=1) == (full @ others.T - own).argmax(dim=1)
    what = "class names" if named else "images"
    cosine = (mixed * full).sum(dim=1).min()
    found = f"{int(same.sum())} nearest {what} are the same, cosines from {cosine:.5f}"
    say(f"mixed precision against float32 on {len(few)} images: {found}")


def _dataset(dataset: str | None, images: str | None, root: str | None, split: str | None):
    """The dataset that was named, or the folder."""
    from kpl_lib.datasets.load import load_dataset

    if (dataset is None) == (images is None):
        raise InputError("name what to encode: either --dataset NAME or --images FOLDER")
    if images is None:
        return load_dataset(dataset, root, split)
    if root is not None or split is not None:
        raise InputError("--root and --split belong to --dataset; with --images, name the folder itself")
    return load_dataset("folder", images)


SAMPLE = 64  # images that mixed precision is told on

app = typer.Typer(help="Image-text models that load by name.", no_args_is_help=True)

COLUMNS = {"name": "name", "made for": "field", "pixels": "image_size", "tokens": "context_length"}
COLUMNS |= {fact: fact for fact in ("width", "loss", "licence")}
PIXELS = ("resize", "interpolation", "mean", "std", "loss")
GROUPS = {
    "config": ("image_size", "context_length", "width", "tokenizer", "activation", *PIXELS),
    "weights": ("weights",),
    "logit_scale": ("logit_scale", "logit_scale_known"),
}
GROUPS |= {fact: (fact,) for fact in ("licence", "use", "training_data", "note")}


@app.command("list")
def list_encoders() -> None:
    """Print the models: name, field, input pixels, context tokens, width, loss, licence."""
    from kpl_lib.encoders.table import encoder_table

    texts = [list(COLUMNS)]
    texts += [[str(getattr(row, fact)) for fact in COLUMNS.values()] for row in encoder_table()]
    _print_table(texts)
    print("\nThe embedded 'phantom' needs no download. Facts and their sources: kpl encoders show NAME")


@app.command()
def rank(
    images: Images,
    knowledge: Knowledge,
    encoder: option("Two or more, each with its own --encoder.", list[str]),
    device: Device = None,
    skip_unreadable: Skip = False,
    accept_phantom: AcceptPhantom = False,
) -> None:
    """Rank encoders on your own images, without labels: by what others say, and by what alike images get."""
    from kpl_lib.own_images.classify import rank_folder

    options = {"device": device, "skip_unreadable": skip_unreadable, "accept_phantom": accept_phantom}
    rows = rank_folder(images, knowledge, encoder, **options).rows
    texts = [["encoder", "score", "others", "neighbours", "names"]]
    for row in rows:
        figures = (row.score, row.others, row.neighbours, row.names)
        texts.append([row.name, *("-" if x != x else f"{x:.2f}" for x in figures)])
    _print_table(texts)
    for row in rows:
        if row.warning:
            say(f"{row.name}: {row.warning}")
    print("\nscore: mean of others and neighbours, 1 at best. Encoders that err alike are not found out.")


def _print_table(texts: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


@app.command()
def show(name: argument("A name of `kpl encoders list`.")) -> None:
    """Print what is known about one model, and where each fact comes from."""
    from kpl_lib.encoders.table import encoder_row, sources

    row, references = encoder_row(name), sources()
    print(f"{row.name}\n  field: {row.field}")
    for group, facts in GROUPS.items():
        known = {fact: getattr(row, fact) for fact in facts if getattr(row, fact) not in (None, "")}
        for fact, value in known.items():
            said = ", ".join(f"{x:.8g}" for x in value) if isinstance(value, list) else value
            print(f"  {fact.replace('_', ' ')}: {said}")
        if known and row.sources.get(group):
            print(f"      from {references[row.sources[group]]}")
