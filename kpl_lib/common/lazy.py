"""Names that are looked up when they are used: those a package gives (PEP 562), and those of 0.1 at old places."""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from kpl_lib.common.files import data_dir


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package; `homes` is name -> the module below it that defines it.

    Example:
        >>> get, names = lazily("kpl_lib", {"InputError": "common.errors"})
        >>> get("InputError").__name__, "InputError" in names()
        ('InputError', True)
    """

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})


class OldModules(MetaPathFinder, Loader):
    """The modules of 0.1, each a stand-in that gives its names from where they are now, with a DeprecationWarning.

    Python asks here last, for modules that it did not find. `data/moved.json` says what is where; this class and that
    file go with 0.3.

    Example:
        >>> OldModules("kpl_lib").find_spec("kpl_lib.transport_plan") is None
        True
    """

    def __init__(self, package: str) -> None:
        self.package = package

    @cache  # noqa: B019 (one finder a process)
    def table(self) -> dict[str, dict[str, str]]:
        """Old module -> new one, and old full name -> new full name where more than the module changed."""
        return json.loads((data_dir() / "moved.json").read_text(encoding="utf-8"))

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A stand-in for a module that has moved; None for all others."""
        package, _, old = name.partition(".")
        known = package == self.package and old in self.table()["modules"]
        return ModuleSpec(name, self) if known else None

    def exec_module(self, module: ModuleType) -> None:
        """Let the stand-in look its names up."""
        old = module.__name__.partition(".")[2]

        def get(name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            now = self.table()["names"].get(f"{old}.{name}", f"{self.table()['modules'][old]}.{name}")
            home, _, name_now = f"{self.package}.{now}".rpartition(".")
            found = getattr(import_module(home), name_now)
            said = f"{module.__name__}.{name} is {home}.{name_now} since 0.2; the old name goes with 0.3"
            warnings.warn(said, DeprecationWarning, stacklevel=2)
            return found

        module.__getattr__ = get
