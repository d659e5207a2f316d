"""Classifiers by name, a file a family, all behind the same interface.

A new one is a dataclass with a `_fit`, made known by `@register("name")`; see the files beside this one. Public:
create, available, register, Classifier, Prediction. May import: the files of the method, solvers, common; never files
of images, encoders or knowledge.
"""

from importlib import import_module
from pkgutil import iter_modules

from kpl_lib.classifiers.base import Classifier, available, create, register
from kpl_lib.prediction import Prediction

__all__ = ["Classifier", "Prediction", "available", "create", "register"]

for file in iter_modules(__path__):  # importing the file of a method makes its name known to `create`
    import_module(f"{__name__}.{file.name}")
