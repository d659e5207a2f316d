"""`shenzhen` and `montgomery`: frontal chest radiographs, normal or with signs of tuberculosis.

Jaeger et al. 2014, Quantitative Imaging in Medicine and Surgery 4(6), 475-477; source and licence stand in
`data/datasets.json`. They lie there as single files, without checksums: download them by hand.

The label is the last digit of the file name: `CHNCXR_0001_0.png` is normal, `CHNCXR_0327_1.png` is not. The paper
evaluates all of them.
"""

import re
from pathlib import Path

from kpl_lib.common.errors import InputError
from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder, list_folder

#: Name -> folder, and what file names begin with.
SETS = {"shenzhen": ("ChinaSet_AllFiles", "CHNCXR"), "montgomery": ("MontgomerySet", "MCUCXR")}


def load(card: DatasetCard, root: str | Path) -> ImageDataset:
    """Read the radiographs in the order of their names, whose last digit is the label.

    Args:
        root: the folder that holds `ChinaSet_AllFiles` or `MontgomerySet`, or one of these, or `CXR_png` itself.

    Raises:
        InputError: for an image whose name gives no label, and for a clinical reading without its image.
    """
    (outer, prefix), folder = SETS[card.name], Path(root)
    if folder.name != "CXR_png":
        places = (f"{outer}/CXR_png", "CXR_png", f"{outer}/{outer}/CXR_png")
        folder = find_folder(root, places, places[0])
    paths = list_folder(folder).images
    if not paths:
        raise InputError(f"{folder}: no images in it; copy {prefix}_0001_0.png and so on there")
    labels = []
    for path in paths:
        match = re.fullmatch(rf"{prefix}_\d+_([01])\.png", path.name, re.IGNORECASE)
        if match is None:
            raise InputError(f"{path}: not named {prefix}_NUMBER_0.png or ..._1.png; take it away")
        labels.append(int(match[1]))
    _match_readings(folder, {path.stem for path in paths})
    return file_dataset(card.name, folder, paths, card.class_names, labels)


def _match_readings(folder: Path, stems: set[str]) -> None:
    """Every clinical reading needs its image: else the copy is not complete."""
    readings = (folder.parent / "ClinicalReadings").glob("*.txt")
    lost = sorted(path.stem for path in readings if not path.name.startswith(".") and path.stem not in stems)
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise InputError(f"{folder / lost[0]}.png{more}: missing, though its reading is there; copy it again")
