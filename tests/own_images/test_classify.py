"""Rows for people: what spoke most, patients, and the columns of the tables."""

import csv

import pytest
import torch
import torch.nn.functional as F
from own_world import write_images, write_knowledge, write_table
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.features import TextBank
from kpl_lib.own_images.classify import centre_of, classify_folder, spoke_most
from kpl_lib.own_images.table import Classification, by_patient, write_patients
from kpl_lib.own_images.table import write_table as write_rows


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Folder, knowledge, and the options that every run here takes."""
    base = tmp_path_factory.mktemp("own")
    encoder = write_tiny_encoder(base / "tiny")
    images, knowledge = write_images(base / "images"), write_knowledge(base / "pets.json")
    truth = write_table(base / "labels.csv", images, "label", lambda i: ("dog", "house cat")[i // 2 % 2])
    options = {"encoder": encoder, "k": 2, "progress": False, "labels": truth, "group_pattern": "^p[0-9]+"}
    return images, knowledge, options


def test_spoke_most_is_relative_to_the_centre():
    texts = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0]]), dim=1)
    bank = TextBank(("cat", "dog"), [texts, texts], torch.eye(3)[:2], (("fur", "ears"),) * 2)
    images = F.normalize(torch.tensor([[1.0, 0.1, 0.0], [1.0, 0.4, 0.0]]), dim=1)
    labels, chosen = torch.zeros(2, dtype=torch.int64), ((0, 1), ())
    centre, alone = centre_of(images), centre_of(images[:1])
    assert spoke_most(images, bank, chosen, labels, centre) == ("fur", "ears")
    assert spoke_most(images[:1], bank, chosen, labels[:1], alone) == ("fur",)  # alone: the plain cosine
    away = torch.tensor([0.0, -1.0, 0.0])
    assert spoke_most(images[:1], bank, chosen, labels[:1], away) == ("ears",)
    assert spoke_most(images, bank, chosen, labels + 1, centre) == ("", "")


def images_of(groups, truth):
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]])
    names = ("cat", "dog")
    labels = tuple(names[c] for c in p.argmax(dim=1).tolist())
    return Classification(names, tuple("abcd"), labels, p, ("",) * 4, (), truth, groups)


def test_patients_are_means_over_their_images():
    found = by_patient(images_of(("y", "x", "y", "x"), ("cat", "dog", "cat", "cat")))
    assert found.names == ("y", "x") and found.counts == (2, 2)
    assert torch.allclose(found.probabilities, torch.tensor([[0.6, 0.4], [0.3, 0.7]], dtype=torch.float64))
    assert found.labels == ("cat", "dog") and found.truth == ("cat", "")
    assert by_patient(images_of(("a", "a", "a", "a"), None)).truth is None
    with pytest.raises(InputError, match="patients are not known"):
        by_patient(images_of(None, None))


def test_tables_have_the_columns_that_are_known(tmp_path):
    known = images_of(("y", "x", "y", "x"), ("cat", "dog", "cat", "cat"))
    for result, extra in ((known, ["patient", "true label"]), (images_of(None, None), [])):
        write_rows(result, tmp_path / "t.csv")
        rows = list(csv.reader((tmp_path / "t.csv").read_text().splitlines()))
        assert rows[0] == ["path", "label", "cat", "dog", "description", *extra] and len(rows) == 5
    write_patients(by_patient(known), tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert rows[0] == {
        "patient": "y",
        "images": "2",
        "label": "cat",
        "cat": "0.600000",
        "dog": "0.400000",
        "true label": "cat",
    }


def test_a_run_knows_labels_and_patients_and_no_method_reads_them(world):
    images, knowledge, options = world
    run = classify_folder(images, knowledge, **options)
    assert run.result.truth[:4] == ("dog", "dog", "house cat", "house cat")
    assert run.result.groups[:3] == ("p00", "p00", "p01")
    blind = classify_folder(images, knowledge, **{**options, "labels": None, "group_pattern": None}).result
    assert blind.truth is None and blind.groups is None
    assert torch.equal(blind.probabilities, run.result.probabilities)


def test_every_parameter_reaches_the_classifier(world):
    images, knowledge, options = world
    run = classify_folder(images, knowledge, **options, parameters={"rounds": 3, "text_temperature": 0.5})
    assert run.classifier.parameters["rounds"] == 3 and run.classifier.parameters["text_temperature"] == 0.5
    with pytest.raises(InputError, match="k is given twice"):
        classify_folder(images, knowledge, **options, parameters={"k": 3})
    with pytest.raises(InputError, match="takes no 'ruonds': did you mean 'rounds'"):
        classify_folder(images, knowledge, **options, parameters={"ruonds": 3})


def test_what_was_warned_about_is_kept_and_warned_about(world):
    images, knowledge, options = world
    with pytest.warns(UserWarning, match="clipped"):
        run = classify_folder(images, knowledge, **{**options, "k": 5})
    assert any("clipped" in note for note in run.notes)


def test_what_the_method_saw_is_kept(world):
    images, knowledge, options = world
    run = classify_folder(images, knowledge, **options)
    assert run.classifier.findings and set(run.classifier.findings) <= set(run.notes)
