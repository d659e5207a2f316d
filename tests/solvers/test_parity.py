"""The library against what the released code returned, and against the published loop."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from core_world import cosine_of_deviations
from published_loop import published_loop

from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import fit_proxies, ridge_proxies

PLANS = ("softmax", "sinkhorn", "greenkhorn_released")
FROZEN = json.loads((Path(__file__).parent / "released_figures.json").read_text())


def plan_of(logits, name):
    if name == "softmax":
        return (logits / 0.01).softmax(dim=1)
    if name == "sinkhorn":
        return sinkhorn(logits).pseudo_labels
    return greenkhorn(logits, start="released").pseudo_labels


@pytest.fixture(scope="module")
def released(request):
    path = request.getfixturevalue("shared")("parity/released.npz")
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("case", ("case0", "case3"))
def test_frozen_plans(case, name):
    figures = FROZEN[case]
    if "logits" in figures:
        logits = torch.tensor(figures["logits"])
    else:
        logits = torch.tensor(figures["images"]) @ torch.tensor(figures["text"]).T
    expected = torch.tensor(figures[f"plan_{name}"])
    assert (plan_of(logits, name) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", PLANS)
def test_frozen_proxies_predict_the_same(name):
    figures = {key: torch.tensor(rows) for key, rows in FROZEN["case3"].items()}
    fit = fit_proxies(figures["images"], figures["text"], figures[f"plan_{name}"])
    theirs = (figures["images"] @ figures[f"proxies_{name}"].T).argmax(dim=1)
    assert torch.equal(fit.scores(figures["images"]).argmax(dim=1), theirs)
    assert cosine_of_deviations(fit.weights, figures[f"proxies_{name}"]) >= 0.999


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("i", range(5))
def test_all_released_cases(released, i, name):
    images, text = released[f"case{i}_images"], released[f"case{i}_text"]
    plan, proxies = released[f"case{i}_plan_{name}"], released[f"case{i}_proxies_{name}"]
    assert (plan_of(images @ text.T, name) - plan).abs().max() <= 1e-5
    fit = fit_proxies(images, text, plan)
    assert torch.equal(fit.scores(images).argmax(dim=1), (images @ proxies.T).argmax(dim=1))
    if name == "greenkhorn_released":
        assert cosine_of_deviations(fit.weights, proxies) >= 0.999
        exact = published_loop(images.double(), text.double(), plan.double())
        if i not in (2, 3):  # case 2 has column masses, case 3 has five images: its conditions fail
            solved = ridge_proxies(images, plan)
            assert torch.equal(solved.scores(images).argmax(dim=1), (images.double() @ exact.T).argmax(dim=1))
            assert cosine_of_deviations(solved.weights, exact) >= 0.9999


def test_the_closed_form_says_so_where_case_3_breaks_its_conditions():
    figures = {key: torch.tensor(rows) for key, rows in FROZEN["case3"].items()}
    with pytest.warns(UserWarning, match=r"column mass .* = 0\.2"):
        solved = ridge_proxies(figures["images"], figures["plan_greenkhorn_released"])
    exact = published_loop(*(figures[k].double() for k in ("images", "text", "plan_greenkhorn_released")))
    assert cosine_of_deviations(solved.weights, exact) >= 0.999


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("i", range(5))
def test_float64_weights_equal_the_published_loop(released, i, name):
    images, text, plan = (released[f"case{i}_{k}"].double() for k in ("images", "text", f"plan_{name}"))
    loop = published_loop(images, text, plan)
    assert (fit_proxies(images, text, plan).weights - loop).abs().max() <= 1e-6


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("i", range(5))
def test_float32_is_as_near_to_float64_as_the_published_loop(released, i, name):
    given = [released[f"case{i}_{k}"] for k in ("images", "text", f"plan_{name}")]
    exact = published_loop(*(x.double() for x in given))
    fit = fit_proxies(*given)
    assert (fit.weights - exact).abs().max() <= 3 * (published_loop(*given) - exact).abs().max()


def test_the_tests_loop_is_the_yardstick_of_shared(shared, released):
    spec = importlib.util.spec_from_file_location("plain", shared("plain.py"))
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    given = [released[f"case0_{k}"] for k in ("images", "text", "plan_sinkhorn")]
    assert torch.equal(published_loop(*given, steps=300), plain.plain_loop(*given, steps=300))


def test_closed_form_equals_the_steps_on_real_features(natural7):
    images, text = natural7
    plan = greenkhorn(images @ text.T, start="released").pseudo_labels
    exact = fit_proxies(images.double(), text.double(), plan.double())
    assert exact.steps < 2000 and exact.converged
    steps = exact.scores(images.double()).argmax(dim=1)
    solved = ridge_proxies(images, plan).scores(images).argmax(dim=1)
    in_float32 = fit_proxies(images, text, plan).scores(images).argmax(dim=1)
    assert (solved == steps).double().mean() >= 0.999
    assert (in_float32 == steps).double().mean() >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", ("released", "converged"))
def test_real_features_against_the_published_loop(natural7, name):
    images, text = natural7
    logits = images @ text.T
    plan = plan_of(logits, "greenkhorn_released")
    if name == "converged":
        plan = sinkhorn(logits, iterations=5000, tolerance=1e-9).pseudo_labels
    given = (images, text, plan)
    exact = published_loop(*(x.double() for x in given))
    double, single = fit_proxies(*(x.double() for x in given)), fit_proxies(*given)
    assert (double.weights - exact).abs().max() <= 1e-6
    agree = single.scores(images).argmax(dim=1) == (images.double() @ exact.T).argmax(dim=1)
    assert agree.double().mean() >= 0.999
    plain = published_loop(*given)
    assert (single.weights - exact).abs().max() <= 3 * (plain - exact).abs().max()
