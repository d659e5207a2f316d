"""Measures of the modality gap, and pictures of it."""

import numpy as np
import pytest
import torch
from core_world import world
from scipy.stats import entropy

from kpl_lib import plots
from kpl_lib.common.errors import InputError
from kpl_lib.gap import close_gap, effective_rank, modality_gap
from kpl_lib.plots import plane


@pytest.fixture(scope="module")
def clouds():
    images, texts, _ = world(n=60, d=12)
    return images, texts[:, :, :].reshape(-1, 12)


def test_measures_equal_their_definitions(clouds):
    images, texts = clouds
    gap = modality_gap(images, texts)
    u, v = images.mean(dim=0), texts.mean(dim=0)
    assert gap.distance == pytest.approx(float((u - v).norm()))
    assert gap.image_cone == pytest.approx(float(u.norm())) and gap.text_cone == pytest.approx(
        float(v.norm())
    )
    cosines = images @ images.T
    assert gap.image_cosine == pytest.approx(float(cosines[~torch.eye(60, dtype=torch.bool)].mean()))
    assert gap.cross_cosine == pytest.approx(float((images @ texts.T).mean()))
    power = np.linalg.svd((images - u).numpy(), compute_uv=False) ** 2
    assert gap.image_rank == pytest.approx(float(np.exp(entropy(power))))


def test_a_probe_separates_two_cones_and_not_one(clouds):
    images, texts = clouds
    assert modality_gap(images, texts).separability > 0.95
    assert modality_gap(images[::2], images[1::2]).separability < 0.75


def test_effective_rank_counts_directions():
    rows = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(rows) == pytest.approx(5)
    assert effective_rank(torch.ones(4, 3)) == 1.0
    assert 1 < effective_rank(torch.cat([rows, 3 * rows[:1], -3 * rows[:1]])) < 5


def test_closing_the_gap_only_shifts_the_border_between_classes(clouds):
    images, texts = clouds
    assert all(torch.allclose(a, b) for a, b in zip(close_gap(images, texts, 0.0), clouds, strict=True))
    moved_images, moved_texts = close_gap(images, texts)
    before, after = modality_gap(images, texts), modality_gap(moved_images, moved_texts)
    assert after.distance < 0.3 * before.distance
    shift = (images.mean(dim=0) - texts.mean(dim=0)) / 2
    change = (images - shift) @ (texts + shift).T - images @ texts.T
    per_class = change - change[:, :1]  # what all classes share does not matter
    assert (per_class - per_class[0]).abs().max() < 1e-12


def test_pca_is_the_plane_of_largest_variance(clouds):
    images, _ = clouds
    drawn = plane(images).double()
    centred = images - images.mean(dim=0)
    power = torch.linalg.svdvals(centred)[:2]
    torch.testing.assert_close(drawn.norm(dim=0), power, atol=1e-5, rtol=1e-5)
    assert abs(float(drawn[:, 0] @ drawn[:, 1])) < 1e-4
    torch.testing.assert_close(plane(images.flip(0)).flip(0), drawn.float(), atol=1e-5, rtol=0)


def test_umap_is_drawn_once_for_each_input_and_setting(clouds, tmp_path, monkeypatch):
    images, _ = clouds
    drawn = []
    monkeypatch.setattr(
        plots, "_umap", lambda rows, settings: drawn.append(settings) or rows[:, :2].contiguous()
    )
    first = plane(images, "umap", cache=tmp_path / "maps")
    assert torch.equal(plane(images, "umap", cache=tmp_path / "maps"), first) and len(drawn) == 1
    plane(images, "umap", seed=1, cache=tmp_path / "maps")
    plane(images, "umap", neighbours=5, cache=tmp_path / "maps")
    plane(images + 1e-3, "umap", cache=tmp_path / "maps")
    monkeypatch.setattr(plots, "version", lambda name: "another")
    plane(images, "umap", cache=tmp_path / "maps")
    assert len(drawn) == 5
    assert len(list((tmp_path / "maps").iterdir())) == 5


def test_a_broken_file_in_the_cache_is_made_again(clouds, tmp_path, monkeypatch):
    images, _ = clouds
    monkeypatch.setattr(plots, "_umap", lambda rows, settings: rows[:, :2].contiguous())
    first = plane(images, "umap", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    assert torch.equal(plane(images, "umap", cache=tmp_path), first) and file.stat().st_size > 100


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
def test_umap_itself_is_repeatable(clouds):
    images, _ = clouds
    first = plane(images, "umap", seed=3)
    assert first.shape == (60, 2) and torch.equal(first, plane(images, "umap", seed=3))


def test_bad_planes_are_named(clouds, tmp_path):
    images, _ = clouds
    with pytest.raises(InputError, match="'pca' or 'umap', not 'tsne'"):
        plane(images, "tsne")
    with pytest.raises(InputError, match=r"features \[2, 12\] must have at least 3 rows"):
        plane(images[:2])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: .*; choose a folder that you may write to"):
        plane(images, "umap", cache=tmp_path / "file")
    with pytest.raises(InputError, match="too few"):
        modality_gap(images[:3], images)
