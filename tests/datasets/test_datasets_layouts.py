"""Each dataset is read in the layout of its original, and says what is wrong with a copy."""

import shutil

import dataset_layouts as layouts
import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.datasets import FAMILIES, available, card, class_names_of, load_dataset
from kpl_lib.datasets.names import class_names
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge.files import known_names


def names(dataset):
    return [path.rsplit("/", 1)[1] for path in dataset.paths]


def readable(dataset):
    return all(image.mode == "RGB" for image, _ in dataset)


@pytest.mark.parametrize("name", ["shenzhen", "montgomery"])
def test_chest_radiographs_by_the_last_digit(tmp_path, name):
    root = layouts.chest(tmp_path, name)
    dataset = load_dataset(name, root)
    assert (dataset.labels, dataset.class_names) == ([0, 0, 1], ("normal", "tuberculosis"))
    assert readable(dataset) and len(load_dataset(name, root, split="all")) == 3
    inner = next(root.iterdir())
    for other in (inner, inner / "CXR_png"):
        again = load_dataset(name, other)
        assert (again.labels, again.fingerprint) == (dataset.labels, dataset.fingerprint)


def test_chest_copies_that_are_not_whole(tmp_path):
    root = layouts.chest(tmp_path, "shenzhen")
    folder = root / "ChinaSet_AllFiles" / "CXR_png"
    (folder / "CHNCXR_0002_0.png").unlink()
    with pytest.raises(InputError, match=r"CHNCXR_0002_0\.png: missing, though its reading is there"):
        load_dataset("shenzhen", root)
    layouts.put(folder / "CHNCXR_0002_0 (1).png")
    with pytest.raises(InputError, match=r"0002_0 .1.\.png: not named CHNCXR_NUMBER_0"):
        load_dataset("shenzhen", root)
    with pytest.raises(InputError, match="no MontgomerySet/CXR_png or CXR_png"):
        load_dataset("montgomery", root)


def test_idrid_in_both_parts(tmp_path):
    root = layouts.idrid(tmp_path)
    whole = load_dataset("idrid", root)
    assert whole.labels == [2, 0, 4, 1, 3] and readable(whole)
    assert names(whole)[0] == names(whole)[3] == "IDRiD_001.jpg" and len(set(whole.paths)) == 5
    assert load_dataset("idrid", root, split="train").labels == [2, 0, 4]
    test = load_dataset("idrid", root / "B. Disease Grading", split="test")
    assert (test.labels, test.name) == ([1, 3], "idrid/test")
    assert test.fingerprint != whole.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("IDRiD_002,0", "IDRiD_002,5", "line 3: '5' is no number from 0 to 4"),
        ("IDRiD_002,0", "IDRiD_002,", "line 3: '' is no number"),
        ("IDRiD_002,0", "IDRiD_009,0", r"line 3 names .*IDRiD_009\.jpg, which is missing"),
        ("IDRiD_002,0", "IDRiD_001,0", "lines 2 and 3 name the same file"),
        ("IDRiD_002,0", "../../x,0", "line 3 names .*outside"),
        ("Retinopathy grade", "Grade", "no column 'Retinopathy grade'"),
        ("IDRiD_002,0,1", 'IDRiD_002,0,"1', "mend the table"),
    ],
)
def test_idrid_tables_name_the_line(tmp_path, old, new, said):
    root = layouts.idrid(tmp_path)
    table = next(root.rglob("a. IDRiD*.csv"))
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(InputError, match=said) as caught:
        load_dataset("idrid", root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("doubled", [False, True])
def test_malaria_once_with_its_patients(tmp_path, doubled):
    root = layouts.malaria(tmp_path, doubled)
    dataset = load_dataset("malaria", root)
    assert (len(dataset), dataset.labels) == (4, [0, 0, 1, 1])
    assert dataset.groups == ["C100P61", "C33P1", "C1", "C33P1"]
    assert not any("cell_images/cell_images" in path for path in dataset.paths)
    assert load_dataset("malaria", root / "cell_images").paths == dataset.paths
    shutil.rmtree(root / "cell_images" / "Uninfected")
    with pytest.raises(InputError, match="Uninfected: no such folder"):
        load_dataset("malaria", root)


def test_malaria_patients_are_all_known_or_none(tmp_path):
    root = layouts.malaria(tmp_path, doubled=False)
    layouts.put(root / "cell_images" / "Uninfected" / "copy.png")
    assert load_dataset("malaria", root).groups is None


def test_cataract_in_four_folders(tmp_path):
    dataset = load_dataset("cataract", layouts.cataract(tmp_path))
    assert dataset.labels == [0, 0, 1, 1, 2, 2, 3, 3] and readable(dataset)
    assert "1_normal" in dataset.paths[0] and "3_retina_disease" in dataset.paths[7]
    shutil.rmtree(tmp_path / "dataset")
    with pytest.raises(InputError, match=r"none of the class folders.*dataset/1_normal"):
        load_dataset("cataract", tmp_path)


def test_cub_by_its_index_files(tmp_path):
    root = layouts.cub(tmp_path)
    test, train, whole = (load_dataset("cub", root, split=split) for split in (None, "train", "all"))
    assert (test.labels, train.labels, whole.labels) == ([0, 1, 2], [0, 1, 2], [0, 0, 1, 1, 2, 2])
    assert test.class_names == class_names("cub")[:3] and readable(test)
    assert names(test)[0] == "Black_footed_Albatross_0002_2.jpg"
    with pytest.raises(InputError, match="no split 'val'; it has all, train, test"):
        load_dataset("cub", root, split="val")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("images.txt", "2 001", "2 ../001", "line 2 names .*outside"),
        ("images.txt", "Albatross_0002_2", "Albatross_2", "line 2 names .*missing"),
        ("images.txt", "2 001", "1 001", "image 1 stands twice"),
        ("image_class_labels.txt", "2 1", "2 4", "line 2: '4' is no number from 1 to 3"),
        ("train_test_split.txt", "2 0\n", "", "image 2 stands in it or in images.txt, not in both"),
        ("classes.txt", "3 003", "7 003", "not numbered 1, 2, 3"),
    ],
)
def test_cub_index_files_that_do_not_fit(tmp_path, file, old, new, said):
    path = layouts.cub(tmp_path) / "CUB_200_2011" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=said):
        load_dataset("cub", tmp_path)


def test_places_by_the_validation_list(tmp_path):
    root = layouts.places(tmp_path)
    dataset = load_dataset("places365", root)
    assert dataset.labels == [2, 0, 1] and readable(dataset)
    assert dataset.class_names == ("airfield", "airplane cabin", "outdoor apartment building")
    (root / "val_256" / "Places365_val_00000002.jpg").unlink()
    with pytest.raises(InputError, match=r"line 2 names .*00000002\.jpg, which is missing"):
        load_dataset("places365", root)
    (root / "places365_val.txt").unlink()
    with pytest.raises(InputError, match=r"places365_val\.txt: no such file"):
        load_dataset("places365", root)


def test_pets_as_torchvision_reads_them(tmp_path):
    from torchvision.datasets import OxfordIIITPet

    root = layouts.pets(tmp_path)
    for split, theirs in ((None, "test"), ("test", "test"), ("trainval", "trainval"), ("train", "trainval")):
        dataset, reference = load_dataset("oxford-pets", root, split=split), OxfordIIITPet(root, theirs)
        assert dataset.labels == reference._labels and dataset.paths == tuple(map(str, reference._images))
    assert len(load_dataset("oxford-pets", root, split="all")) == 5
    assert dataset.class_names[36] == "Yorkshire Terrier" and len(dataset.class_names) == 37
    listed = root / "oxford-iiit-pet" / "annotations" / "test.txt"
    listed.write_text(listed.read_text().replace("Egyptian_Mau_7 12", "Egyptian_Mau_7 13"))
    with pytest.raises(InputError, match="line 3 calls Egyptian_Mau_7 class 13, English Cocker Spaniel"):
        load_dataset("oxford-pets", root)


def test_imagenet_in_three_layouts(tmp_path):
    folders = load_dataset("imagenet", layouts.imagenet_folders(tmp_path / "a"))
    kit = load_dataset("imagenet", layouts.imagenet_kit(tmp_path / "b"))
    kaggle = load_dataset("imagenet", layouts.imagenet_kaggle(tmp_path / "c"))
    assert (folders.labels, kit.labels, kaggle.labels) == ([0, 1, 281], [281, 1, 0, 281], [0, 1, 281])
    assert folders.class_names == class_names("imagenet") and readable(kit)
    assert folders.class_names[281] == "tabby cat"


def test_imagenet_copies_that_do_not_fit(tmp_path):
    layouts.put(layouts.imagenet_folders(tmp_path / "a") / "val" / "n99999999" / "a.JPEG")
    with pytest.raises(InputError, match="n99999999: not one of the 1000 WordNet numbers"):
        load_dataset("imagenet", tmp_path / "a")
    (layouts.imagenet_kit(tmp_path / "b") / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    with pytest.raises(InputError, match="4 labels for 3 images"):
        load_dataset("imagenet", tmp_path / "b")
    (tmp_path / "b" / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 9)
    with pytest.raises(InputError, match=r"meta\.mat: not the table of the development kit"):
        load_dataset("imagenet", tmp_path / "b")
    table = layouts.imagenet_kaggle(tmp_path / "c") / "LOC_val_solution.csv"
    table.write_text(table.read_text().replace("n02123045 85", "n00000000 85"))
    with pytest.raises(InputError, match="line 4: 'n00000000' is no class"):
        load_dataset("imagenet", tmp_path / "c")


def test_csv_with_labels_and_groups(tmp_path):
    for file in ("a.png", "sub/b.png", "c é.png"):
        layouts.put(tmp_path / file)
    rows = 'path,label,group\na.png,tb,p1\nsub/b.png,normal,p2\n"c é.png",tb,p1\n'
    table = layouts.write(tmp_path / "set.csv", "\ufeff" + rows)
    dataset = load_dataset("csv", table)
    assert (dataset.labels, dataset.class_names) == ([1, 0, 1], ("normal", "tb"))
    assert dataset.groups == ["p1", "p2", "p1"] and readable(dataset)
    assert load_dataset("csv", table, classes=["tb", "normal", "x"]).labels == [0, 1, 0]
    layouts.write(table, "path,label\na.png,10\nsub/b.png,9\n")
    assert load_dataset("csv", table).class_names == ("9", "10")
    layouts.write(table, "path\na.png\n")
    assert (load_dataset("csv", table).labels, load_dataset("csv", table).groups) == (None, None)


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ("path,label\na.png,\n", {}, "line 2 has no label"),
        ("path,label\n,tb\n", {}, "line 2 has no path"),
        (
            "path,label\na.png,tb\nb.png,tb\nz.png,tb\n",
            {},
            r"line 3 names .*b\.png, which is missing, and 1 more",
        ),
        ("path,label\na.png,tb\na.png,tb\n", {}, "lines 2 and 3 name the same file"),
        ("path,label\na.png,tb,p1\n", {}, "line 2 has more values"),
        ("file,label\na.png,tb\n", {}, "no column 'path'"),
        ("path,path\na.png,a.png\n", {}, "more than one column 'path'"),
        ("path,label\n", {}, "no rows"),
        ("path,label\na.png,tb\n", {"classes": ["normal"]}, "label 'tb' is none of normal"),
        ("path,label\na.png,tb\n", {"split": "test"}, "no split 'test'"),
        ("path,label\na.png,tb\n", {"labelled": True}, "labelled"),
    ],
)
def test_csv_faults_name_the_line(tmp_path, rows, options, said):
    layouts.put(tmp_path / "a.png")
    with pytest.raises(InputError, match=said):
        load_dataset("csv", layouts.write(tmp_path / "set.csv", rows), **options)


def test_devices_and_huge_lists_are_refused(tmp_path, monkeypatch):
    for path, said in (("/dev/zero", "a device or pipe"), (tmp_path, "a folder, not a file")):
        with pytest.raises(InputError, match=said):
            load_dataset("csv", path)
    monkeypatch.setattr("kpl_lib.datasets.lists.MAX_BYTES", 20)
    with pytest.raises(InputError, match="no list; name another file"):
        load_dataset("csv", layouts.write(tmp_path / "set.csv", "path\n" + "a" * 30))
    (tmp_path / "set.csv").write_bytes(b"path\n\xff.png\n")
    with pytest.raises(InputError, match="line 2, byte 1 is not UTF-8"):
        load_dataset("csv", tmp_path / "set.csv")


def test_class_names_are_those_of_the_knowledge_that_ships():
    shared = [name for name in available() if name in known_names() and name in FAMILIES]
    assert {"shenzhen", "idrid", "malaria", "cataract", "oxford-pets", "medmnist-path"} <= set(shared)
    assert {n: class_names_of(n) for n in shared} == {n: KnowledgeBase.load(n).class_names for n in shared}
    for name in ("cub", "places365", "imagenet"):
        assert class_names_of(name) == class_names(name)


def test_each_card_says_where_how_many_and_how():
    for name in FAMILIES:
        facts = card(name)
        assert facts.home.startswith("http") and facts.licence and facts.layout and len(facts.class_names) > 1
        assert facts.direct or facts.steps
        assert all(
            a.checksum is None or a.checksum.split(":")[0] in ("md5", "sha256") for a in facts.archives
        )
    evaluated = ("shenzhen", "montgomery", "idrid", "malaria", "cataract", "cub", "places365", "imagenet")
    assert [card(n).images[""] for n in evaluated] == [662, 138, 516, 27_558, 601, 5_794, 36_500, 50_000]


def test_checksums_are_those_of_torchvision():
    from torchvision.datasets import OxfordIIITPet, Places365
    from torchvision.datasets.imagenet import ARCHIVE_META

    ours = {a.url: a.checksum for name in ("oxford-pets", "places365") for a in card(name).archives}
    theirs = dict(OxfordIIITPet._RESOURCES)
    lists, images = Places365._DEVKIT_META["standard"], Places365._IMAGES_META["val", True]
    theirs |= {Places365._BASE_URL + file: md5 for file, md5 in (lists, images)}
    assert ours == {url: f"md5:{md5}" for url, md5 in theirs.items()}
    assert [(a.file, a.checksum) for a in card("imagenet").archives] == [
        (ARCHIVE_META[part][0], f"md5:{ARCHIVE_META[part][1]}") for part in ("val", "devkit")
    ]


def test_a_dataset_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("KPL_DATA", str(tmp_path))
    with pytest.raises(InputError, match="run `kpl datasets get cataract`"):
        load_dataset("cataract")
    layouts.cataract(tmp_path / "cataract")
    assert len(load_dataset("cataract")) == 8
    with pytest.raises(InputError, match="no split 'test'; it has all"):
        load_dataset("cataract", split="test")
    with pytest.raises(InputError, match="unknown variant 'big'; known: none"):
        load_dataset("cataract/big")
