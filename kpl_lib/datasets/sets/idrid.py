"""`idrid`: fundus photographs in five grades of diabetic retinopathy (Indian Diabetic Retinopathy Image Dataset).

Where: IEEE DataPort, https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid
(doi:10.21227/H25W98; Porwal et al. 2018, Data 3(3), 25). Part "B. Disease Grading", about 0.4 GB: 413 training and 103
testing images of 4288 x 2848 pixels. Licence: CC BY 4.0. A free account is needed:
`kpl datasets get` says the steps.

The paper evaluates both parts, 516 images. Numbers such as `IDRiD_001` stand in both parts and mean different eyes.
"""

from pathlib import Path

from kpl_lib.datasets.base import Archive, DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import inside, need_files, read_table, whole_number

CLASSES = (
    "no diabetic retinopathy",
    "mild nonproliferative diabetic retinopathy",
    "moderate nonproliferative diabetic retinopathy",
    "severe nonproliferative diabetic retinopathy",
    "proliferative diabetic retinopathy",
)
OUTER = "B. Disease Grading"
PARTS = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}
LAYOUT = (
    f"{OUTER}/1. Original Images/a. Training Set and b. Testing Set, and "
    f"{OUTER}/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv and b. ..._Testing Labels.csv"
)
CARDS = (
    DatasetCard(
        "idrid",
        "fundus photographs: five grades of diabetic retinopathy",
        "https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
        "CC BY 4.0",
        "about 0.4 GB",
        LAYOUT,
        CLASSES,
        {"": 516, "all": 516, "train": 413, "test": 103},
        (Archive("B. Disease Grading.zip"),),
        (
            "open the home page and sign in (the account is free)",
            "download B. Disease Grading.zip",
            'kpl datasets get idrid --root ROOT --archive "B. Disease Grading.zip"',
        ),
    ),
)


def load(name: str, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the graded photographs.

    Args:
        name: `idrid`.
        root: the folder that holds "B. Disease Grading", or that folder.
        split: None and `all` are both parts, training first; `train` and `test` one of them.

    Returns:
        Images in the order of the tables; the label is the retinopathy grade, 0 to 4.

    Raises:
        InputError: for a missing table or image, and a grade that is none; names the line.
    """
    key = CARDS[0].check_split(split)
    base = find_folder(root, (OUTER, f"{OUTER}/{OUTER}", "."), LAYOUT)
    find_folder(base, ("1. Original Images",), LAYOUT)
    paths, labels = [], []
    for part in PARTS if key in ("", "all") else (key,):
        found, grades = _part(base, *PARTS[part])
        paths += found
        labels += grades
    return file_dataset(name if key in ("", "all") else f"{name}/{key}", base, paths, CLASSES, labels)


def _part(base: Path, folder: str, table: str) -> tuple[list[Path], list[int]]:
    """Images and grades of one part."""
    table, images = base / "2. Groundtruths" / table, base / "1. Original Images" / folder
    rows = read_table(table, ("Image name", "Retinopathy grade"))
    found = [(line, inside(table, line, images, f"{row['image name']}.jpg")) for line, row in rows]
    need_files(table, found)
    grades = [whole_number(table, line, row["retinopathy grade"], 0, 4) for line, row in rows]
    return [path for _, path in found], grades
