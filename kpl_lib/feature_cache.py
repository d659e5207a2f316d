"""Features that were encoded before: kept on disk under a key of everything they depend on, so they cannot go stale."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.errors import InputError
from kpl_lib.features import Features


def default_folder() -> Path:
    """Where chapters keep features: `KPL_CACHE`, else `.cache/kpl` in the home folder."""
    return Path(os.environ.get("KPL_CACHE") or Path.home() / ".cache" / "kpl")


def remember(
    folder: str | Path, encoder_key: str, dataset: ImageDataset, encode: Callable[[], Features]
) -> Features:
    """Read the features of a dataset from `folder`, or encode them and keep them there.

    The file's name is a checksum of the encoder (weights, preprocessing, precision) and of the dataset (what is
    read, and the code that draws it). Change either, and the name changes. A file that cannot be read is
    encoded again and replaced.

    Args:
        folder: made when it is missing.
        encoder_key: checksum of the encoder.
        dataset: N images with a `fingerprint`.
        encode: gives the features where they are not there.

    Returns:
        Unit features `[N, D]`, equal to those that `encode` gives.

    Raises:
        InputError: for a dataset without a fingerprint, and for a folder that cannot be written.
    """
    if not dataset.fingerprint:
        raise InputError(f"{dataset.name}: it has no fingerprint to keep features under; leave `cache` out")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache {folder}: {error.strerror}; name a folder that you may write to") from None
    key = hashlib.sha256(
        f"{encoder_key}\n{dataset.name}\n{dataset.fingerprint}\n{len(dataset)}".encode()
    ).hexdigest()
    path = folder / f"{dataset.name.replace('/', '-')}-{key[:24]}.safetensors"
    if path.exists():
        try:
            return Features.load(path)
        except InputError:
            path.unlink(missing_ok=True)
    encode().save(path)
    return Features.load(path)  # what later calls get, to the last bit
