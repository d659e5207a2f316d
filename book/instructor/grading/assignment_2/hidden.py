"""Hidden tests of assignment 2: one function an item, `test_` before the item's name in rubric.yml.

Inputs are drawn anew in each run. A message says what is wrong; it never holds a right value or line.
"""

import reference
import torch
import torch.nn.functional as F
from checks import as_numbers, require
from torch.overrides import TorchFunctionMode

KEYS = ("chosen", "test accuracy", "gain")


def whole(draw, low, high):
    return int(torch.randint(low, high, (1,), generator=draw))


def clouds(draw, n, d, c):
    """Unit images of c classes around a common direction, and a light plan; float64."""
    centres = 0.6 * torch.randn(c, d, generator=draw, dtype=torch.float64) / d**0.5
    common = 0.8 * F.normalize(torch.randn(d, generator=draw, dtype=torch.float64), dim=0)
    truth = torch.arange(n) % c
    noise = 0.5 * torch.randn(n, d, generator=draw, dtype=torch.float64) / d**0.5
    softmax = (F.one_hot(truth, c) + 0.5 * torch.randn(n, c, generator=draw)).double().softmax(dim=1)
    return F.normalize(common + centres[truth] + noise, dim=1), softmax / softmax.sum(dim=0) / c


def off(found, expected):
    """Relative difference."""
    return (found - expected).norm() / expected.norm()


def test_closed_centred(student, draw):
    images, plan = clouds(draw, 120, 20, 4)
    found = student.tensor("closed_form", images, plan, 0.04, shape=(4, 20))
    size = found.norm()
    require(size > 0, "closed_form: all directions are zero")
    axis = F.normalize(images.mean(dim=0), dim=0)
    require(
        (found @ axis).norm() < 1e-6 * size,
        "closed_form: the directions are not perpendicular to the mean image",
    )
    require(
        found.sum(dim=0).norm() < 1e-6 * size, "closed_form: the directions of all classes do not sum to zero"
    )


def test_closed_directions(student, draw):
    images, plan = clouds(draw, 120, 20, whole(draw, 3, 6))
    temperature = 0.02 + 0.1 * torch.rand(1, generator=draw).item()
    found = student.tensor("closed_form", images, plan, temperature, shape=(plan.shape[1], 20))
    expected = reference.closed_form(images, plan, temperature)
    turned = F.cosine_similarity(found.flatten(), expected.flatten(), dim=0) < 1 - 1e-6
    require(not turned, "closed_form: the directions are others: go through each term of the linear system")
    require(off(found, expected) < 1e-3, "closed_form: the directions are right up to a factor")


def test_few_directions(student, draw):
    images, plan = clouds(draw, 24, 90, 3)
    found = student.tensor("closed_form_few", images, plan, 0.04, shape=(3, 90))
    message = "closed_form_few: the result is not the one of the closed form"
    require(off(found, reference.closed_form(images, plan, 0.04)) < 1e-3, message)


class Largest(TorchFunctionMode):
    """Notes the number of entries of the largest tensor that torch gives back."""

    entries = 0

    def __torch_function__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        parts = made if isinstance(made, tuple | list) else (made,)
        sizes = [part.numel() for part in parts if isinstance(part, torch.Tensor)]
        self.entries = max(self.entries, *sizes, 0)
        return made


def test_few_memory(student, draw):
    images, plan = clouds(draw, 12, 900, 3)
    with Largest() as seen:
        student.tensor("closed_form_few", images, plan, 0.04, shape=(3, 900))
    require(seen.entries < 900 * 900 // 4, "closed_form_few: a table of D x D numbers is made on the way")


def bases(draw):
    return [torch.randn(whole(draw, 3, 8), 6, generator=draw) for _ in range(5)]


def givers(student, descriptions, seed):
    """For each class the number of the class whose lines it got; None where they are no other class's lines."""
    found = student.call("swapped", descriptions, seed)
    require(
        isinstance(found, list | tuple) and len(found) == len(descriptions),
        "swapped: the result is no list with one entry for each class",
    )
    require(
        all(type(rows) is torch.Tensor for rows in found), "swapped: an entry of the list is not a tensor"
    )

    def giver(rows):
        same = [n for n, own in enumerate(descriptions) if own.shape == rows.shape and torch.equal(own, rows)]
        return same[0] if same else None

    return [giver(rows) for rows in found]


def test_swap_none_kept(student, draw):
    descriptions = bases(draw)
    for seed in range(20):
        found = givers(student, descriptions, seed)
        require(
            all(a != b for a, b in enumerate(found)), "swapped: for some seeds a class keeps its own lines"
        )


def test_swap_all_lines(student, draw):
    descriptions = bases(draw)
    for seed in range(5):
        found = givers(student, descriptions, seed)
        require(
            None not in found,
            "swapped: lines were changed, mixed or reordered; whole classes are to be exchanged",
        )
        require(sorted(found) == list(range(5)), "swapped: the lines of one class are given twice")


def test_swap_seed(student, draw):
    descriptions = bases(draw)
    found = [givers(student, descriptions, seed) for seed in range(12)]
    require(
        found == [givers(student, descriptions, seed) for seed in range(12)],
        "swapped: one seed gives two results",
    )
    require(len({tuple(f) for f in found}) > 1, "swapped: the seed changes nothing")


def test_agreement_value(student, draw):
    images, _ = clouds(draw, 60, 16, 4)
    offsets = torch.randn(4, 1, generator=draw)
    means = torch.randn(4, 16, generator=draw) + offsets
    descriptions = [(m + torch.randn(whole(draw, 7, 12), 16, generator=draw)).double() for m in means]
    descriptions = [F.normalize(rows, dim=1) for rows in descriptions]
    (found,) = student.numbers("halves_agree", images, descriptions, count=1)
    require(-1.001 <= found <= 1.001, "halves_agree: a correlation lies between -1 and 1")
    message = "halves_agree: another value: look at the two halves, and at what is taken away before the correlation"
    require(abs(found - reference.halves_agree(images, descriptions)) < 2e-3, message)


class Trial:
    """Four methods whose answers stand in the columns of the images; the last column marks test images."""

    def __init__(self, draw):
        self.names = [("a", "b", "c", "d")[n] for n in torch.randperm(4, generator=draw)]
        self.dev = self.images(draw, 400, (0.45, 0.55, 0.75, 0.6), torch.arange(400), 0.0)
        groups = torch.arange(80).repeat_interleave(torch.randint(3, 8, (80,), generator=draw))
        self.groups = groups + 100
        self.test = self.images(draw, len(groups), (0.4, 0.5, 0.6, 0.9), groups, 1.0)
        self.seen: list[str] = []

    @staticmethod
    def images(draw, n, shares, groups, mark):
        labels = torch.randint(3, (n,), generator=draw)
        columns = []
        for share in shares:
            wrong = torch.rand(int(groups.max()) + 1, generator=draw)[groups] > share  # a patient at a time
            wrong = wrong ^ (torch.rand(n, generator=draw) < 0.05)
            columns.append((labels + wrong) % 3)
        return torch.stack([*columns, torch.full((n,), mark)], dim=1).float(), labels

    def method(self, name):
        def say(images):
            if bool((images[:, -1] == 1).any()):
                self.seen.append(name)
            return images[:, self.names.index(name)].long()

        return say

    def arguments(self, baseline):
        methods = {name: self.method(name) for name in ("a", "b", "c", "d")}
        return methods, baseline, self.dev, self.test, self.groups, 1500, 3

    def expected(self, found, baseline):
        """The right report for whatever was chosen, so that a wrong choice is counted once."""
        methods = self.arguments(baseline)[0]
        require(found["chosen"] in methods, "compare: 'chosen' is not the name of one of the candidates")
        images, labels = self.test
        right = {name: (methods[name](images) == labels).double() for name in {found["chosen"], baseline}}
        difference = right[found["chosen"]] - right[baseline]
        ends = reference.by_patient(difference, self.groups, 1500, 3)
        return 100 * right[found["chosen"]].mean(), [100 * v for v in (difference.mean().item(), *ends)]


def run_compare(student, draw):
    trial = Trial(draw)
    baseline = trial.names[0]
    found = student.entries("compare", *trial.arguments(baseline), keys=KEYS)
    return trial, baseline, found


def test_compare_chosen(student, draw):
    trial, baseline, found = run_compare(student, draw)
    expected = reference.compare(*trial.arguments(baseline))
    require(
        found["chosen"] == expected["chosen"],
        "compare: the chosen method is not the best one on the dev images",
    )


def test_compare_test_once(student, draw):
    trial, baseline, found = run_compare(student, draw)
    extra = [name for name in trial.seen if name not in (found["chosen"], baseline)]
    require(found["chosen"] in trial.seen, "compare: the chosen method was not run on the test images")
    require(not extra, "compare: a method that was neither chosen nor the baseline was run on test images")
    require(
        len(trial.seen) == len(set(trial.seen)), "compare: a method was run on the test images more than once"
    )


def test_compare_gain(student, draw):
    trial, baseline, found = run_compare(student, draw)
    accuracy, gain = trial.expected(found, baseline)
    (value,) = as_numbers("compare: 'test accuracy'", found["test accuracy"], 1)
    require(abs(value - accuracy) < 0.05, "compare: 'test accuracy' is not the chosen method's, in percent")
    values = as_numbers("compare: 'gain'", found["gain"], 3)
    require(
        abs(values[0] - gain[0]) < 0.05,
        "compare: the gain is not chosen minus baseline on the test images, in points",
    )


def test_compare_patients(student, draw):
    trial, baseline, found = run_compare(student, draw)
    _, gain = trial.expected(found, baseline)
    _, low, high = as_numbers("compare: 'gain'", found["gain"], 3)
    same = gain[2] > gain[1] and abs((high - low) / (gain[2] - gain[1]) - 1) < 0.25
    require(same, "compare: the interval has another width than one for which whole patients are drawn")


def run_control(student, phantoms):
    student.lend(closed_form=reference.closed_form, swapped=reference.swapped)
    inputs = (phantoms["images"], phantoms["labels"], phantoms["descriptions"], 11)
    return student.entries("control", *inputs, keys=("right lines", "swapped lines")), reference.control(
        *inputs
    )


def check_control(found, expected, key):
    (value,) = as_numbers(f"control: {key!r}", found[key], 1)
    message = (
        f"control: the accuracy with {key} is more than a point off: go through the four steps of the text"
    )
    require(abs(value - expected[key]) < 1, message)


def test_control_right(student, phantoms):
    check_control(*run_control(student, phantoms), "right lines")


def test_control_swapped(student, phantoms):
    check_control(*run_control(student, phantoms), "swapped lines")
