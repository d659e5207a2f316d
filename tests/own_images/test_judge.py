"""How many answers are right, and whether two tables answer alike: counts by hand, limits of scipy and published."""

import math

import pytest
import torch
from scipy.stats import beta, binom

from kpl_lib.common.errors import InputError
from kpl_lib.own_images.judge import Judgement, judge_answers, labels_needed
from kpl_lib.own_images.shares import share_changes
from kpl_lib.own_images.table import Classification, load_table, write_table

NAMES = ("cat", "dog")


def answers(said, truth=None, groups=None, start=0):
    """A table whose answers are sure: c is cat, d is dog."""
    p = torch.tensor([[0.9, 0.1] if letter == "c" else [0.1, 0.9] for letter in said])
    word = {"c": "cat", "d": "dog", "-": ""}
    told = None if truth is None else tuple(word[letter] for letter in truth)
    paths = tuple(f"images/{start + i:03d}.png" for i in range(len(said)))
    owners = None if groups is None else tuple(groups)
    return Classification(NAMES, paths, tuple(word[s] for s in said), p, ("",) * len(said), (), told, owners)


def test_images_without_a_label_do_not_count():
    found = judge_answers(answers("ccddc", "cd-dd"))
    assert found == Judgement("images", NAMES, ((1, 0), (2, 1)))
    assert (found.right, found.count, found.balanced_accuracy) == (2, 4, pytest.approx((1 + 1 / 3) / 2))


def test_the_limits_are_those_of_clopper_and_pearson():
    low, high = Judgement("images", NAMES, ((30, 4), (0, 6))).interval
    assert (low, high) == pytest.approx((beta.ppf(0.025, 36, 5), beta.ppf(0.975, 37, 4)))
    low, high = Judgement("images", NAMES, ((40, 0), (0, 0))).interval
    assert (low, high) == (pytest.approx(0.025 ** (1 / 40)), 1.0)


def test_a_patient_has_one_answer_the_mean_of_all_images():
    table = answers("ccdd", "-c-d", "xyxy")
    with pytest.raises(InputError, match="patient 'y' has labels of several classes"):
        judge_answers(table)
    table = answers("ccdcd", "ccd-d", "xxyyz")
    found = judge_answers(table)  # y: one image dog, one cat, an even mean; the first class is taken
    assert found == Judgement("patients", NAMES, ((1, 0), (1, 1))) and found.count == 3


def test_without_labels_there_is_nothing_to_judge():
    for table in (answers("cd"), answers("cd", "--"), answers("cd", "--", "xy"), answers("cd", None, "xy")):
        with pytest.raises(InputError, match="no image has a label; give --labels"):
            judge_answers(table)


def test_what_labels_show_and_how_many_more_it_takes():
    found = Judgement("images", NAMES, ((30, 4), (0, 6)))
    assert found.at_least(0.75).startswith("above 75 %: shown")
    assert found.at_least(0.98).startswith("above 98 %: excluded")
    assert found.at_least(0.92).startswith("above 92 %: not shown, nor the contrary")
    needed = labels_needed(0.9, 0.85)
    assert f"if 90 % is the truth, it takes about {needed} labelled images" in found.at_least(0.85)
    assert labels_needed(0.851, 0.85) is None


@pytest.mark.parametrize(("hoped", "excluded"), [(0.9, 0.85), (0.99, 0.85), (0.8, 0.5)])
def test_the_number_of_labels_has_the_power_that_it_promises(hoped, excluded):
    def power(n):
        shown = [k for k in range(n + 1) if k and beta.ppf(0.025, k, n - k + 1) > excluded]
        return sum(binom.pmf(k, n, hoped) for k in shown)

    n = labels_needed(hoped, excluded)
    assert power(n) >= 0.8 > power(n - 1)


def test_only_classes_that_occur_are_printed():
    names = ("a", "b", "never")
    text = str(Judgement("images", names, ((2, 1, 0), (0, 0, 0), (0, 0, 0))))
    assert "never" not in text and "a           2  1  2 of 3: 9 to 99 %" in text.splitlines()
    assert len(text.splitlines()) == 4


def test_changes_of_shares_have_the_limits_of_newcombe():
    # 56 of 70 against 48 of 80: Newcombe 1998, table II, example (a), method 10: 0.0524 to 0.3339
    first = answers("c" * 48 + "d" * 32)
    second = answers("c" * 56 + "d" * 14, start=100)
    cat, dog = share_changes(first, second)
    assert (cat.low, cat.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (dog.low, dog.high) == pytest.approx((-cat.high, -cat.low))
    assert str(cat) == "cat: 48 of 80, then 56 of 70: +20 points (+5 to +33), beyond chance"
    assert str(share_changes(first, answers("c" * 60 + "d" * 40, start=100))[0]).endswith("may be chance")
    assert not any(
        math.isnan(x) for row in share_changes(first, answers("c", start=200)) for x in (row.low, row.high)
    )


def test_patients_count_once_and_tables_that_do_not_fit_are_refused():
    first, second = answers("ccdd", None, "xxyz"), answers("ddd", None, "uvv", 10)
    assert [(row.first, row.second) for row in share_changes(first, second)] == [
        ((1, 3), (0, 2)),
        ((2, 3), (2, 2)),
    ]
    with pytest.raises(InputError, match="only one table has the column 'patient'"):
        share_changes(first, answers("cd", start=10))
    with pytest.raises(InputError, match="'z' stands in both tables"):
        share_changes(first, answers("cd", None, "zu", 10))
    with pytest.raises(InputError, match=r"'images/000\.png' stands in both tables"):
        share_changes(answers("cd"), answers("cd"))
    other = Classification(("cat", "cow"), ("a", "b"), ("cat", "cow"), torch.ones(2, 2), ("", ""), ())
    with pytest.raises(InputError, match="other classes: cat, dog; and cat, cow"):
        share_changes(answers("cd"), other)


def test_a_table_is_read_as_it_was_written(tmp_path):
    table = answers("cdd", "c-d", "xyy")
    write_table(table, tmp_path / "t.csv")
    found = load_table(tmp_path / "t.csv")
    for name in ("class_names", "paths", "labels", "descriptions", "truth", "groups", "warning"):
        assert getattr(found, name) == getattr(table, name)
    assert torch.allclose(found.probabilities, table.probabilities.double(), atol=1e-6)
    plain = answers("cd")
    write_table(plain, tmp_path / "t.csv")
    found = load_table(tmp_path / "t.csv")
    assert found.truth is None and found.groups is None


SPOILT = {
    "labels": lambda text: "path,label\na.png,cat\n",
    "patients": lambda text: text.replace("path", "patient", 1),
    "nothing": lambda text: "",
    "head alone": lambda text: text.splitlines()[0],
    "a short row": lambda text: text + "images/9.png,cat\n",
    "no number": lambda text: text.replace("0.900000", "high", 1),
    "another label": lambda text: text.replace("png,cat", "png,cow", 1),
    "a quote": lambda text: text + '"images',
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_no_such_table_is_refused(case, tmp_path):
    path = tmp_path / "t.csv"
    write_table(answers("cd"), path)
    path.write_text(SPOILT[case](path.read_text()))
    with pytest.raises(InputError, match=r"t\.csv: no table of images as `kpl classify`"):
        load_table(path)
