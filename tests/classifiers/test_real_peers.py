"""Every method on three real sets, as data/results/peers_real.csv lists it; measured again where the features are.

`KPL_PEERS_OUT=FILE python -m pytest tests/classifiers/test_real_peers.py -m slow` writes the table anew to FILE.
"""

import os
import warnings
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

from kpl_lib.classifiers import available, create
from kpl_lib.classifiers.oga import expected_tail
from kpl_lib.common.files import data_dir
from kpl_lib.features import Features, TextBank
from kpl_lib.metrics import accuracy, balanced_accuracy

TABLE = data_dir() / "results" / "peers_real.csv"
KEYS = ["set", "classifier", "text"]
FILES = {
    "natural7": "real/natural7_clip_vitb32.npz",
    "pathmnist1000": "real/pathmnist1000_clip_vitb16.npz",
    "cifar10": "real/cifar10_clip_vitb32.npz",
}
# Accuracy and balanced accuracy, %, of the authors' own code on the same features, from the class names.
RELEASED = {
    ("natural7", "stata"): (97.7, 97.1),
    ("natural7", "transclip"): (97.4, 96.8),
    ("natural7", "zlap"): (91.1, 89.5),
    ("natural7", "ss-text"): (98.2, 98.6),
    ("pathmnist1000", "stata"): (19.7, 20.9),
    ("pathmnist1000", "transclip"): (36.4, 35.3),
    ("pathmnist1000", "zlap"): (19.0, 19.0),
    ("pathmnist1000", "ss-text"): (29.8, 28.4),
}
LOOSE = {
    "inmap",
    "inmap-sinkhorn",
    "kpl",
    "kpl-released",
}  # float32 steps: another order of sums is another draw
HEADER = (
    "# Origin: measured for this book on real data, %s, CPU, one thread, torch %s: OpenAI CLIP features of 1,803 "
    "natural images (7 classes, ViT-B/32), of the first 1,000 training images of PathMNIST (9 classes, 28 pixels, "
    "ViT-B/16) and of 500 test images of CIFAR-10 (ViT-B/32). The features are not part of the repository; "
    "tests/classifiers/test_real_peers.py measures the table again where they are.\n"
    "# accuracy, balanced_accuracy: in percent. text: names is one vector a class; only PathMNIST has descriptions "
    "(12 to 48 prompts a class). oga: means over 100 orders; the tails are the means of the worst ten. waffle is left "
    "out: no random words were encoded.\n"
)


def load(path):
    with np.load(path) as file:
        names = tuple(map(str, file["class_names"]))
        images, labels, texts = (
            torch.from_numpy(file[key]) for key in ("image_features", "labels", "text_features")
        )
        described = [torch.from_numpy(file[key]).float() for key in file if key.startswith("descriptions_")]
    bank = TextBank(names, described or list(texts[:, None]), texts.float(), normalize=True)
    return Features(images.float(), labels.long(), names, normalize=True), bank


def runs(bank):
    """Methods with the texts that they are shown on."""
    described = max(bank.counts) > 1
    for name in available():
        first = "all" if described and create(name).text == "all" else "names"
        if name != "waffle":
            yield from ((name, text) for text in ((first, "top-k") if described else (first,)))


def measured(name, text, features, bank):
    """Accuracies in percent, and their tails over 100 orders of a stream."""
    seeds = [{"seed": seed} for seed in range(1, 101)] if name == "oga" else [{}]
    found = [create(name, text=text, **seed).fit_predict(features, bank) for seed in seeds]
    row = {"classifier": name, "text": text, "images": len(features), "classes": len(bank)}
    for key, measure in (("accuracy", accuracy), ("balanced_accuracy", balanced_accuracy)):
        values = [100 * measure(one, features.labels) for one in found]
        row[key] = round(sum(values) / len(values), 2)
        if name == "oga":
            row[f"{key}_tail"] = round(expected_tail(values), 2)
    return row


@pytest.mark.parametrize(("key", "name"), RELEASED)
def test_peers_reach_the_figures_of_their_authors_code(key, name, shared):
    row = measured(name, "names", *load(shared(FILES[key])))
    expected = dict(zip(("accuracy", "balanced_accuracy"), RELEASED[key, name], strict=True))
    for figure, value in expected.items():  # 0.1 where the table was made, 0.3 on another processor
        assert row[figure] == pytest.approx(value, abs=0.3)
        listed = pd.read_csv(TABLE, comment="#").set_index(KEYS).loc[(key, name, "names"), figure]
        assert listed == pytest.approx(value, abs=0.1)


@pytest.mark.parametrize("key", FILES)
def test_the_table_has_every_method_on_a_set_whose_features_are_here(key, shared):
    shared(FILES[key])
    table = pd.read_csv(TABLE, comment="#")
    assert set(table.loc[table["set"] == key, "classifier"]) == set(available()) - {"waffle"}


def test_the_table_has_each_row_once_with_tails_of_streams_and_its_origin():
    table = pd.read_csv(TABLE, comment="#")
    assert set(table["set"]) == set(FILES)
    assert not table.duplicated(KEYS).any()
    streams = table["classifier"] == "oga"
    assert table["accuracy_tail"].notna().equals(streams)
    assert (table["accuracy_tail"] <= table["accuracy"])[streams].all()
    assert "# Origin: measured for this book on real data" in TABLE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_table_is_what_the_methods_say(shared):
    rows = []
    for key in FILES:
        features, bank = load(shared(FILES[key]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # methods that stay, plans that advise
            rows += [{"set": key, **measured(*run, features, bank)} for run in runs(bank)]
    found = pd.DataFrame(rows)
    if "KPL_PEERS_OUT" in os.environ:
        header = HEADER % (date.today().isoformat(), torch.__version__.partition("+")[0])
        with open(os.environ["KPL_PEERS_OUT"], "w", encoding="utf-8") as file:
            file.write(header + found.to_csv(index=False))
        return
    listed = pd.read_csv(TABLE, comment="#")
    assert list(found[KEYS].itertuples(index=False)) == list(listed[KEYS].itertuples(index=False))
    for column in ("accuracy", "balanced_accuracy"):
        apart = (found[column] - listed[column]).abs()
        near = listed["classifier"].map(lambda name: 1.0 if name in LOOSE else 0.3)
        assert (apart <= near).all(), found[apart > near]
