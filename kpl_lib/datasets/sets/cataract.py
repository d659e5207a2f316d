"""`cataract`: fundus photographs: normal, cataract, glaucoma, retina disease.

Where: Kaggle, https://www.kaggle.com/datasets/jr2ngb/cataractdataset. 601 images (300, 100, 101, 100), some GB.
Licence: see its page; do not pass the images on before. An account is needed, so `kpl datasets get` says the steps.
The labels come without a reference or a protocol. The paper evaluates all images.
"""

from pathlib import Path

from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import load_class_folders

CLASSES = ("normal", "cataract", "glaucoma", "retina disease")
FOLDERS = ("1_normal", "2_cataract", "2_glaucoma", "3_retina_disease")
CARDS = (
    DatasetCard(
        "cataract",
        "fundus photographs: normal, cataract, glaucoma, retina disease",
        "https://www.kaggle.com/datasets/jr2ngb/cataractdataset",
        "see the page of the source",
        "some GB",
        "dataset/1_normal, dataset/2_cataract, dataset/2_glaucoma and dataset/3_retina_disease",
        CLASSES,
        {"": 601, "all": 601},
        (Archive("cataractdataset.zip"),),
        (
            "open the home page and sign in",
            "download the archive and call it cataractdataset.zip",
            "kpl datasets get cataract --root ROOT --archive cataractdataset.zip",
        ),
    ),
)


def load(name: str, root: str | Path) -> ImageDataset:
    """Read the photographs.

    Args:
        name: `cataract`.
        root: the folder that holds `dataset`, or that folder.

    Returns:
        All images, class by class.

    Raises:
        InputError: if a class folder is missing or empty.
    """
    return load_class_folders(name, root, ("", "dataset", "dataset/dataset"), FOLDERS, CLASSES)
