"""Features and text banks: what they accept, and that files are whole or absent."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kpl_lib.common import tensors
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank, join, unit_rows


def rows(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def bank() -> TextBank:
    texts = (("a", "b", "c"), ("d",))
    return TextBank(("cat", "dog"), [rows(3), rows(1, seed=1)], rows(2, seed=2), texts)


def test_half_precision_rows_come_out_as_exact_float32_units():
    features = Features(rows(5).half())
    assert features.images.dtype == torch.float32
    torch.testing.assert_close(features.images.norm(dim=1), torch.ones(5), atol=1e-6, rtol=0)


@given(arrays("float32", (3, 4), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_normalize_takes_any_row_but_zeros(values):
    raw = torch.from_numpy(values.copy())
    if bool((raw.abs().amax(dim=1) == 0).any()):
        with pytest.raises(InputError, match="all zeros"):
            unit_rows(raw, "images", normalize=True)
    else:
        lengths = unit_rows(raw, "images", normalize=True).norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (rows(3) * 1.02, "unit rows"),
        (torch.full((2, 4), float("nan")), "NaN or Inf"),
        (torch.eye(3, dtype=torch.int64), "int64"),
        (rows(3)[0], r"\[N, D\]"),
        ([[1.0, 0.0]], "torch tensor"),
    ],
)
def test_other_images_are_refused(images, said):
    with pytest.raises(InputError, match=said):
        Features(images)


@pytest.mark.parametrize(
    ("labels", "said"), [([0, 1], "one label an image"), ([0, 1, 2], "not in 0..1"), ([0.0] * 3, "whole")]
)
def test_labels_that_do_not_fit_are_refused(labels, said):
    with pytest.raises(InputError, match=said):
        Features(rows(3), labels, ("cat", "dog"))


def test_features_come_back_from_disk_as_they_were(tmp_path):
    meta = {"encoder": "phantom", "paths": ["ü.png", "b\udcff.png"], "groups": None}
    before = Features(rows(2), [1, 0], ("cat", "dog"), meta)
    before.save(tmp_path / "x.safetensors")
    after = Features.load(tmp_path / "x.safetensors")
    torch.testing.assert_close(after.images, before.images, atol=1e-7, rtol=0)
    assert (after.labels.tolist(), after.class_names, after.meta) == ([1, 0], ("cat", "dog"), meta)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_bank_with_uneven_classes_comes_back_from_disk(tmp_path):
    bank().save(tmp_path / "x.safetensors")
    after = TextBank.load(tmp_path / "x.safetensors")
    assert (after.counts, after.class_names, after.texts) == ((3, 1), ("cat", "dog"), bank().texts)
    torch.testing.assert_close(after.descriptions[0], bank().descriptions[0])
    torch.testing.assert_close(after.names, bank().names)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_names": ("cat", "cat")}, "twice"),
        ({"class_names": ()}, "at least one class"),
        ({"descriptions": [rows(3)]}, "descriptions: 1 for 2"),
        ({"descriptions": [rows(3), rows(3)[:0]]}, "there are none"),
        ({"descriptions": [rows(3), torch.eye(4)]}, "one encoder"),
        ({"names": rows(3)}, "names: 3 for 2"),
        ({"texts": (("a",), ("d",))}, "1 texts for 3"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(change, said):
    whole = {"class_names": ("cat", "dog"), "descriptions": [rows(3), rows(1)], "names": rows(2)}
    with pytest.raises(InputError, match=said):
        TextBank(**{**whole, **change})


def test_files_that_are_missing_broken_or_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no such file"):
        Features.load(path)
    bank().save(path)
    with pytest.raises(InputError, match="holds no Features"):
        Features.load(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        TextBank.load(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    Features(rows(2)).save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(InputError, match="No space left"):
        Features(rows(4)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_meta_that_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match="JSON"):
        Features(rows(2), meta={"when": object()}).save(tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def made(name="A", paths=("a.png", "b.png", "c.png"), seed=0, **meta) -> Features:
    return Features(rows(3, seed), [0, 1, 0], ("cat", "dog"), {"encoder": name, "paths": list(paths), **meta})


def test_joined_rows_are_units_whose_cosines_are_the_weighted_means():
    images, texts = [made("A"), made("B", seed=5)], [bank(), bank_of(7)]
    for weights, share in ((None, 0.5), ((3, 1), 0.75)):
        x, t = join(images, weights), join(texts, weights)
        torch.testing.assert_close(x.images.norm(dim=1), torch.ones(3))
        one, two = (i.images @ b.names.T for i, b in zip(images, texts, strict=True))
        torch.testing.assert_close(x.images @ t.names.T, share * one + (1 - share) * two)
        one, two = (i.images @ b.descriptions[0].T for i, b in zip(images, texts, strict=True))
        torch.testing.assert_close(x.images @ t.descriptions[0].T, share * one + (1 - share) * two)
    assert x.labels.tolist() == [0, 1, 0] and x.meta["paths"] == ["a.png", "b.png", "c.png"]
    assert x.meta["encoder"] == "A + B" and t.views == (8, 8) and t.texts == bank().texts


def test_a_joined_bank_keeps_controls_and_views_on_disk(tmp_path):
    controls = {"random": [rows(2, seed=3), rows(1, seed=4)]}
    parts = [
        TextBank(b.class_names, b.descriptions, b.names, b.texts, controls) for b in (bank(), bank_of(7))
    ]
    joined = join([join(parts), parts[0]])
    assert joined.views == (8, 8, 8) and [len(r) for r in joined.controls["random"]] == [2, 1]
    joined.save(tmp_path / "b.safetensors")
    found = TextBank.load(tmp_path / "b.safetensors")
    assert found.views == (8, 8, 8)
    torch.testing.assert_close(found.controls["random"][0], joined.controls["random"][0])


def bank_of(seed: int) -> TextBank:
    return TextBank(("cat", "dog"), [rows(3, seed), rows(1, seed + 1)], rows(2, seed + 2), bank().texts)


@pytest.mark.parametrize(
    ("parts", "weights", "said"),
    [
        ([], None, "Features alone, or TextBanks alone"),
        ([made(), bank()], None, "Features alone, or TextBanks alone"),
        ([made(), Features(rows(2))], None, "hold 3 and 2 images"),
        ([made(), made("B", ("a.png", "c.png", "b.png"))], None, "row 1 of 'A' and 'B' is b.png and c.png"),
        ([made(fingerprint="x"), made("B", fingerprint="y")], None, "other contents under the same names"),
        ([made(), Features(rows(3), [0, 1, 1], ("cat", "dog"))], None, "labels .* differ, first in row 2"),
        ([made(), Features(rows(3), [0, 1, 0], ("dog", "cat"))], None, "other classes, or another order"),
        ([made(), made("B")], (1, 0), "one number above 0 for each"),
        ([made(), made("B")], (1, 1, 1), "for 2 encoders"),
        (
            [bank(), TextBank(("dog", "cat"), [rows(3), rows(1)], rows(2))],
            None,
            "banks 1 and 2 have other classes",
        ),
        ([bank(), TextBank(("cat", "dog"), [rows(2), rows(1)], rows(2))], None, "hold other descriptions"),
        (
            [bank(), TextBank(("cat", "dog"), [rows(3), rows(1)], rows(2), (("a", "b", "x"), ("d",)))],
            None,
            "hold other descriptions",
        ),
    ],
)
def test_what_does_not_belong_together_is_not_joined(parts, weights, said):
    with pytest.raises(InputError, match=said) as error:
        join(parts, weights)
    assert "\n" not in str(error.value)


def test_views_that_are_not_the_columns_are_refused():
    with pytest.raises(InputError, match="are not the 8 columns"):
        TextBank(("cat", "dog"), [rows(3), rows(1)], rows(2), views=(4, 5))
