"""The dev world: its real parts, its spoilt texts, the row of a case, and the summary by family."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import typer
from typer.testing import CliRunner

from book.tools.research.dev_world import main, measure, phantom_cases, real_cases, summary
from kpl_lib.classifiers.start import start
from kpl_lib.common.errors import InputError

app = typer.Typer()
app.command()(main)
NAMES = ("cat", "dog", "bird")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one set of three classes that lie far apart, 60 images each, and a file of another kind."""
    folder = tmp_path_factory.mktemp("real")
    g = torch.Generator().manual_seed(0)
    centres, labels = F.normalize(torch.randn(3, 16, generator=g), dim=1), np.arange(180) % 3
    images = centres[labels] + 0.1 * torch.randn(180, 16, generator=g)
    several = {
        f"descriptions_{c}": (centres[c] + 0.2 * torch.randn(12, 16, generator=g)).numpy() for c in range(3)
    }
    content = {"image_features": images.numpy(), "labels": labels, "text_features": centres.numpy()}
    np.savez(folder / "animals.npz", class_names=np.array(NAMES), **content, **several)
    np.savez(folder / "other.npz", x=np.zeros(3))
    return folder


def shares(case):
    return torch.bincount(case.labels, minlength=3).double() / len(case.labels)


def test_a_real_set_comes_whole_and_in_parts_of_the_same_images_each_time(folder):
    cases = list(real_cases(folder))
    assert [case.family for case in cases] == ["real", *["real, descriptions"] * 2, *["real parts"] * 7]
    assert torch.allclose(cases[0].images.norm(dim=1), torch.ones(180))
    even, *skewed = cases[3:]
    assert torch.allclose(shares(even), torch.full((3,), 1 / 3).double()) and len(even.labels) == 90
    for case, (c, share) in zip(skewed, [(c, s) for c in range(3) for s in (0.6, 0.8)], strict=True):
        assert shares(case)[c] == pytest.approx(share, abs=0.03), case.name
        rest = torch.bincount(case.labels, minlength=3)[[k for k in range(3) if k != c]]
        assert rest[0] == rest[1] >= 2
    again = list(real_cases(folder))
    assert all(torch.equal(a.images, b.images) for a, b in zip(cases, again, strict=True))


def test_a_folder_without_sets_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no \.npz file with image_features"):
        next(real_cases(tmp_path))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(InputError, match=r"torn\.npz: no readable"):
        next(real_cases(tmp_path))


@pytest.fixture(scope="module")
def cataract():
    """The cases of the even cataract set, seen scanner, 40 images."""
    return [case for case in phantom_cases(("phantom",), n=40) if case.name.startswith("cataract/seen/even")]


def test_texts_are_moved_damaged_and_turned(cataract):
    whole, by_family = cataract[0], pd.Series([case.family for case in cataract]).value_counts()
    assert by_family.to_dict() == {"phantom": 1, "moved": 4, "damaged": 2, "wrong way": 3, "absent": 4}
    turned = next(case for case in cataract if case.name.endswith("shifted by 1"))
    assert torch.allclose(turned.bank.descriptions[0], whole.bank.descriptions[1])
    half = next(case for case in cataract if case.name.endswith("50% swapped"))
    own = {tuple(row) for row in whole.bank.descriptions[0].round(decimals=5).tolist()}
    kept = sum(tuple(row) in own for row in half.bank.descriptions[0].round(decimals=5).tolist())
    assert kept / len(half.bank.descriptions[0]) == pytest.approx(0.5, abs=0.1)
    level, biased = (
        next(case for case in cataract if case.name.endswith(end)) for end in ("/level", "/3 sd")
    )
    means = [
        (c.images @ start(c.bank, c.images, "top-k", 8)[0].T).mean(dim=0).std()
        for c in (whole, level, biased)
    ]
    assert means[1] < 0.5 * means[0] and means[2] > 2 * means[0]
    absent = next(case for case in cataract if case.family == "absent")
    assert 0 not in absent.labels and len(absent.labels) == len(absent.images) == 30


def test_a_case_is_measured_against_its_text(cataract):
    row = measure("kpl-adaptive", cataract[0], strength=2.0)
    found = (cataract[0].family, "kpl-adaptive", True)
    assert (row["family"], row["classifier"], row["names"] > 0) == found and 0 <= row["text"] <= 100
    assert np.isnan(measure("clip", cataract[0])["support"])
    wrong = measure("kpl-adaptive", next(case for case in cataract if case.family == "wrong way"))
    assert wrong["warned"] and wrong["balanced_accuracy"] == pytest.approx(wrong["text"])


def test_the_summary_counts_losses_and_warnings():
    rows = pd.DataFrame(
        {
            "classifier": "a",
            "family": ["x"] * 4 + ["y"],
            "text": [50.0, 50, 50, 50, 50],
            "balanced_accuracy": [60.0, 44, 48, 50, 51.5],
            "warned": [False, True, False, True, False],
        }
    )
    x, y = summary(rows).to_dict("records")
    assert (x["cases"], x["worst"], x["gains"], x["losses"], x["over 5"]) == (4, -6, 1, 2, 1)
    assert (x["losers warned"], x["false warnings"], x["balanced accuracy"]) == (1, 0.5, 50.5)
    assert y["gains"] == 1 and np.isnan(y["losers warned"])
    with pytest.raises(InputError, match="no case"):
        summary(rows[:0])


def test_the_command_prints_the_summary_and_writes_the_cases(folder, tmp_path):
    out = tmp_path / "rows.csv"
    asked = [
        "--encoders",
        "",
        "--real",
        str(folder),
        "--classifiers",
        "kpl-adaptive,clip",
    ]
    done = CliRunner().invoke(app, [*asked, "--out", str(out)])
    assert done.exit_code == 0 and "| kpl-adaptive | real parts | 7 |" in done.stdout
    rows = pd.read_csv(out)
    assert len(rows) == 20 and set(rows["classifier"]) == {"kpl-adaptive", "clip"}
    assert (rows["balanced_accuracy"] >= 90).all()


def test_the_command_refuses_an_unknown_method_before_the_work(folder, tmp_path):
    asked = ["--encoders", "", "--real", str(folder), "--classifiers", "klp"]
    with pytest.raises(InputError, match="did you mean 'kpl'"):
        CliRunner().invoke(app, asked, catch_exceptions=False)
