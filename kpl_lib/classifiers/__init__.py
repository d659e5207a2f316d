"""Classifiers by name, one file a method, all behind the same interface.

A new one is a dataclass with a `_fit`, made known by `@register("name")`; see the files beside this one.
"""

from kpl_lib.classifiers import clip, cupl, kpl  # noqa: F401 (importing a method makes its name known)
from kpl_lib.classifiers.base import Classifier, Prediction, available, create, register

__all__ = ["Classifier", "Prediction", "available", "create", "register"]
