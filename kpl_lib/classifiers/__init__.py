"""Classifiers by name, a file a family, all behind the same interface.

A new one is a dataclass with a `_fit`, made known by `@register("name")`; see the files beside this one. Public:
create, available, register, Classifier, Prediction. May import: the files of the method, solvers, common; never files
of images, encoders or knowledge.
"""

from kpl_lib.classifiers import (
    adapt,
    anchored_probe,
    calip,
    centred_text,
    gda,
    inmap,
    kpl,
    kpl_adaptive,
    kpl_em,
    oga,
    otter,
    robust_vote,
    sinkhorn_labels,
    sota,
    ss_text,
    transclip,
    zero_shot,
    zlap,
)
from kpl_lib.classifiers.base import Classifier, available, create, register
from kpl_lib.prediction import Prediction

__all__ = ["Classifier", "Prediction", "available", "create", "register"]

#: The files of methods: importing one makes its names known to `create`.
METHODS = (
    adapt,
    anchored_probe,
    calip,
    centred_text,
    gda,
    inmap,
    kpl,
    kpl_adaptive,
    kpl_em,
    oga,
    otter,
    robust_vote,
    sinkhorn_labels,
    sota,
    ss_text,
    transclip,
    zero_shot,
    zlap,
)
