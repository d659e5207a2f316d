"""The modality gap of real encoders, as data/results/gap_real.csv lists it; measured again where the features are."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from kpl_lib.common.files import data_dir
from kpl_lib.gap import modality_gap

LISTED = pd.read_csv(data_dir() / "results" / "gap_real.csv", comment="#", index_col="measure")


def found(queries, candidates):
    """Share of queries whose nearest candidate is their own partner, in %."""
    return 100 * ((queries @ candidates.T).argmax(dim=1) == torch.arange(len(queries))).float().mean().item()


def test_a_common_shift_of_the_texts_changes_no_choice_of_an_image():
    open_gap, closed = (
        LISTED.loc["image finds its text, %"],
        LISTED.loc["image finds its text, texts moved, %"],
    )
    assert (open_gap == closed).all() and len(LISTED) == 11


@pytest.mark.parametrize("encoder", LISTED.columns)
def test_listed_figures_are_those_of_the_features(encoder, shared):
    with np.load(shared(f"real/gap_pairs_{encoder.lower()}.npz")) as file:
        images, texts = (
            F.normalize(torch.from_numpy(file[f"{kind}_features"]).float(), dim=1)
            for kind in ("image", "text")
        )
    gap, moved = modality_gap(images, texts), texts + images.mean(dim=0) - texts.mean(dim=0)
    cosines = [gap.distance, gap.image_cosine, gap.text_cosine, gap.cross_cosine]
    shares = [found(images, texts), found(images, moved), found(texts, images), found(moved, images)]
    assert cosines == pytest.approx(LISTED[encoder].iloc[:4], abs=0.0051)
    assert [gap.image_rank, gap.text_rank] == pytest.approx(LISTED[encoder].iloc[4:6], abs=0.51)
    assert [gap.separability, *shares] == pytest.approx(LISTED[encoder].iloc[6:], abs=0.11)
