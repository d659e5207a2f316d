"""Live figures without a browser: what they hold is right, they compile, and they refuse wrong shapes."""

import copy
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import vl_convert
from PIL import Image

from kpl_lib import live
from kpl_lib.common.errors import InputError
from kpl_lib.features import Features, TextBank
from kpl_lib.knowledge.base import KnowledgeBase
from kpl_lib.knowledge.description import Description
from kpl_lib.text_proxies import text_proxies
from kpl_lib.transport import sinkhorn


def shown(chart, **values) -> list[str]:
    """What the text marks of a chart say, once its parameters have these values."""
    spec = copy.deepcopy(chart.to_dict())
    for param in spec["params"]:
        if param["name"] in values:
            param["value"] = values[param["name"]]
    drawn = vl_convert.vegalite_to_svg(spec, vl_version="5.20")
    marks = re.findall(r'<g class="mark-text role-mark.*?</g>', drawn)
    return [text for group in marks for text in re.findall(r"<text[^>]*>([^<]*)</text>", group)]


LOGITS = torch.tensor(
    [[4.0, 1.0, 0.4], [3.6, 1.2, 0], [2, 1.6, 0.6], [1.8, 0.8, 1.4], [2.4, 2, 0.2], [1.6, 0.4, 1.2]]
)


def table_after(chart, **values) -> torch.Tensor:
    """The 18 cells of `live.half_steps`, between the three sums of columns above and the six of rows beside."""
    return torch.tensor([float(text) for text in shown(chart, **values)[3:21]]).view(6, 3)


@pytest.mark.parametrize(("first", "second"), [(2.0, 2.0), (0.5, 1.5)])
def test_half_steps_arrive_at_the_plan_of_the_library(first, second):
    chart = live.half_steps(LOGITS, ["A", "B", "C"])
    prior = torch.tensor([first, second, 6 - first - second]) / 6
    plan = sinkhorn(LOGITS, temperature=1.0, prior=prior, iterations=1000).pseudo_labels
    last = table_after(chart, step=10, first=first, second=second)
    assert torch.allclose(last, plan, atol=5e-3)
    start = table_after(chart, step=0, first=first, second=second)
    assert torch.allclose(start, LOGITS.softmax(dim=1), atol=1e-3)


def test_half_steps_refuse_another_table():
    with pytest.raises(InputError, match=r"live.half_steps: logits \(5, 3\), 3 names; give \(6, 3\), finite"):
        live.half_steps(LOGITS[:5], ["A", "B", "C"])


def test_ridge_border_is_the_solution_of_the_linear_system():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    points = torch.randn(40, 2, generator=draw) @ torch.tensor([[2.0, 1], [0, 0.5]]) + labels[:, None]
    points = points - points.mean(dim=0)
    chart = live.ridge_border(points, labels)
    for power in (-2.0, 0.0, 2.0):
        b = points.T @ (2.0 * labels - 1) / 40
        w = torch.linalg.solve(points.T @ points / 40 + 10**power * torch.eye(2), b)
        angle = torch.rad2deg(torch.arcsin(torch.cosine_similarity(w, b, dim=0))).item()
        right = 100 * ((points @ w > 0) == (labels == 1)).float().mean().item()
        found = [float(text) for text in shown(chart, power_of_ten=power)]
        assert found == pytest.approx([10**power, angle, right], abs=0.06)


def test_ridge_border_refuses_points_off_the_centre():
    with pytest.raises(InputError, match=r"live.ridge_border: points \(4, 2\).*centred"):
        live.ridge_border(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))


def run(method, images, encoder, *shares, reads="d"):
    """A row of a benchmark with a value, its interval and its difference."""
    names = (
        "balanced_accuracy",
        "balanced_accuracy_low",
        "balanced_accuracy_high",
        "difference_balanced_accuracy",
    )
    facts = {"method": method, "reads": reads, "images": images, "encoder": encoder, "classes": 4}
    return facts | {"majority_rate": 0.6, "where": "a file"} | dict(zip(names, shares, strict=False))


BOARD = [
    run("clip", "synthetic eyes", "first", 0.7, 0.6, 0.8, float("nan")),
    run("clip", "synthetic chest", "first", 0.8, 0.7, 0.9, float("nan")),
    run("clip", "synthetic eyes", "second", 0.6, 0.5, 0.7, float("nan")),
    run("kpl", "synthetic eyes", "first", 0.9, 0.8, 1.0, 0.2),
    run("kpl", "synthetic chest", "first", 0.72, 0.65, 0.8, -0.08),
    run("kpl", "synthetic eyes", "second", 0.55, 0.5, 0.6, -0.05),
    run("kpl", "synthetic eyes", "first", 0.5, 0.4, 0.6, 0.1, reads="n"),
    run("probe", "synthetic eyes", "labels", 0.95, 0.9, 1.0, reads=""),
    run("stata", "real eyes", "real", 0.3, reads=""),
]


def board(**values) -> list[str]:
    images = {"all": "synthetic", "eyes": "synthetic eyes", "real": "real"}
    encoders = {"three": "three", "first": "first", "second": "second"}
    chart = live.leaderboard(BOARD, images, encoders, {"descriptions": "d", "class names": "n"})
    return [text for text in shown(chart, **values) if text]


def test_leaderboard_shows_a_line_a_method_and_its_worst_difference():
    constant = "constant answer 25.0, further left"
    assert board() == [
        "67.5",
        "68.0",
        "−8.0",
        constant,
        "value",
    ]  # means of the encoders: 75 and 60, 81 and 55
    assert board(images="synthetic eyes", encoder="second") == ["60.0", "55.0", "−5.0", constant, "value"]
    assert board(encoder="first", text="n") == ["50.0", "95.0", "+10.0", constant, "value"]
    assert board(images="real") == ["30.0", "constant answer 25.0, dashed", "value"]
    assert board(images="real", metric="c") == ["value", "not measured on real images"]


def test_leaderboard_refuses_a_row_without_its_facts():
    with pytest.raises(InputError, match=r"live.leaderboard: row 0 lacks where"):
        live.leaderboard([{k: v for k, v in BOARD[0].items() if k != "where"}], {}, {}, {})


def two_sets(**changed):
    """Two sets of six images, two classes and four lines, and a map that moves the texts by the gap of their set."""
    draw = torch.Generator().manual_seed(0)
    found, banks, proxies, pictures, images, texts = {}, {}, {}, {}, [], []
    for name, count in (("here", 6), ("there", 6)):
        x, t = (
            F.normalize(torch.randn(count, 5, generator=draw), dim=1),
            F.normalize(torch.randn(4, 5, generator=draw), dim=1),
        )
        found[name] = Features(x, torch.arange(count) % 2)
        lines = (("one", "two"), ("three", "four"))
        banks[name] = TextBank((f"{name} a", f"{name} b"), [t[:2], t[2:]], t[::2], lines)
        proxies[name], pictures[name] = t[::2], [Image.new("RGB", (8, 8))] * count
        images.append(x)
        texts.append(torch.stack([t + a * (x.mean(0) - t.mean(0)) for a in (0, 0.5, 1)]))
    maps = {"flat": torch.cat([torch.cat(images).expand(3, -1, -1), *texts], dim=1)[:, :, :2]}
    return {
        "features": found,
        "banks": banks,
        "proxies": proxies,
        "pictures": pictures,
        "maps": maps,
    } | changed


@pytest.mark.parametrize(("share", "left"), [(0, 100), (0.5, 50), (1, 0)])
def test_gap_map_changes_no_label_when_texts_move_and_those_of_the_offset_when_images_move(share, left):
    world = two_sets()
    x, t = world["features"]["here"].images, world["proxies"]["here"]
    d = x.mean(0) - torch.cat(world["banks"]["here"].descriptions).mean(0)
    before, after = (x @ t.T).argmax(1), ((x - share * d) @ t.T).argmax(1)
    truth = world["features"]["here"].labels
    said = [float(text) for text in shown(live.gap_map(**world), share=share, chosen="here")]
    percent = [(before != after), (before == truth), (after == truth)]
    changed, kept, moved = (100 * part.float().mean().item() for part in percent)
    assert said == pytest.approx([3, 3, 2, 2, left, left, 0, changed, kept, moved], abs=0.1)


def test_gap_map_refuses_places_pictures_and_lines_that_do_not_fit():
    with pytest.raises(InputError, match=r"20 images and lines, and places \(3, 19, 2\) of 'flat'"):
        live.gap_map(**two_sets(maps={"flat": torch.zeros(3, 19, 2)}))
    with pytest.raises(InputError, match=r"'here' has 6 images and 1 pictures"):
        live.gap_map(**two_sets(pictures={"here": [Image.new("RGB", (8, 8))]}))
    world = two_sets()
    world["banks"]["here"] = replace(world["banks"]["here"], texts=((), ()))
    with pytest.raises(InputError, match=r"the bank of 'here' has no texts"):
        live.gap_map(**world)


@pytest.fixture
def way():
    """Images of two classes around a mean, and class vectors that go from one side of it to the other in 20 steps."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    images = torch.randn(40, 6, generator=draw) * 0.1 + torch.eye(6)[0]
    images = F.normalize(images + 0.5 * torch.eye(6)[1 + labels], dim=1)
    turns = torch.linspace(0, torch.pi, 21)[:, None, None]
    vectors = turns.cos() * torch.eye(6)[0] + turns.sin() * torch.eye(6)[1:3]
    return images, labels, vectors


@pytest.mark.parametrize(("moment", "step"), [(0, 0), (7, 7), (40, 20)])
def test_proxy_path_shows_step_cosine_and_accuracy(way, moment, step):
    images, labels, vectors = way
    weights = vectors[step]
    right = 100 * ((images @ weights.T).argmax(dim=1) == labels).double().mean().item()
    cosine = (weights @ F.normalize(images.mean(dim=0), dim=0)).mean().item()
    chart = live.proxy_path(images, labels, ["a", "b"], {"there": vectors, "back": vectors.flip(0)})
    found = [float(text.replace("\u2212", "-")) for text in shown(chart, moment=moment)[:3]]
    assert found == pytest.approx([step, cosine, right], abs=0.06)


def test_proxy_path_takes_early_steps_one_by_one_and_ends_at_the_last(way):
    images, labels, vectors = way
    chart = live.proxy_path(images, labels, ["a", "b"], {"long": vectors.repeat(100, 1, 1)})
    rows = [row for rows in chart.to_dict()["datasets"].values() for row in rows if "moment" in row]
    steps = [row["step"] for row in rows if row["class"] == "a"]
    assert steps[:13] == list(range(13)) and steps[-1] == 2099 and len(steps) == 41
    assert steps == sorted(set(steps))


def test_proxy_path_refuses_a_run_of_other_classes(way):
    images, labels, vectors = way
    with pytest.raises(InputError, match=r"live.proxy_path: images \(40, 6\).*3 names"):
        live.proxy_path(images, labels, ["a", "b", "c"], {"there": vectors})


def lines_to_choose():
    """Two classes of three lines along the axes; the mean image lies between the first two axes."""
    records = {
        "a": [Description("far", (), False), Description("near", (), True), Description("middle", (), True)],
        "b": [Description("close", (), True), Description("off", (), False), Description("out", (), False)],
    }
    x = F.normalize(torch.tensor([[0.2, 1.0, 0.1], [0.9, 0.4, 0.0], [0.1, 0.8, 0.3]]), dim=1)
    rows = torch.eye(3)[[2, 1, 0]], torch.eye(3)[[0, 1, 2]]
    bank = TextBank(("a", "b"), rows, torch.eye(3)[:2])
    return {"demo": KnowledgeBase("demo", records)}, {"demo": bank}, {"demo": Features(x, [0, 1, 0])}


@pytest.mark.parametrize(("k", "numbers"), [(1, ["66.7", "100.0", "66.7"]), (3, ["66.7", "66.7", "66.7"])])
def test_kept_lines_stand_in_the_order_of_the_ranking_with_the_accuracy_of_k(k, numbers):
    knowledge, banks, features = lines_to_choose()
    said = shown(live.kept_lines(knowledge, banks, features), k=k, chosen="demo: a")
    assert said[:3] == ["near", "middle", "far"]
    found = text_proxies(banks["demo"], features["demo"].images, k=k).weights
    right = (features["demo"].images @ found.T).argmax(1) == features["demo"].labels
    assert said[3] == f"{100 * right.float().mean():.1f}" and said[4:] == numbers[1:]


def test_kept_lines_refuse_lines_without_records():
    _, banks, features = lines_to_choose()
    short = {"demo": KnowledgeBase("demo", {"a": [Description("far")], "b": [Description("off")]})}
    with pytest.raises(InputError, match=r"'demo' has \(3, 3\) lines and \(1, 1\) records"):
        live.kept_lines(short, banks, features)


def test_set_sizes_shows_the_frame_that_is_asked():
    reached = torch.tensor([[0.88, 0.92], [0.93, 0.95]])
    shares = torch.tensor([[0.1, 0.7, 0.2], [0.0, 0.4, 0.6]])
    chart = live.set_sizes([90, 91], {"text": (reached, shares), "a coin": (reached, shares.flip(1))})
    assert shown(chart) == ["10.0", "70.0", "20.0", "90.0", "1.10"]
    assert shown(chart, asked=91, way="a coin") == ["60.0", "40.0", "0.0", "94.0", "0.40"]


def test_set_sizes_refuse_a_way_with_other_levels():
    with pytest.raises(InputError, match=r"live.set_sizes: 'text' has \(3, 2\) and \(2, 3\) for 2 coverages"):
        live.set_sizes([90, 91], {"text": (torch.rand(3, 2), torch.rand(2, 3))})


def test_screening_counts_people_by_bayes_rule():
    odds = torch.tensor([4.0, 2.0, 1.0, -1.0, 3.0, 0.5, -0.5, -2.0, -3.0, -4.0])
    sick = torch.arange(10) < 4
    chart = live.screening(odds, sick)
    #           found missed alarmed left    sens    spec    PPV
    even = ["150", "50", "267", "533", "75.0", "66.7", "36.0"]
    assert shown(chart, prevalence=20, threshold=50) == even
    told = ["100", "100", "133", "667", "50.0", "83.3", "42.9"]  # log odds of one in five: cut at 1.4
    assert shown(chart, prevalence=20, threshold=50, told=True) == told
    assert shown(chart, prevalence=1, threshold=99, told=True)[-1] == "no alarm"


def test_screening_refuses_one_kind():
    with pytest.raises(InputError, match=r"live.screening: log odds \(3,\), sick \(3,\).*both kinds"):
        live.screening(torch.zeros(3), torch.ones(3, dtype=torch.bool))
