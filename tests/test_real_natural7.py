"""The same library calls on real CLIP features; skipped where the file is absent."""

import numpy as np
import pytest
import torch

from kpl_lib.classifiers import create
from kpl_lib.features import Features, TextBank
from kpl_lib.metrics import accuracy, balanced_accuracy


@pytest.fixture(scope="module")
def natural7(request):
    shared = request.getfixturevalue("shared")
    with np.load(shared("real/natural7_clip_vitb32.npz")) as file:
        names = tuple(str(name) for name in file["class_names"])
        images = torch.from_numpy(file["image_features"]).float()
        labels = torch.from_numpy(file["labels"]).long()
        texts = torch.from_numpy(file["text_features"]).float()
    features = Features(images, labels, names, normalize=True)
    return features, TextBank(names, list(texts[:, None]), texts, normalize=True)


def test_the_text_proxy_has_its_known_accuracy(natural7):
    features, bank = natural7
    prediction = create("clip").fit_predict(features, bank)
    assert 100 * accuracy(prediction, features.labels) == pytest.approx(88.7, abs=0.1)
    assert 100 * balanced_accuracy(prediction, features.labels) == pytest.approx(87.3, abs=0.1)


def test_kpl_gains_with_transport_by_sinkhorn(natural7):
    features, bank = natural7
    prediction = create("kpl", text="names").fit_predict(features, bank)
    assert accuracy(prediction, features.labels) >= 0.90
