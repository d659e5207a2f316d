"""Hidden tests of assignment 1: one function an item, `test_` before the item's name in rubric.yml.

Inputs are drawn anew in each run. A message says what is wrong; it never holds a right value or line.
"""

import reference
import torch
import torch.nn.functional as F
from checks import as_numbers, require

METHODS = ("class name", "top-8", "transport")


def unit(draw, *shape):
    return F.normalize(torch.randn(*shape, generator=draw), dim=-1)


def whole(draw, low, high):
    return int(torch.randint(low, high, (1,), generator=draw))


def cosines_of_classes(draw, n, c, noise):
    """Cosines of n images in c classes of different sizes, with an offset for each class."""
    truth = (torch.rand(n, generator=draw) ** 2 * c).long()
    offsets = 0.1 * torch.rand(c, generator=draw)
    return 0.2 * F.one_hot(truth, c) + offsets + noise * torch.randn(n, c, generator=draw)


def prior_of(draw, c):
    shares = 0.5 + torch.rand(c, generator=draw)
    return shares / shares.sum()


def close(found, expected, within):
    return (found - expected).abs().max() <= within


def test_zero_shot_probabilities(student, draw):
    n, c, d = whole(draw, 8, 20), whole(draw, 3, 7), whole(draw, 10, 30)
    images, texts, temperature = (
        unit(draw, n, d),
        unit(draw, c, d),
        0.05 + 0.2 * torch.rand(1, generator=draw).item(),
    )
    found = student.tensor("zero_shot", images, texts, temperature, shape=(n, c))
    require(close(found.sum(dim=1), 1, 1e-3), "zero_shot: the probabilities of one image do not sum to one")
    expected = reference.zero_shot(images, texts, temperature)
    require(
        bool((found.argmax(1) == expected.argmax(1)).all()),
        "zero_shot: some images get another class than the nearest",
    )
    require(
        close(found, expected, 1e-3), "zero_shot: the most likely class is right, the probabilities are not"
    )


def test_zero_shot_any_length(student, draw):
    n, c, d = whole(draw, 8, 20), whole(draw, 3, 7), whole(draw, 10, 30)
    images, texts = unit(draw, n, d), unit(draw, c, d)
    lengths = 0.2 + 5 * torch.rand(n + c, 1, generator=draw)
    found = student.tensor("zero_shot", lengths[:n] * images, lengths[n:] * texts, 0.1, shape=(n, c))
    expected = reference.zero_shot(images, texts, 0.1)
    require(close(found, expected, 1e-3), "zero_shot: the result changes with the length of the vectors")


def test_proxies_choice(student, draw):
    images, k = unit(draw, 40, 24), whole(draw, 3, 6)
    images = F.normalize(images + unit(draw, 24), dim=1)
    descriptions = [unit(draw, whole(draw, 12, 20), 24) for _ in range(whole(draw, 3, 6))]
    found = student.tensor("text_proxies", images, descriptions, k, shape=(len(descriptions), 24))
    expected = reference.text_proxies(images, descriptions, k)
    message = (
        "text_proxies: the proxies point elsewhere: look at which lines are kept, and at how they are joined"
    )
    require(close(F.normalize(found, dim=1), expected, 1e-3), message)


def test_proxies_unit(student, draw):
    images, descriptions = unit(draw, 30, 16), [unit(draw, 10, 16) for _ in range(4)]
    found = student.tensor("text_proxies", images, descriptions, 5, shape=(4, 16))
    require(close(found.norm(dim=1), 1, 1e-3), "text_proxies: the proxies do not have length one")


def test_proxies_short_class(student, draw):
    images, counts = F.normalize(unit(draw, 30, 16) + unit(draw, 16), dim=1), (9, 3, 11, 10)
    descriptions = [unit(draw, count, 16) for count in counts]
    found = student.tensor("text_proxies", images, descriptions, 7, shape=(4, 16))
    right = F.cosine_similarity(found, reference.text_proxies(images, descriptions, 7), dim=1) > 0.999
    require(right[1], "text_proxies: a class with fewer than k lines does not get the mean of all of its own")
    require(right.all(), "text_proxies: a class with fewer than k lines changes what another class keeps")


def test_transport_rows(student, draw):
    n, c = whole(draw, 30, 60), whole(draw, 3, 6)
    cosines, prior = cosines_of_classes(draw, n, c, 0.05), prior_of(draw, c)
    for sweeps in (2, 200):
        found = student.tensor("sinkhorn", cosines, prior, 0.05, sweeps, shape=(n, c))
        require(
            close(found.sum(dim=1), 1, 1e-4),
            "sinkhorn: the rows do not sum to one, after few sweeps or after many",
        )


def test_transport_columns(student, draw):
    n, c = whole(draw, 30, 60), whole(draw, 3, 6)
    cosines, prior = cosines_of_classes(draw, n, c, 0.05), prior_of(draw, c)
    found = student.tensor("sinkhorn", cosines, prior, 0.05, 500, shape=(n, c))
    require(found.min() >= 0, "sinkhorn: a pseudo label is negative")
    message = "sinkhorn: after many sweeps the classes do not hold the shares of the prior"
    require(close(found.mean(dim=0), prior, 2e-3), message)


def test_transport_plan(student, draw):
    n, c = whole(draw, 30, 60), whole(draw, 3, 6)
    cosines, prior = cosines_of_classes(draw, n, c, 0.05), prior_of(draw, c)
    found = student.tensor("sinkhorn", cosines, prior, 0.05, 500, shape=(n, c))
    message = "sinkhorn: the table differs from the softmax by more than one offset for each class"
    require(close(found, reference.sinkhorn(cosines, prior, 0.05, 500), 2e-3), message)


def test_transport_logarithms(student, draw):
    n, c = 48, 4
    far, *others = torch.randperm(c, generator=draw)
    near = torch.stack(others)[torch.arange(n) % (c - 1)]  # as many images at each of the others
    offsets = 0.1 * torch.rand(c, generator=draw)
    cosines = 0.2 * F.one_hot(near, c) + offsets + 0.004 * torch.randn(n, c, generator=draw)
    cosines[:, far] -= 0.95  # no image is near this class, and a quarter of them must go there
    found = student.tensor("sinkhorn", cosines, torch.full((c,), 1 / c), 0.001, 500, shape=(n, c))
    require(close(found.sum(dim=1), 1, 1e-4), "sinkhorn: at a small temperature the rows do not sum to one")
    require(
        close(found.mean(dim=0), 1 / c, 0.05), "sinkhorn: a class that is far from all images gets no share"
    )


def answers(draw, n):
    """Two methods that mostly agree: which images each of them gets right."""
    right_a = torch.rand(n, generator=draw) < 0.7
    flipped = torch.rand(n, generator=draw) < 0.08
    return right_a, right_a ^ flipped


def test_interval_difference(student, draw):
    right_a, right_b = answers(draw, 500)
    middle, low, high = student.numbers("paired_interval", right_a, right_b, 500, 3, count=3)
    expected = right_a.double().mean() - right_b.double().mean()
    require(
        abs(middle - expected) < 1e-4,
        "paired_interval: the first number is not the difference of the two accuracies",
    )
    require(low <= middle <= high, "paired_interval: the difference lies outside of its own interval")


def same_width(found, expected):
    width = expected[2] - expected[1]  # zero where both methods give every image the same answer
    return abs(found[2] - found[1] - width) <= 0.2 * width + 1e-6


def test_interval_paired(student, draw):
    right_a, right_b = answers(draw, 500)
    found = student.numbers("paired_interval", right_a, right_b, 3000, 3, count=3)
    require(
        same_width(found, reference.paired_interval(right_a, right_b, 3000, 3)),
        "paired_interval: the width is not that of a 95 % interval in which both methods see the same resample",
    )


def run_experiment(student, phantoms, labels):
    """The submission's experiment, on working functions of the earlier tasks."""
    student.lend(
        zero_shot=reference.zero_shot,
        text_proxies=reference.text_proxies,
        sinkhorn=reference.sinkhorn,
        paired_interval=reference.paired_interval,
    )
    inputs = (phantoms["images"], labels, phantoms["names"], phantoms["descriptions"], 5)
    return student.entries("experiment", *inputs, keys=(*METHODS, "gain")), reference.experiment(*inputs)


def check_accuracies(found, expected, message):
    for method in METHODS:
        (value,) = as_numbers(f"experiment: {method!r}", found[method], 1)
        share = 0 <= value <= 1 and expected[method] > 2
        require(not share, f"experiment: the accuracy of {method!r} looks like a share; percent is asked for")
        require(abs(value - expected[method]) < 1, f"experiment: the accuracy of {method!r} {message}")


def test_experiment_accuracies(student, phantoms):
    found, expected = run_experiment(student, phantoms, phantoms["labels"])
    check_accuracies(
        found, expected, "is more than a point off: check the settings of the text, and the unit (percent)"
    )


def test_experiment_no_peeking(student, draw, phantoms):
    for target in range(len(phantoms["names"])):  # each class in its turn becomes the largest
        labels = phantoms["labels"].clone()
        labels[torch.rand(len(labels), generator=draw) < 0.6] = target
        found, expected = run_experiment(student, phantoms, labels)
        check_accuracies(
            found, expected, "depends on the labels in another way than by counting right answers"
        )


def test_experiment_interval(student, phantoms):
    for turn in (0, 1):  # the labels, and labels that are wrong in a known way: another gain
        labels = (phantoms["labels"] + turn) % len(phantoms["names"])
        found, expected = run_experiment(student, phantoms, labels)
        gain = as_numbers("experiment: 'gain'", found["gain"], 3)
        message = "experiment: the gain is not transport minus class name, in points"
        require(abs(gain[0] - expected["gain"][0]) < 1, message)
        require(
            same_width(gain, expected["gain"]), "experiment: the interval of the gain is not the paired one"
        )
