"""Small files in the layouts of the original datasets."""

import numpy as np
import scipy.io
from PIL import Image

SHADES = iter(range(10**9))


def put(path, size=(4, 3)):
    """One small image whose pixels no other has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(next(SHADES)).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, format="JPEG" if path.suffix.lower() == ".jpeg" else None)
    return path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def chest(root, name, normal=2, abnormal=1):
    outer, prefix = {"shenzhen": ("ChinaSet_AllFiles", "CHNCXR"), "montgomery": ("MontgomerySet", "MCUCXR")}[
        name
    ]
    for number in range(1, normal + abnormal + 1):
        stem = f"{prefix}_{number:04d}_{int(number > normal)}"
        put(root / outer / "CXR_png" / f"{stem}.png")
        write(root / outer / "ClinicalReadings" / f"{stem}.txt", "male 45yrs\nnormal\n")
    write(root / outer / "CXR_png" / "Thumbs.db", "\0")
    return root


def idrid(root, train=(2, 0, 4), test=(1, 3)):
    base = root / "B. Disease Grading"
    for folder, table, grades in (
        ("a. Training Set", "a. IDRiD_Disease Grading_Training Labels.csv", train),
        ("b. Testing Set", "b. IDRiD_Disease Grading_Testing Labels.csv", test),
    ):
        lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,"]
        for number, grade in enumerate(grades, 1):
            put(base / "1. Original Images" / folder / f"IDRiD_{number:03d}.jpg")
            lines.append(f"IDRiD_{number:03d},{grade},1,,,,,,,,,")
        write(base / "2. Groundtruths" / table, "\r\n".join([*lines, ",,,,,,,,,,,", ""]))
    return root


def malaria(root, doubled=True):
    names = {
        "Parasitized": (
            "C33P1thinF_IMG_20150619_114756a_cell_179.png",
            "C100P61ThinF_IMG_20150918_144104_cell_162.png",
        ),
        "Uninfected": (
            "C1_thinF_IMG_20150604_104722_cell_9.png",
            "C33P1thinF_IMG_20150619_114756a_cell_60.png",
        ),
    }
    for outer in ("cell_images", "cell_images/cell_images") if doubled else ("cell_images",):
        for folder, files in names.items():
            for file in files:
                put(root / outer / folder / file)
            write(root / outer / folder / "Thumbs.db", "\xd0\xcf")
    return root


def cataract(root):
    for folder, prefix in (
        ("1_normal", "NL"), ("2_cataract", "cataract"), ("2_glaucoma", "Glaucoma"), ("3_retina_disease", "Retina"),
    ):  # fmt: skip
        for number in (1, 2):
            put(root / "dataset" / folder / f"{prefix}_{number:03d}.png")
    return root


def cub(root):
    base = root / "CUB_200_2011"
    classes = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    images, labels, splits = [], [], []
    for number in range(1, 7):
        label = (number - 1) // 2
        file = f"{classes[label]}/{classes[label][4:]}_{number:04d}_{number}.jpg"
        put(base / "images" / file)
        images.append(f"{number} {file}")
        labels.append(f"{number} {label + 1}")
        splits.append(f"{number} {number % 2}")
    write(base / "images.txt", "\n".join(images) + "\n")
    write(base / "image_class_labels.txt", "\n".join(labels) + "\n")
    write(base / "train_test_split.txt", "\n".join(splits) + "\n")
    write(base / "classes.txt", "\n".join(f"{i} {name}" for i, name in enumerate(classes, 1)) + "\n")
    return root


def places(root):
    write(
        root / "categories_places365.txt",
        "/a/airfield 0\n/a/airplane_cabin 1\n/a/apartment_building/outdoor 2\n",
    )
    rows = [(1, 2), (2, 0), (3, 1)]
    write(root / "places365_val.txt", "".join(f"Places365_val_{i:08d}.jpg {label}\n" for i, label in rows))
    for i, _ in rows:
        put(root / "val_256" / f"Places365_val_{i:08d}.jpg")
    return root


def pets(root):
    base = root / "oxford-iiit-pet"
    lists = {"trainval": [("Abyssinian_100", 1, 1, 1), ("american_bulldog_11", 2, 2, 1)]}
    lists["test"] = [
        ("Abyssinian_201", 1, 1, 1),
        ("yorkshire_terrier_9", 37, 2, 25),
        ("Egyptian_Mau_7", 12, 1, 6),
    ]
    for name, rows in lists.items():
        write(base / "annotations" / f"{name}.txt", "".join(" ".join(map(str, row)) + "\n" for row in rows))
        for stem, *_ in rows:
            put(base / "images" / f"{stem}.jpg")
    return root


WNIDS = ("n01440764", "n01443537", "n02123045")  # tench, goldfish, tabby: labels 0, 1, 281


def imagenet_folders(root):
    for wnid in WNIDS:
        put(root / "val" / wnid / "ILSVRC2012_val_00000001.JPEG")
    return root


def imagenet_kit(root):
    """Flat images; the kit numbers its classes in another order than the labels."""
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    for number in (1, 2, 3, 4):
        put(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG")
    write(kit / "ILSVRC2012_validation_ground_truth.txt", "1\n3\n2\n1\n")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(1, WNIDS[2]), (2, WNIDS[0]), (3, WNIDS[1]), (1001, "n00001740")]
    synsets = np.array([(i, wnid, "words", "gloss", int(i > 1000)) for i, wnid in rows], dtype=kind)
    scipy.io.savemat(kit / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    return root


def imagenet_kaggle(root):
    folder = root / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    lines = ["ImageId,PredictionString"]
    for number, wnid in enumerate(WNIDS, 1):
        put(folder / f"ILSVRC2012_val_{number:08d}.JPEG")
        lines.append(f"ILSVRC2012_val_{number:08d},{wnid} 85 1 499 272 {wnid} 1 2 3 4")
    write(root / "LOC_val_solution.csv", "\n".join(lines) + "\n")
    return root


def medmnist(root, file="pathmnist.npz", size=28, classes=9, colour=True, counts=(6, 4, 9)):
    rng = np.random.default_rng(size)
    arrays = {}
    for split, n in zip(("train", "val", "test"), counts, strict=True):
        shape = (n, size, size, 3) if colour else (n, size, size)
        arrays[f"{split}_images"] = rng.integers(0, 255, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % classes).reshape(n, 1)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / file, **arrays)
    return arrays
