"""A folder of images in; a table, a report and a saved model out.

Public: classify_folder, rank_folder, FittedModel. May import: decisions, classifiers, encoders, knowledge, metrics and
what they stand on.
"""

from kpl_lib.own_images.classify import classify_folder, rank_folder
from kpl_lib.own_images.fitted import FittedModel

__all__ = ["FittedModel", "classify_folder", "rank_folder"]
