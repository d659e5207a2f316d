"""Datasets by name: one file a family in `sets`, all giving the same `ImageDataset`."""

import os
from importlib import import_module
from inspect import signature
from pathlib import Path

from kpl_lib.common.errors import InputError, among
from kpl_lib.common.files import data_dir, read_json
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.names import class_names

PHANTOMS = ("phantom-chest", "phantom-retinopathy", "phantom-malaria", "phantom-cataract")

#: Name of a dataset with files -> the file of `sets` that reads its family.
FAMILIES = {
    "shenzhen": "tuberculosis",
    "montgomery": "tuberculosis",
    "idrid": "listed",
    "malaria": "class_folders",
    "cataract": "class_folders",
    "cub": "listed",
    "places365": "listed",
    "oxford-pets": "listed",
    "imagenet": "imagenet",
}
MEDMNIST = "path derma oct pneumonia retina breast blood tissue organa organc organs"
FAMILIES |= {f"medmnist-{flag}": "medmnist" for flag in MEDMNIST.split()}
OWN = {  # your own files: the file of `sets` that reads them, and what the root is
    "folder": ("folder", "folder that holds the images"),
    "csv": ("csv_list", "table with the columns path, label"),
    "webdataset": ("webdataset", "folder of .tar shards, or shards as name-{000..019}.tar"),
}
VARIANTS = {
    "phantom": {"scanner": ("seen", "unseen"), "balance": ("even", "skewed"), "split": ("dev", "test")},
    "medmnist": {"size": (28, 64, 128, 224), "split": ("train", "val", "test", "all")},
}


def available() -> tuple[str, ...]:
    """Names that `load_dataset` knows.

    Example:
        >>> "phantom-chest" in available(), "shenzhen" in available()
        (True, True)

    Chapter: ch-real-data
    """
    return (*PHANTOMS, *FAMILIES, *OWN)


def load_dataset(
    name: str, root: str | Path | None = None, split: str | None = None, **options
) -> ImageDataset:
    """Load a dataset by name.

    Args:
        name: a name of `available()`. Variants stand behind a slash: `phantom-chest/unseen/skewed`,
            `medmnist-path/224`.
        root: the folder with the files (the table for `csv`). None is the folder that `kpl datasets get` fills unless
            told otherwise; phantoms are drawn and take none.
        split: None is the evaluation set of the paper; `all` is everything.
        options: what the family takes: `scanner`, `balance`, `n`, `seed` for phantoms; `size` for MedMNIST;
            `labelled` for `folder`; `classes` for `csv`.

    Returns:
        The dataset.

    Raises:
        InputError: for an unknown name (the nearest known one is said), option or folder, and for files that do not
            have the layout of the original.

    Example:
        >>> load_dataset("phantom-chset")
        Traceback (most recent call last):
        kpl_lib.common.errors.InputError: unknown dataset 'phantom-chset': did you mean 'phantom-chest'? ...

    Chapter: ch-how-to-use
    """
    family, *words = _known(name).split("/")
    if split is not None:
        options["split"] = split
    if family in OWN:
        _check_own(name, root, options)
        return _call(name, OWN[family][0], root, **options)
    _take_variants(name, words, options)
    if family in PHANTOMS:
        if root is not None:
            raise InputError(f"dataset {name!r} is drawn, not read: leave root out")
        return _call(name, "phantom", family, **options)
    size = options.pop("size", None)
    facts = card(family if size is None else f"{family}/{size}")
    if (options.get("split") or "") not in facts.images:
        known = ", ".join(filter(None, facts.images))
        raise InputError(f"dataset {facts.name!r} has no split {options['split']!r}; it has {known}")
    if set(facts.images) == {"", "all"}:  # one part, evaluated whole
        options.pop("split", None)
    return _call(name, FAMILIES[family], facts, _need_root(name, root), **options)


def card(name: str) -> DatasetCard:
    """What is known about a real dataset without its files.

    Args:
        name: as for `load_dataset`, variants included.

    Returns:
        The card.

    Raises:
        InputError: for a name that has no card, such as a phantom.

    Example:
        >>> card("shenzhen").images["all"]
        662

    Chapter: ch-real-data
    """
    family, *words = _known(name).split("/")
    if family not in FAMILIES:
        what = "drawn" if family in PHANTOMS else "your own files"
        raise InputError(f"dataset {name!r} is {what}: there is nothing to get")
    rows = read_json(data_dir() / "datasets.json")["datasets"]
    facts = next(row for row in rows if row["name"] == family)
    variants = facts.pop("variants", {})
    for word in words:
        if word in variants:
            facts |= variants[word]
        elif word not in VARIANTS.get(family.split("-")[0], {}).get("split", ()):
            raise InputError(f"dataset {name!r}: unknown variant {word!r}; {among(word, variants)}")
    names = facts["class_names"]
    facts["class_names"] = class_names(names) if isinstance(names, str) else tuple(names)
    facts["archives"] = tuple(Archive(**archive) for archive in facts["archives"])
    facts["steps"] = tuple(facts.get("steps", ()))
    return DatasetCard(**facts)


def class_names_of(name: str) -> tuple[str, ...]:
    """The classes of a dataset, without its files.

    Args:
        name: as for `load_dataset`.

    Returns:
        The names, in label order.

    Example:
        >>> class_names_of("montgomery")
        ('normal', 'tuberculosis')

    Chapter: ch-real-data
    """
    if _known(name).split("/")[0] in PHANTOMS:
        return load_dataset(name, n=1).class_names
    return card(name).class_names


def default_root(name: str) -> Path:
    """Where a dataset lies unless told otherwise: `KPL_DATA`, else `.cache/kpl/data` in the home folder."""
    base = os.environ.get("KPL_DATA") or Path.home() / ".cache" / "kpl" / "data"
    return Path(base) / name.split("/")[0]


def _known(name: str) -> str:
    """The name, if its family is known; else an error that says the nearest."""
    name = str(name)
    family = name.split("/")[0]
    if family not in available():
        raise InputError(f"unknown dataset {name!r}: {among(family, available())}")
    return name


def _need_root(name: str, root: str | Path | None) -> Path:
    """The folder of a real dataset."""
    if root is not None:
        return Path(root)
    found = default_root(name)
    if not found.is_dir():
        how = f"name its folder as root=..., or run `kpl datasets get {name}`"
        raise InputError(f"dataset {name!r} is not in {found}: {how}")
    return found


def _check_own(name: str, root: str | Path | None, options: dict) -> None:
    """Check the arguments of your own files; they have no parts."""
    family, *words = name.split("/")
    if words:
        raise InputError(f"dataset {name!r}: give the folder or file as root=..., not in the name")
    if root is None:
        raise InputError(f"dataset {family!r} needs root=...: the {OWN[family][1]}")
    split = options.pop("split", None)
    if split not in (None, "all"):
        raise InputError(f"dataset {family!r} has no split {split!r}: name that part as root")


def _take_variants(name: str, words: list[str], options: dict) -> None:
    """Put the words behind the slashes among the options."""
    variants = VARIANTS.get(name.split("-")[0], {})
    known = {str(value): (key, value) for key, values in variants.items() for value in values}
    for word in words:
        if word not in known:
            raise InputError(f"dataset {name!r}: unknown variant {word!r}; {among(word, known)}")
        key, value = known[word]
        if options.setdefault(key, value) != value:
            raise InputError(f"dataset {name!r}: {key} is {word!r} and {options[key]!r}; say it once")


def _call(name: str, module: str, *arguments, **options) -> ImageDataset:
    """Import the family and load; an option that it does not take is an input error."""
    load = import_module(f"kpl_lib.datasets.sets.{module}").load
    unknown = sorted(options.keys() - signature(load).parameters.keys())
    if unknown:
        raise InputError(f"dataset {name!r}: unexpected keyword argument {unknown[0]!r}; leave it out")
    return load(*arguments, **options)
