"""`shenzhen` and `montgomery`: frontal chest radiographs, normal or with signs of tuberculosis.

Where: U.S. National Library of Medicine, https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/
(Jaeger et al. 2014, Quantitative Imaging in Medicine and Surgery 4(6), 475-477). Shenzhen: 662 images (326 normal, 336
with tuberculosis), 3 to 4 GB. Montgomery County: 138 images (80 normal, 58 with tuberculosis), about 0.6 GB.
Licence: free for research and education with the citations that the source asks for; the images are not part of this
book. They lie there as single files, without checksums: download them by hand, as `kpl datasets get` says.

The label is the last digit of the file name: `CHNCXR_0001_0.png` is normal, `CHNCXR_0327_1.png` is not. The paper
evaluates all of them.
"""

import re
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder, list_folder

CLASSES = ("normal", "tuberculosis")
HOME = "https://data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/"
PREFIX = {"shenzhen": "CHNCXR", "montgomery": "MCUCXR"}
FOLDERS = {"shenzhen": "ChinaSet_AllFiles", "montgomery": "MontgomerySet"}


def _card(name: str, place: str, images: int, size: str, archive: str) -> DatasetCard:
    folder, first = FOLDERS[name], f"{PREFIX[name]}_0001_0"
    return DatasetCard(
        name,
        f"chest radiographs of {place}: normal, tuberculosis",
        HOME,
        "free for research and education, with citation (U.S. National Library of Medicine)",
        size,
        f"{folder}/CXR_png/{first}.png, ... and {folder}/ClinicalReadings/{first}.txt, ...",
        CLASSES,
        {"": images, "all": images},
        (Archive(archive),),
        (
            f"open {HOME} and the set of {place}",
            f"download CXR_png and ClinicalReadings into ROOT/{folder}",
            f"if you have {archive} from elsewhere: kpl datasets get {name} --root ROOT --archive {archive}",
        ),
    )


CARDS = (
    _card("shenzhen", "Shenzhen No. 3 Hospital", 662, "3 to 4 GB", "ChinaSet_AllFiles.zip"),
    _card("montgomery", "Montgomery County", 138, "about 0.6 GB", "NLM-MontgomeryCXRSet.zip"),
)


def load(name: str, root: str | Path) -> ImageDataset:
    """Read the radiographs; the last digit of a name is the label.

    Args:
        name: `shenzhen` or `montgomery`.
        root: the folder that holds `ChinaSet_AllFiles` or `MontgomerySet`, or one of these, or `CXR_png` itself.

    Returns:
        All images, in the order of their names.

    Raises:
        InputError: for an image whose name gives no label, and for a clinical reading without its image.
    """
    folder = _image_folder(name, Path(root))
    pattern = re.compile(rf"{PREFIX[name]}_\d+_([01])\.png", re.IGNORECASE)
    paths = list_folder(folder).images
    if not paths:
        raise InputError(f"{folder}: no images in it; copy {PREFIX[name]}_0001_0.png and so on there")
    labels = []
    for path in paths:
        match = pattern.fullmatch(path.name)
        if match is None:
            raise InputError(
                f"{path}: not named {PREFIX[name]}_NUMBER_0.png or ..._1.png, so its label is unknown; take it away"
            )
        labels.append(int(match[1]))
    _match_readings(folder, {path.stem for path in paths})
    return file_dataset(name, folder, paths, CLASSES, labels)


def _image_folder(name: str, root: Path) -> Path:
    """Where the images lie; the root may be that folder."""
    if root.name == "CXR_png":
        return root
    outer = FOLDERS[name]
    return find_folder(root, (f"{outer}/CXR_png", "CXR_png", f"{outer}/{outer}/CXR_png"), f"{outer}/CXR_png")


def _match_readings(folder: Path, stems: set[str]) -> None:
    """Every clinical reading needs its image: else the copy is not complete."""
    readings = folder.parent / "ClinicalReadings"
    if not readings.is_dir():
        return
    texts = [path for path in list_folder(readings).others if path.suffix == ".txt"]
    lost = sorted(path.stem for path in texts if path.stem not in stems)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InputError(f"{folder / lost[0]}.png{more}: missing, though its reading is there; copy it again")
