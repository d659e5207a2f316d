"""Which encoder, without labels: against a plain count, and what it must say about sound and damaged encoders."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import cohen_kappa_score
from text_world import world

from kpl_lib.classifiers.neighbours import nearest_rows
from kpl_lib.common.errors import InputError
from kpl_lib.decisions import ranking
from kpl_lib.decisions.ranking import rank_encoders
from kpl_lib.features import Features, TextBank
from kpl_lib.transport import sinkhorn

NAMES = ("cat", "dog", "bird")


def view(noise=0.15, seed=0, n=300, **changes):
    """Images and texts of three classes by an encoder of its own: class i % 3, in another space for each seed."""
    images, texts, names = world(seed=seed, n=n, noise=noise)
    return images, TextBank(NAMES, changes.get("texts", texts), changes.get("names", names))


def shifted(seed=0, **how):
    images, bank = view(seed=seed, **how)
    return images, TextBank(NAMES, [*bank.descriptions[1:], bank.descriptions[0]], bank.names)


def test_figures_are_those_of_a_plain_count():
    views = {"a": view(0.3, 0, n=90), "b": view(0.5, 1, n=90), "wrong": shifted(2, noise=0.3, n=90)}
    labels, votes = {}, {}
    for name, (images, bank) in views.items():
        proxies = F.normalize(torch.stack([t.mean(dim=0) for t in bank.descriptions]), dim=1)
        labels[name] = sinkhorn(images @ proxies.T).pseudo_labels.argmax(dim=1).numpy()
        near = [np.argsort(-row)[1:11] for row in (images @ images.T).numpy()]
        votes[name] = [np.bincount(labels[name][rows], minlength=3).argmax() for rows in near]
    rows = {row.name: row for row in rank_encoders(views).rows}
    witnesses = {"a": ["b"], "b": ["a"], "wrong": ["a", "b"]}
    for name, row in rows.items():
        others = np.mean([cohen_kappa_score(labels[name], labels[other]) for other in witnesses[name]])
        neighbours = cohen_kappa_score(labels[name], votes[name])
        assert row.others == pytest.approx(others, abs=1e-9)
        assert row.neighbours == pytest.approx(neighbours, abs=1e-9)
        assert row.score == pytest.approx((others + neighbours) / 2, abs=1e-9)
    assert rows["a"].others < 0.99 and rows["wrong"].others < 0


def test_sound_encoders_stand_in_the_order_of_their_noise():
    views = {"poor": view(0.6, 0), "good": view(0.15, 1), "fair": view(0.35, 2)}
    ranking = rank_encoders(views)
    assert [row.name for row in ranking.rows] == ["good", "fair", "poor"]
    assert all(row.warning == "" and row.names > 0.5 for row in ranking.rows)
    assert all(a.score > b.score for a, b in zip(ranking.rows, ranking.rows[1:], strict=False))


def test_a_text_that_contradicts_its_names_stands_behind_all_and_is_told():
    # It has the finest images, and the poor encoder's score is below its own.
    views = {"wrong": shifted(0), "poor": view(1.5, 1), "noise": view(8.0, 2)}
    rows = rank_encoders(views).rows
    assert rows[-1].name == "wrong" and rows[-1].score > rows[-2].score
    assert "contradict the class names" in rows[-1].warning and "\n" not in rows[-1].warning
    assert [row.warning for row in rows[:-1]] == ["", ""]


def test_an_encoder_that_is_warned_of_is_no_witness():
    views = {"a": view(0.3, 0), "b": view(0.3, 1)}
    alone = {row.name: row.score for row in rank_encoders(views).rows}
    beside = {row.name: row.score for row in rank_encoders(views | {"wrong": shifted(2)}).rows}
    assert all(beside[name] == alone[name] for name in views)
    a, wrong = rank_encoders({"a": view(0.3, 0), "wrong": shifted(2)}).rows
    assert a.name == "a" and math.isnan(a.others) and a.score == a.neighbours
    assert wrong.others < 0


def test_two_encoders_are_told_apart_by_their_neighbours():
    views = {"poor": view(0.5, 0), "good": view(0.15, 1)}
    good, poor = rank_encoders(views).rows
    assert (good.name, poor.name) == ("good", "poor")
    assert good.others == poor.others and good.neighbours > poor.neighbours


def test_many_images_in_the_order_of_their_classes_or_dealt_out_in_turn_say_the_same(monkeypatch):
    asked = []

    def counted(images, others, k, **how):
        asked.append((len(images), len(others)))
        return nearest_rows(images, others, k, **how)

    monkeypatch.setattr(ranking, "nearest_rows", counted)
    images, bank = view(0.3, 0, n=3 * ranking.LOOKED_UP)
    other, texts = view(0.3, 1, n=3 * ranking.LOOKED_UP)
    by_class = torch.arange(len(images)).reshape(-1, 3).T.flatten()  # every third image is of the same class
    in_turn = rank_encoders({"a": (images, bank), "b": (other, texts)})
    in_blocks = rank_encoders({"a": (images[by_class], bank), "b": (other[by_class], texts)})
    pairs = (sorted(found.rows, key=lambda row: row.name) for found in (in_turn, in_blocks))
    for one, two in zip(*pairs, strict=True):
        assert min(one.neighbours, two.neighbours) > 0.8
        assert one.neighbours == pytest.approx(two.neighbours, abs=0.06)
        assert one.others == pytest.approx(two.others, abs=1e-9)
    assert set(asked) == {(ranking.LOOKED_UP, ranking.LOOKED_UP)}  # so that the cost does not grow with N²


def test_labels_are_not_read_and_features_do_as_tensors_do():
    views = {"a": view(0.3, 0), "b": view(0.5, 1)}
    labels = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    held = {name: (Features(x, labels, NAMES), bank) for name, (x, bank) in views.items()}
    bare = {name: (features.images, bank) for name, (features, bank) in held.items()}
    assert rank_encoders(held) == rank_encoders(bare)


def test_equal_encoders_keep_their_order_and_rows_are_frozen():
    rows = rank_encoders({"first": view(), "second": view()}).rows
    assert [row.name for row in rows] == ["first", "second"]
    with pytest.raises(FrozenInstanceError):
        rows[0].score = 1.0


def test_labels_of_one_class_alone_are_chance():
    images = F.normalize(torch.ones(4, 24), dim=1)
    bank = view()[1]
    rows = rank_encoders({"a": (images, bank), "b": view(n=4)}).rows
    assert next(row for row in rows if row.name == "a").neighbours == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("one encoder", "1 leaves nothing to rank, name at least 2"),
        ("counts", "'a' and 'b' hold 300 and 299 images"),
        ("paths", "row 0 of encoders 'a' and 'b' is 1.png and 2.png"),
        ("contents", "images of other contents under the same names"),
        ("classes", "'a' and 'b' have other classes, or another order"),
        ("one class", "texts of 'a': 1 class"),
        ("space", "differ in D"),
        ("rows", "encoder 'b': images .*unit rows"),
    ],
)
def test_bad_input_is_one_line(spoil, said):
    (images, bank), (other, texts) = view(), view(0.3, 1)
    views = {"a": (images, bank), "b": (other, texts)}
    if spoil == "one encoder":
        del views["b"]
    elif spoil == "counts":
        views["b"] = (other[1:], texts)
    elif spoil in ("paths", "contents"):
        key = {"paths": "paths", "contents": "fingerprint"}[spoil]
        views = {
            "a": (Features(images, meta={key: ["1.png", "2.png"]}), bank),
            "b": (Features(other, meta={key: ["2.png", "1.png"]}), texts),
        }
    elif spoil == "classes":
        views["b"] = (other, TextBank(NAMES[::-1], texts.descriptions, texts.names))
    elif spoil == "one class":
        views["a"] = (images, TextBank(NAMES[:1], bank.descriptions[:1], bank.names[:1]))
    elif spoil == "space":
        views["b"] = (F.normalize(other[:, :9], dim=1), texts)
    else:
        views["b"] = (2 * other, texts)
    with pytest.raises(InputError, match=said) as error:
        rank_encoders(views)
    assert "\n" not in str(error.value)
