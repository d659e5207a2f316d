"""`idrid`: fundus photographs in five grades of diabetic retinopathy (Indian Diabetic Retinopathy Image Dataset).

Where: IEEE DataPort, https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid
(doi:10.21227/H25W98; Porwal et al. 2018, Data 3(3), 25). Part "B. Disease Grading", about 0.4 GB: 413 training and 103
testing images of 4288 x 2848 pixels. Licence: CC BY 4.0. A free account is needed:
`kpl datasets get` says the steps.

The paper evaluates both parts, 516 images. Numbers such as `IDRiD_001` stand in both parts and mean different eyes.
"""

from pathlib import Path

from kpl_lib.datasets.base import DatasetCard, ImageDataset
from kpl_lib.datasets.files import file_dataset, find_folder
from kpl_lib.datasets.lists import listed_files, read_table, whole_number

OUTER = "B. Disease Grading"
PARTS = {
    "train": ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv"),
    "test": ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv"),
}


def load(card: DatasetCard, root: str | Path, split: str | None = None) -> ImageDataset:
    """Read the graded photographs.

    Args:
        card: what is known about the set.
        root: the folder that holds "B. Disease Grading", or that folder.
        split: None and `all` are both parts, training first; `train` and `test` one of them.

    Returns:
        Images in the order of the tables; the label is the retinopathy grade, 0 to 4.

    Raises:
        InputError: for a missing table or image, and a grade that is none; names the line.
    """
    base = find_folder(root, (OUTER, f"{OUTER}/{OUTER}", "."), card.layout)
    find_folder(base, ("1. Original Images",), card.layout)
    part = PARTS.get(split)
    paths, labels = [], []
    for folder, file in [part] if part else PARTS.values():
        table, images = base / "2. Groundtruths" / file, base / "1. Original Images" / folder
        rows = read_table(table, ("Image name", "Retinopathy grade"))
        paths += listed_files(table, images, [(line, f"{row['image name']}.jpg") for line, row in rows])
        labels += [whole_number(table, line, row["retinopathy grade"], 0, 4) for line, row in rows]
    name = f"{card.name}/{split}" if part else card.name
    return file_dataset(name, base, paths, card.class_names, labels)
