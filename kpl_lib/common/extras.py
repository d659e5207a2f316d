"""Packages that only a part of the library needs: `from kpl_lib.common.extras import pandas as pd`.

Where one is missing, that import says in one line which extra of kpl-lib brings it.
"""

from importlib import import_module
from types import ModuleType

from kpl_lib.common.errors import InputError

#: Name here -> the extra that brings it, as in pyproject.toml.
EXTRAS = {
    "ot": "transport",
    "pandas": "benchmark",
    "altair": "plots",
    "matplotlib": "plots",
    "pyplot": "plots",
    "umap": "plots",
    "jinja2": "report",
    "markupsafe": "report",
    "pydicom": "dicom",
    "transformers": "hub",
    "openai": "generate",
}
MODULES = {"pyplot": "matplotlib.pyplot"}  # where it is not the name itself
PACKAGES = {"ot": "POT", "pyplot": "matplotlib", "umap": "umap-learn"}


def need(name: str, who: str = "this") -> ModuleType:
    """Import an optional package, by its name in `EXTRAS`; `who` needs it, as an error says.

    Example:
        >>> need("pandas").__name__
        'pandas'
    """
    try:
        return import_module(MODULES.get(name, name))
    except ModuleNotFoundError as error:
        raise missing(name, who) from error


def missing(name: str, who: str) -> InputError:
    """The error for a package that is not installed."""
    package = PACKAGES.get(name, name)
    return InputError(f'{who} needs {package}: pip install "kpl-lib[{EXTRAS[name]}]"')


def __getattr__(name: str) -> ModuleType:
    if name not in EXTRAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return need(name)
