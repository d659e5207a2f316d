"""Images by number, with names, labels and patients where they are known.

By name (load), from files of many layouts (sets), checked (check), fetched (get). Public: load_dataset, available,
card, class_names_of, ImageDataset. May import: phantoms, common.
"""

from kpl_lib.datasets.base import ImageDataset
from kpl_lib.datasets.load import FAMILIES, available, card, class_names_of, default_root, load_dataset

__all__ = ["FAMILIES", "ImageDataset", "available", "card", "class_names_of", "default_root", "load_dataset"]
