"""Classifiers by name, one file a method, all behind the same interface.

A new one is a dataclass with a `_fit`, made known by `@register("name")`; see the files beside this one.
"""

from kpl_lib.classifiers import (  # noqa: F401 (importing a method makes its name known)
    calip,
    clip,
    cupl,
    description_vote,
    inmap,
    inmap_sinkhorn,
    kpl,
    kpl_adaptive,
    kpl_closed_form,
    kpl_em,
    kpl_released,
    otter,
    sinkhorn_labels,
    ss_text,
    stata,
    transclip,
    waffle,
    zlap,
)
from kpl_lib.classifiers.base import Classifier, Prediction, available, create, register

__all__ = ["Classifier", "Prediction", "available", "create", "register"]
