"""Sets that keep one folder a class.

`malaria`: Rajaraman et al. 2018, PeerJ 6:e4568; the SHA-256 is the one that TensorFlow Datasets pins for the same
address. The file name begins with the patient's slide, so `groups` is known: cells of one patient stand in both classes
and must not be split between training and test. Copies of the set carry a stray `Thumbs.db` in each class, and some a
second `cell_images` inside the first; both are left out.

`cataract`: its labels come without a reference or a protocol; do not pass the images on before you read its licence.

The paper evaluates all images of both. Sources, licences, numbers, and how to get them stand in `data/datasets.json`.
"""

import re
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, list_folder, need_folder

#: Name -> the folder around the class folders, and the class folders in label order.
FOLDERS = {
    "malaria": ("cell_images", ("Parasitized", "Uninfected")),
    "cataract": ("dataset", ("1_normal", "2_cataract", "2_glaucoma", "3_retina_disease")),
}
PATIENT = {"malaria": re.compile(r"(C\d+[A-Za-z0-9]*?)_?thin", re.IGNORECASE)}  # `C33P1thinF_IMG_..._179.png`


def load(card: DatasetCard, root: str | Path) -> ImageDataset:
    """Read one folder a class, in the order of names; with `groups` where every name gives its patient.

    Args:
        root: the folder that holds the outer folder (`cell_images`, `dataset`), or that folder.

    Raises:
        InputError: if a class folder is missing or empty.
    """
    outer, folders = FOLDERS[card.name]
    root = need_folder(root)
    places = (root, root / outer, root / outer / outer)
    base = next((place for place in places if any((place / folder).is_dir() for folder in folders)), None)
    if base is None:
        raise InputError(f"{root}: none of the class folders in it; expected {card.layout}")
    paths, labels = [], []
    for label, folder in enumerate(folders):
        found = list_folder(base / folder).images
        if not found:
            raise InputError(f"{base / folder}: no images in it; copy them again from the source")
        paths += found
        labels += [label] * len(found)
    names = [card.name in PATIENT and PATIENT[card.name].match(path.name) for path in paths]
    groups = [name[1] for name in names] if all(names) else None
    return file_dataset(card.name, base, paths, card.class_names, labels, groups)
