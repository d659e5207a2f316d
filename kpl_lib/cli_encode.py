"""`kpl encode`: images of a dataset or folder to one file of features. Heavy imports wait until they are needed."""

import os
import sys
import time
from typing import Annotated

import typer


def encode(
    encoder: Annotated[
        str, typer.Option(help="'phantom', 'path:DIR', 'ARCH/TAG' or 'hf-hub:ORG/NAME'.")
    ] = "phantom",
    dataset: Annotated[str | None, typer.Option(help="A name that `kpl datasets list` prints.")] = None,
    images: Annotated[str | None, typer.Option(help="Or a folder of images.")] = None,
    root: Annotated[str | None, typer.Option(help="Folder of the dataset's files.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the dataset; the evaluation set unless said.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Features to write (.safetensors).")] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Folder that keeps features and stopped runs; ~/.cache/kpl unless said."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode; cores, 8 at most, unless said.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="'fp32', 'mixed', 'fp16' or 'bf16'.")] = None,
    device: Annotated[str | None, typer.Option(help="'cpu' or 'cuda'; chosen unless said.")] = None,
    patches: Annotated[bool, typer.Option("--patches", help="Patch features too, as 'calip' needs.")] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and list them.")
    ] = False,
    download_only: Annotated[
        bool, typer.Option("--download-only", help="Fetch the encoder for later use without a network.")
    ] = False,
) -> None:
    """Encode images once, into one file of features. A stopped run goes on where it was."""
    from kpl_lib.checkpoints import download
    from kpl_lib.distributed_encode import Written, encode_shared
    from kpl_lib.distributed_place import own_device, place
    from kpl_lib.encoders import load_encoder
    from kpl_lib.feature_cache import default_folder

    if download_only:
        print(download(encoder))
        return
    _check_out(out)
    data = _dataset(dataset, images, root, split)
    shared = place().world > 1  # one of several processes that torchrun started
    model = load_encoder(encoder, own_device(device) if shared else device, precision)
    start = time.perf_counter()
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    options = {
        "batch_size": batch_size,
        "workers": min(8, max(1, cores)) if workers is None else workers,
        "on_error": "skip" if skip_unreadable else "raise",
        "cache": (cache or default_folder()) if data.fingerprint else None,
    }
    if shared:
        written = encode_shared(model, data, out, patches=patches, **options)
        if written is None:
            return  # rank 0 speaks for all
    else:
        made = (model.encode_patches if patches else model.encode_images)(data, **options)
        made.save(out)
        written = Written.of(made.features if patches else made)
    skipped, seconds = written.skipped, time.perf_counter() - start
    lines = [f"skipped {len(skipped)} unreadable:", *(f"  {why}" for why in skipped)] * bool(skipped)
    shape = " x ".join(map(str, written.shape))
    lines.append(f"wrote {out}: {shape} features of {data.name} by {encoder} in {seconds:.1f} s")
    print("\n".join(f"kpl: {line}" for line in lines), file=sys.stderr)


def _check_out(out: str | None) -> None:
    """Refuse a result that could not be written, before anything is encoded."""
    from kpl_lib.classify import check_writable
    from kpl_lib.errors import InputError

    if out is None:
        raise InputError("--out is missing: name the file of features to write, such as chest.safetensors")
    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: features are safetensors; let the name end in .safetensors")
    check_writable(out)


def _dataset(dataset: str | None, images: str | None, root: str | None, split: str | None):
    """The dataset that was named, or the folder."""
    from kpl_lib.datasets import load_dataset
    from kpl_lib.errors import InputError

    if (dataset is None) == (images is None):
        raise InputError("name what to encode: either --dataset NAME or --images FOLDER")
    if images is None:
        return load_dataset(dataset, root, split)
    if root is not None or split is not None:
        raise InputError("--root and --split belong to --dataset; with --images, name the folder itself")
    return load_dataset("folder", images)
