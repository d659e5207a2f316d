"""`malaria`: single red blood cells cut out of thin blood smears, with the parasite or without.

Where: U.S. National Library of Medicine, https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip (Rajaraman et
al. 2018, PeerJ 6:e4568). 27,558 images, half of them infected; 353 MB. Licence: free for research, with citation (U.S.
National Library of Medicine). `kpl datasets get malaria` downloads and checks it: the SHA-256 is the one that
TensorFlow Datasets pins for the same address.

The paper evaluates all images. The file name begins with the patient's slide, so `groups` is known: cells of one
patient stand in both classes and must not be split between training and test. Copies of the set carry a stray
`Thumbs.db` in each class, and some a second `cell_images` inside the first; both are left out.
"""

import re
from pathlib import Path

from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import load_class_folders

CLASSES = ("parasitized red blood cell", "uninfected red blood cell")
FOLDERS = ("Parasitized", "Uninfected")
PATIENT = re.compile(r"(C\d+[A-Za-z0-9]*?)_?thin", re.IGNORECASE)
CARDS = (
    DatasetCard(
        "malaria",
        "red blood cells: parasitized, uninfected",
        "https://lhncbc.nlm.nih.gov/LHC-research/LHC-projects/image-processing/malaria-datasheet.html",
        "free for research, with citation (U.S. National Library of Medicine)",
        "353 MB",
        "cell_images/Parasitized/*.png and cell_images/Uninfected/*.png",
        CLASSES,
        {"": 27_558, "all": 27_558},
        (
            Archive(
                "cell_images.zip",
                "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip",
                "sha256:0a949556b2414159b5100192609805376654c4266d8d187be9b1922fad43c668",
            ),
        ),
    ),
)


def load(name: str, root: str | Path) -> ImageDataset:
    """Read the cells.

    Args:
        name: `malaria`.
        root: the folder that holds `cell_images`, or that folder.

    Returns:
        All images, with `groups` (`C33P1` of `C33P1thinF_IMG_..._cell_179.png`) where every name gives one.

    Raises:
        InputError: if a class folder is missing or empty.
    """
    places = ("", "cell_images", "cell_images/cell_images")
    return load_class_folders(name, root, places, FOLDERS, CLASSES, patient)


def patient(path: Path) -> str | None:
    """The patient of a cell; None where the name does not say.

    Example:
        >>> patient(Path("C33P1thinF_IMG_20150619_114756a_cell_179.png")), patient(Path("C1_thinF_IMG_1.png"))
        ('C33P1', 'C1')
    """
    match = PATIENT.match(path.name)
    return match and match[1]
