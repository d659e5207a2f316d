"""Datasets by name: one small module a family, all returning the same `ImageDataset`."""

import difflib
from importlib import import_module
from pathlib import Path

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.errors import InputError

__all__ = ["ImageDataset", "available", "load_dataset"]

PHANTOMS = ("phantom-chest", "phantom-retinopathy", "phantom-malaria", "phantom-cataract")
VARIANTS = {
    "scanner": ("seen", "unseen"),
    "balance": ("even", "skewed"),
    "split": ("dev", "test"),
}


def available() -> tuple[str, ...]:
    """Names that `load_dataset` knows.

    Example:
        >>> "phantom-chest" in available()
        True
    """
    return (*PHANTOMS, "folder")


def load_dataset(
    name: str, root: str | Path | None = None, split: str | None = None, **options
) -> ImageDataset:
    """Load a dataset by name.

    Args:
        name: a name of `available()`. Phantoms take their variant behind a slash:
            `phantom-chest/unseen/skewed`.
        root: the folder with the files, for datasets that are not made by this library.
        split: None is the evaluation set of the paper; `all` is everything.
        options: what the family takes: `scanner`, `balance`, `n`, `seed` for phantoms; `labelled` for
            `folder`.

    Returns:
        The dataset.

    Raises:
        InputError: for an unknown name (the nearest known one is said), option or folder.

    Example:
        >>> load_dataset("phantom-chset")
        Traceback (most recent call last):
        kpl_lib.errors.InputError: unknown dataset 'phantom-chset': did you mean 'phantom-chest'? ...

    Shown in chapter "How to use this book".
    """
    family, *variants = str(name).split("/")
    if family not in available():
        near = difflib.get_close_matches(family, available(), 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown dataset {name!r}: {hint}known: {', '.join(available())}")
    if family == "folder":
        return _load_folder(name, variants, root, split, options)
    if root is not None:
        raise InputError(f"dataset {name!r} is drawn, not read: leave root out")
    options = {**options, **({} if split is None else {"split": split})}
    return _call(name, "kpl_lib.datasets.phantom", family, **_with_variants(name, variants, options))


def _load_folder(name: str, variants: list[str], root, split: str | None, options: dict) -> ImageDataset:
    """Check the arguments of `folder`."""
    if variants:
        raise InputError(f"dataset {name!r}: give the folder as root=..., not in the name")
    if root is None:
        raise InputError("dataset 'folder' needs root=...: the folder that holds the images")
    if split not in (None, "all"):
        raise InputError(
            f"dataset 'folder' has no split {split!r}: name the subfolder as root, and leave split out"
        )
    return _call(name, "kpl_lib.datasets.folder", root, **options)


def _with_variants(name: str, variants: list[str], options: dict) -> dict:
    """Turn the words behind the slashes into options."""
    options = dict(options)
    for word in variants:
        key = next((key for key, words in VARIANTS.items() if word in words), None)
        if key is None:
            known = ", ".join(word for words in VARIANTS.values() for word in words)
            raise InputError(f"dataset {name!r}: unknown variant {word!r}; known: {known}")
        if options.get(key, word) != word:
            raise InputError(
                f"dataset {name!r}: {key} is {word!r} in the name and {options[key]!r} beside it; say it once"
            )
        options[key] = word
    return options


def _call(name: str, module: str, *arguments, **options) -> ImageDataset:
    """Import the family and load; an option that it does not take is an input error."""
    load = import_module(module).load
    try:
        return load(*arguments, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise InputError(
            f"dataset {name!r}: {str(error).split(') ')[-1].removeprefix('got an ')}; leave it out"
        ) from None
