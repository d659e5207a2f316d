"""What this installation has: versions, device, encoders, knowledge, datasets."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import kpl_lib
from kpl_lib import classifiers, datasets, encoders
from kpl_lib.common.files import data_dir
from kpl_lib.knowledge.files import known_names

PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "scikit-learn", "safetensors")


def describe() -> str:
    """Describe this installation, one fact a line.

    Raises:
        InputError: if the data that ship with the library are missing.

    Example:
        >>> describe().startswith("kpl_lib")
        True
    """
    rows = [("kpl_lib", kpl_lib.__version__), ("python", platform.python_version())]
    rows += [(name, _version(name)) for name in PACKAGES]
    rows += [
        ("device", _device()),
        ("data", str(data_dir())),
        ("encoders", _listed(encoders.available())),
        ("knowledge", _listed(known_names())),
        ("datasets", _listed(datasets.available())),
        ("classifiers", _listed(classifiers.available())),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing: install it"


def _device() -> str:
    """The device that encoders run on unless told otherwise."""
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.get_num_threads()} threads, {os.cpu_count()} cores)"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none found"
