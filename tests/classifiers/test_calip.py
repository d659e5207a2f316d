"""CALIP against a plain loop, and the patches that it reads."""

import math

import pytest
import torch
import torch.nn.functional as F
from encoding_world import write_images
from tiny_encoder import write_tiny_encoder

from kpl_lib.classifiers import Classifier, available, create
from kpl_lib.classifiers import calip as module
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank
from kpl_lib.own_images.classify import classify_folder
from kpl_lib.patches import Patches


def unit(*shape, seed):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def world():
    """7 images of 4 patches, 3 classes, 6 dimensions."""
    names = unit(3, 6, seed=0)
    bank = TextBank(("a", "b", "c"), [unit(2, 6, seed=c + 1) for c in range(3)], names)
    return unit(7, 6, seed=5), unit(7, 4, 6, seed=6), bank


def plain_scores(images, patches, texts, beta2, beta3):
    """The formula of the paper, one number at a time."""
    out = []
    for x, tokens in zip(images.tolist(), patches.tolist(), strict=True):
        dot = lambda a, b: sum(p * q for p, q in zip(a, b, strict=True))  # noqa: E731
        looks = [[2 * dot(f, t) for t in texts.tolist()] for f in tokens]
        rows = []
        for c in range(len(texts)):
            column = [math.exp(row[c]) for row in looks]
            seen = [
                sum(column[p] * tokens[p][d] for p in range(len(tokens))) / sum(column) for d in range(len(x))
            ]
            rows.append(dot(x, texts[c].tolist()) + beta2 * dot(x, seen))
        told = []
        for row in looks:
            total = sum(map(math.exp, row))
            told.append(
                [
                    sum(math.exp(v) / total * t[d] for v, t in zip(row, texts.tolist(), strict=True))
                    for d in range(len(x))
                ]
            )
        pooled = [sum(column) / len(column) + max(column) for column in zip(*told, strict=True)]
        out.append([rows[c] + beta3 * dot(pooled, texts[c].tolist()) for c in range(len(texts))])
    return torch.tensor(out)


@pytest.mark.parametrize(("beta2", "beta3"), [(1.0, 0.05), (0.3, 2.0)])
@pytest.mark.parametrize("block", [256, 3])
def test_scores_follow_the_formula(world, beta2, beta3, block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    images, patches, bank = world
    method = create("calip", patch_weight=beta2, text_weight=beta3)
    found = method.fit_predict(images, bank, patches=patches)
    expected = plain_scores(images, patches, bank.names, beta2, beta3)
    torch.testing.assert_close(found.scores, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.probabilities, (expected / 0.01).softmax(dim=1), atol=1e-3, rtol=0)
    assert torch.equal(found.labels, expected.argmax(dim=1)) and found.class_names == ("a", "b", "c")


def test_a_prior_moves_the_probabilities_and_the_default_text_can_be_changed(world):
    images, patches, bank = world
    even = create("calip", temperature=0.5).fit_predict(images, bank, patches=patches)
    shares = torch.tensor([0.8, 0.1, 0.1])
    skewed = create("calip", temperature=0.5).fit_predict(images, bank, prior=shares, patches=patches)
    expected = even.probabilities * shares
    torch.testing.assert_close(
        skewed.probabilities, expected / expected.sum(1, keepdim=True), atol=1e-5, rtol=0
    )
    described = create("calip", text="all").fit_predict(images, bank, patches=patches)
    means = torch.stack([F.normalize(rows.mean(0), dim=0) for rows in bank.descriptions])
    torch.testing.assert_close(
        described.scores, plain_scores(images, patches, means, 1.0, 0.05), atol=1e-5, rtol=0
    )


def test_it_predicts_new_images_and_survives_a_file(world, tmp_path):
    images, patches, bank = world
    method = create("calip").fit(images, bank)
    method.save(tmp_path / "calip.safetensors")
    again = Classifier.load(tmp_path / "calip.safetensors")
    together = Patches(Features(images[:2]), patches[:2])
    one, two = again.predict(together), method.predict(images[:2], patches[:2])
    torch.testing.assert_close(one.scores, two.scores, atol=2e-3, rtol=0)  # Patches keeps float16
    assert torch.equal(
        method.predict(images[:2], patches[:2]).scores, again.predict(images[:2], patches[:2]).scores
    )


def test_without_patches_one_line_says_where_they_come_from(world):
    images, patches, bank = world
    with pytest.raises(InputError, match=r"needs patches: pass patches=encoder\.encode_patches") as caught:
        create("calip").fit_predict(images, bank)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="not fitted"):
        create("calip").predict(images, patches)
    for wrong, said in [
        (patches[:3], r"\[3, 4, 6\] do not belong"),
        (patches[:, :, :2], "do not belong"),
        (patches[0], r"must be a tensor \[N, P, D\]"),
        (patches / 0, "finite"),
        ([1], "not list"),
    ]:
        with pytest.raises(InputError, match=said):
            create("calip").fit_predict(images, bank, patches=wrong)


def test_it_is_listed_only_among_the_methods_that_get_patches():
    assert "calip" not in available() and set(available(patches=True)) - set(available()) == {"calip"}
    with pytest.raises(InputError, match="did you mean 'calip'"):
        create("calipp")


def test_a_folder_can_be_classified_with_it(tmp_path):
    knowledge = tmp_path / "pets.json"
    knowledge.write_text('{"name": "pets", "classes": {"cat": ["whiskers"], "dog": ["a wet nose"]}}')
    write_images(tmp_path / "images", 4)
    encoder = write_tiny_encoder(tmp_path / "tiny")
    options = {"encoder": encoder, "device": "cpu", "progress": False}
    found = classify_folder(tmp_path / "images", knowledge, classifier="calip", **options).result
    plain = classify_folder(tmp_path / "images", knowledge, classifier="clip", **options).result
    assert found.paths == plain.paths and not torch.allclose(found.probabilities, plain.probabilities)
