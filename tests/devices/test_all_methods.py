"""Every classifier, solver and metric on a second device: nothing of the CPU on the way, and the CPU's answer.

The device is pretended (see `pretended_device`): what mixes devices fails, as it does on a GPU. On it the kernels are
those of the CPU, so equal numbers give equal answers, to the last bit. Numbers are not quite equal where a prior comes
in float32; many steps make 0.001 of that.
"""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from core_world import bank_of, world
from peer_world import make_world
from pretended_device import DEVICE, pretended

from kpl_lib import gap, metrics, transport, vision_proxies
from kpl_lib.classifiers import Classifier, available, create
from kpl_lib.classifiers.agreement import text_agreement
from kpl_lib.classifiers.references import class_means, linear_probe
from kpl_lib.classifiers.start import STARTS
from kpl_lib.common.errors import InputError
from kpl_lib.decisions import (
    calibrate,
    cross_coverage,
    evaluate_sets,
    joint_step,
    net_benefit,
    rank_encoders,
    same_source,
)
from kpl_lib.features import Features, TextBank, join
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge.controls import with_controls
from kpl_lib.knowledge.coverage import coverage_of
from kpl_lib.patches import Patches
from kpl_lib.plots import plane
from kpl_lib.prediction import Prediction
from kpl_lib.solvers.gradient import descend
from kpl_lib.solvers.ridge import ridge_system
from kpl_lib.solvers.temperature import softmax_temperature
from kpl_lib.sweep import sweep
from kpl_lib.text_proxies import text_proxies, text_proxies_sweep

NAMES = available(patches=True)
READERS = [name for name in NAMES if create(name).reads_labels]
PRIOR = [0.5, 0.3, 0.2]
APART = 1e-3  # of a probability; measured 1e-6, and 0 for equal numbers
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the small world makes methods warn of

IMAGES, BANK, TRUTH = make_world((16, 14, 12), noise=0.9)
TOKENS = torch.nn.functional.normalize(
    IMAGES[:, None] + 0.3 * IMAGES.roll(1, 0)[:, None].expand(-1, 4, -1), dim=2
)
FEATURES = Features(IMAGES, TRUTH, BANK.class_names)
KNOWN = torch.where(torch.arange(len(TRUTH)) % 4 == 0, TRUTH, -1)
SAID = create("sinkhorn").fit_predict(IMAGES, BANK)


@pytest.fixture(autouse=True)
def device():
    with pretended() as reads:
        yield reads


def moved(x):
    """The same on the device."""
    if isinstance(x, torch.Tensor | Features | TextBank):
        return x.to(DEVICE)
    if isinstance(x, list | tuple):
        return type(x)(map(moved, x))
    if isinstance(x, dict):
        return {key: moved(value) for key, value in x.items()}
    if is_dataclass(x):
        tensors = {f.name: getattr(x, f.name) for f in fields(x)}
        return replace(
            x, **{key: moved(value) for key, value in tensors.items() if isinstance(value, torch.Tensor)}
        )
    return x


def same(found, expected, host=False):
    """Raise unless both say the same, and the tensors found lie on the device."""
    if isinstance(expected, torch.Tensor):
        assert found.device == torch.device("cpu" if host else DEVICE)
        torch.testing.assert_close(found.cpu(), expected, atol=APART, rtol=APART)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other, host)
    elif is_dataclass(expected):
        for field in fields(expected):
            same(getattr(found, field.name), getattr(expected, field.name), host)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=APART, nan_ok=True)
    elif isinstance(expected, dict):
        assert {key: str(value) for key, value in found.items()} == {k: str(v) for k, v in expected.items()}
    else:
        assert found == expected


def same_answer(found: Prediction, expected: Prediction):
    """Equal labels, near probabilities, all of it on the device."""
    for key in ("probabilities", "scores", "labels"):
        assert getattr(found, key).device == torch.device(DEVICE)
    assert torch.equal(found.labels.cpu(), expected.labels)
    assert float((found.probabilities.cpu() - expected.probabilities).abs().max()) <= APART


FEW = {"steps": 20, "rounds": 1, "iterations": 6, "sweeps": 50}


def made(name, **given) -> Classifier:
    """A method that takes few steps, rounds and so on."""
    return create(name, **{key: few for key, few in FEW.items() if key in create(name).parameters}, **given)


def with_tokens(name, tokens):
    return {"patches": tokens} if create(name).needs_patches else {}


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_gives_the_answer_of_the_cpu(name):
    """At its own settings, with a bank on the CPU, as an encoder gives it."""
    expected = create(name).fit_predict(IMAGES, BANK, patches=TOKENS)
    same_answer(create(name).fit_predict(moved(IMAGES), BANK, patches=moved(TOKENS)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_with_more_dimensions_than_images(name):
    """Where a method solves the smaller of two systems, it is the other one."""
    images, bank, _ = make_world((7, 6, 5), d=24)
    tokens = images[:, None].expand(-1, 2, -1)
    expected = made(name).fit_predict(images, bank, patches=tokens)
    same_answer(made(name).fit_predict(moved(images), bank, patches=moved(tokens)), expected)


@pytest.mark.parametrize("text", STARTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_takes_every_text(name, text):
    expected = made(name, text=text).fit_predict(IMAGES, BANK, patches=TOKENS)
    same_answer(
        made(name, text=text).fit_predict(moved(IMAGES), moved(BANK), patches=moved(TOKENS)), expected
    )


@pytest.mark.parametrize("kind", ("list", "CPU", "device"))
@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_takes_every_prior(name, kind):
    prior = {"list": PRIOR, "CPU": torch.tensor(PRIOR), "device": torch.tensor(PRIOR).to(DEVICE)}[kind]
    expected = made(name).fit_predict(IMAGES, BANK, PRIOR, patches=TOKENS)
    same_answer(made(name).fit_predict(moved(IMAGES), BANK, prior, patches=moved(TOKENS)), expected)


@pytest.mark.parametrize("kind", ("list", "CPU", "device"))
@pytest.mark.parametrize("name", READERS)
def test_a_classifier_takes_labels_of_any_device(name, kind):
    labels = {"list": KNOWN.tolist(), "CPU": KNOWN, "device": KNOWN.to(DEVICE)}[kind]
    expected = made(name).fit_predict(IMAGES, BANK, labels=KNOWN)
    same_answer(made(name).fit_predict(moved(IMAGES), BANK, labels=labels), expected)


@pytest.mark.parametrize("dtype", (torch.float16, torch.float64))
@pytest.mark.parametrize("name", NAMES)
def test_a_classifier_takes_other_precisions(name, dtype):
    images = torch.nn.functional.normalize(IMAGES.double(), dim=1).to(dtype)
    expected = made(name).fit_predict(images, BANK, patches=TOKENS)
    same_answer(made(name).fit_predict(moved(images), BANK, patches=moved(TOKENS)), expected)


OPTIONS = [("kpl-closed-form", {"plan": "converged"}), ("kpl-closed-form", {"intercept": True})]
OPTIONS += [("stata", {"initial_means": "confident"}), ("stata", {"soft_counts": True})]
OPTIONS += [("kpl-adaptive", {"decision": "posterior"}), ("kpl-em", {"estimate_shares": True})]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options_stay_on_the_device(name, options):
    expected = create(name, **options).fit_predict(IMAGES, BANK)
    same_answer(create(name, **options).fit_predict(moved(IMAGES), BANK), expected)


@pytest.mark.parametrize("fitted", ("CPU", "device"))
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_classifier_predicts_on_the_device(name, fitted, tmp_path):
    """One that was loaded, or fitted on the CPU, is refused with the cure, and the cure works."""
    method = made(name).fit(IMAGES if fitted == "CPU" else moved(IMAGES), BANK)
    method.save(tmp_path / "model")
    loaded, expected = Classifier.load(tmp_path / "model"), made(name).fit(IMAGES, BANK)
    new, tokens = IMAGES[3:9], TOKENS[3:9]
    expected = expected.predict(new, **with_tokens(name, tokens))
    assert torch.equal(loaded.predict(new, **with_tokens(name, tokens)).labels, expected.labels)
    with pytest.raises(InputError, match=r"on cpu, images on privateuseone:0: move one with \.to\(device\)"):
        loaded.predict(moved(new), **with_tokens(name, moved(tokens)))
    for one in (loaded, method):
        same_answer(one.to(DEVICE).predict(moved(new), **with_tokens(name, moved(tokens))), expected)
    back = method.to("cpu").predict(new, **with_tokens(name, tokens))
    assert torch.equal(back.labels, expected.labels)


JOINED = ("clip", "description-vote", "kpl-closed-form", "sota", "kpl-adaptive")


@pytest.mark.parametrize("place", ("cpu", DEVICE))
@pytest.mark.parametrize("name", JOINED)
def test_joined_encoders_stay_on_the_device(name, place, tmp_path):
    other, more, _ = make_world((16, 14, 12), seed=5)
    images, bank = join([FEATURES, Features(other, TRUTH, BANK.class_names)]), join([BANK, more])
    method = create(name, text="top-k")
    expected = method.fit_predict(images, bank)
    same_answer(create(name, text="top-k").fit_predict(moved(images), bank.to(place)), expected)
    method.save(tmp_path / "model")
    expected, loaded = method.predict(images), Classifier.load(tmp_path / "model").to(DEVICE)
    same_answer(loaded.predict(moved(images)), expected)
    for said in ("moved", "support", "contradiction", "names", "halves", "shares", "text_shares"):
        if hasattr(method.model, said):
            same(getattr(loaded.model, said), getattr(method.model, said))


@pytest.mark.parametrize("labels", (None, KNOWN))
def test_findings_are_told_from_the_device(labels):
    plain, there = (
        create("kpl-adaptive").fit(moved_or_not, BANK, labels=labels)
        for moved_or_not in (IMAGES, moved(IMAGES))
    )
    assert there.findings == plain.findings and (plain.findings or labels is not None)


def test_files_hold_what_lay_on_the_device(tmp_path):
    features, patches = moved(FEATURES), Patches(moved(FEATURES), moved(TOKENS))
    for i, kept in enumerate((features, moved(BANK), patches)):
        kept.save(tmp_path / str(i))
    assert torch.equal(Features.load(tmp_path / "0").labels, TRUTH)
    same(TextBank.load(tmp_path / "1"), BANK, host=True)
    same(Patches.load(tmp_path / "2").tokens, TOKENS.half(), host=True)
    same_answer(
        create("calip").fit_predict(patches, BANK),
        create("calip").fit_predict(Patches(FEATURES, TOKENS), BANK),
    )
    same(Features(3 * moved(IMAGES), normalize=True).images, FEATURES.images)


def test_a_stream_goes_on_where_its_images_are():
    plain, there = create("oga").fit(IMAGES, BANK), create("oga").fit(moved(IMAGES), BANK)
    for rows in (slice(0, 1), slice(1, 12)):
        same_answer(there.update(moved(IMAGES[rows])), plain.update(IMAGES[rows]))


def test_lines_to_compare_with_read_the_device():
    same(class_means(moved(FEATURES)), class_means(FEATURES))
    probe = linear_probe(FEATURES, FEATURES, shots=4, draws=1)
    same(linear_probe(moved(FEATURES), moved(FEATURES), shots=4, draws=1), probe)
    same(linear_probe(moved(FEATURES), FEATURES, shots=4, draws=1), probe)


# Solvers: arguments on the CPU, then the same on the device.

X, TEXTS, _ = world(n=60, d=12, c=3, m=5, dtype=torch.float32)
TEXT_BANK = bank_of(TEXTS)
T = TEXTS[:, 0]
Y = transport.sinkhorn(X @ T.T).pseudo_labels
OTHER = [x.flip(1) for x in (X, T)]
STEPS = {"steps": 40}

SOLVERS = {
    "sinkhorn": (transport.sinkhorn, X @ T.T),
    "sinkhorn, tolerance and prior": (
        lambda L, q: transport.sinkhorn(L, prior=q, iterations=500, tolerance=1e-6),
        X @ T.T,
        torch.tensor(PRIOR),
    ),
    "sinkhorn, float16": (transport.sinkhorn, (X @ T.T).half()),
    "greenkhorn": (lambda L, q: transport.greenkhorn(L, prior=q), X @ T.T, torch.tensor(PRIOR)),
    "greenkhorn, released": (lambda L: transport.greenkhorn(L, start="released"), X @ T.T),
    "steps, published order": (lambda *given: vision_proxies.fit_proxies(*given, **STEPS), X, T, Y),
    "steps, float64": (
        lambda *given: vision_proxies.fit_proxies(*given, **STEPS),
        *(torch.nn.functional.normalize(x.double(), dim=1) for x in (X, T)),
        Y.double(),
    ),
    "steps, float16 images": (lambda *given: vision_proxies.fit_proxies(*given, **STEPS), X.half(), T, Y),
    "steps, watched": (
        lambda *given: vision_proxies.fit_proxies(*given, steps=12, callback=lambda *seen: None),
        X,
        T,
        Y,
    ),
    "closed form": (lambda x, y: vision_proxies.ridge_proxies(x, y), X, Y / len(X)),
    "closed form, rows of sum 1": (lambda x, y: vision_proxies.ridge_proxies(x, y), X, Y),
    "closed form, fewer images than dimensions": (vision_proxies.ridge_proxies, X[:8], Y[:8] / 8),
    "closed form, intercept": (lambda x, y: vision_proxies.ridge_proxies(x, y, intercept=True), X, Y),
    "closed form, float16": (vision_proxies.ridge_proxies, X.half(), Y / len(X)),
    "leverage": (lambda x: ridge_system(x, 0.04).leverage(), X),
    "leverage, fewer images": (lambda x: ridge_system(x, 0.04).leverage(), X[:8]),
    "temperature": (softmax_temperature, X @ T.T, Y),
    "text proxies": (text_proxies, TEXT_BANK, X, 3),
    "text proxies, several k": (text_proxies_sweep, TEXT_BANK, X, (1, 3, 9)),
    "text proxies of joined encoders": (
        text_proxies,
        join([TEXT_BANK, bank_of(TEXTS.flip(2))]),
        join([Features(X), Features(X.flip(1))]).images,
        3,
    ),
    "scores": (lambda x, t, y: vision_proxies.fit_proxies(x, t, y, steps=5).probabilities(x), X, T, Y),
    "gap": (gap.modality_gap, X, TEXTS.flatten(0, 1)),
    "gap, closed": (gap.close_gap, X, T),
    "rank": (gap.effective_rank, X),
    "agreement": (text_agreement, X, list(TEXTS), T),
    "joint step": (joint_step, SAID),
    "same source": (lambda a, b: same_source(a, b, permutations=50), X[:30], X[30:]),
    "same source, patients": (
        lambda a, b: same_source(
            a, b, first_groups=[*"abc"] * 10, second_groups=[*"def"] * 10, permutations=50
        ),
        X[:30],
        X[30:],
    ),
    "encoders, ranked by features": (
        lambda x, y: rank_encoders({"one": (x, BANK), "two": (y, BANK)}),
        FEATURES,
        Features(IMAGES.flip(1), TRUTH, BANK.class_names),
    ),
    "steps of several settings": (
        lambda x, t, y: (
            descend(  # a device is asked less often whether the steps have died out
                x, t.expand(3, -1, -1), y.T.expand(3, -1, -1), x.new_tensor([0.02, 0.04, 0.2]), 10.0, 400
            ).weights
        ),
        X.double(),
        T.double(),
        transport.greenkhorn(X @ T.T, start="released").pseudo_labels.double(),
    ),
    "encoders, ranked": (
        rank_encoders,
        {"one": (X, TEXT_BANK), "two": (OTHER[0], bank_of(TEXTS.flip(2)))},
    ),
}
SOLVERS |= {
    f"sweep, {plan}, {'closed form' if closed else 'steps'}": (
        lambda b, x, plan=plan, closed=closed: sweep(
            b, x, (1, 4), plan=plan, closed_form=closed, intercept=closed, prior=PRIOR, steps=20
        ),
        TEXT_BANK,
        X,
    )
    for plan in ("softmax", "sinkhorn", "converged", "released")
    for closed in (False, True)
}


@pytest.mark.parametrize("what", SOLVERS)
def test_a_solver_stays_on_the_device(what):
    function, *given = SOLVERS[what]
    same(function(*moved(given)), function(*given))


@pytest.mark.parametrize("what", ("steps, published order", "steps, float16 images", "steps, watched"))
def test_the_steps_of_many_images_stay_on_the_device(what, monkeypatch):
    monkeypatch.setattr(vision_proxies, "SMALL", 0)
    monkeypatch.setattr("kpl_lib.solvers.gradient.CONVERT", 0)
    function, *given = SOLVERS[what]
    same(function(*moved(given)), function(*given))


@pytest.mark.parametrize(
    "function",
    (
        lambda bank, x: text_proxies(bank, x, k=2),
        lambda bank, x: text_proxies_sweep(bank, x, (1, 2)),
        lambda bank, x: sweep(bank, x, (1, 2), plan="sinkhorn", steps=5),
        lambda bank, x: rank_encoders({"one": (x, bank), "two": (x.flip(1), bank)}),
    ),
)
def test_a_bank_of_the_cpu_goes_where_the_images_are(function):
    """An encoder gives banks on the CPU."""
    same(function(TEXT_BANK, moved(X)), function(TEXT_BANK, X))


def test_knowledge_follows_the_images_and_the_bank():
    base = KnowledgeBase.load("phantom-cataract")
    rows = torch.nn.functional.normalize(
        torch.randn(400, 12, generator=torch.Generator().manual_seed(0)), dim=1
    )
    counts = [len(texts) for texts in base.classes.values()]
    bank = TextBank(base.class_names, list(rows[: sum(counts)].split(counts)), rows[: len(counts)])

    def encode(texts):
        return rows[torch.tensor([len(text) % 400 for text in texts])]

    same(coverage_of(base, bank, moved(X)), coverage_of(base, bank, X))
    found = with_controls(moved(bank), base, encode).controls
    same(list(found.values()), list(with_controls(bank, base, encode).controls.values()))


def test_a_map_reads_the_device():
    torch.testing.assert_close(
        torch.as_tensor(plane(moved(X))), torch.as_tensor(plane(X)), atol=APART, rtol=APART
    )


LABELS = {"list": TRUTH.tolist(), "CPU": TRUTH, "device": TRUTH}
METRICS = {
    "accuracy": metrics.accuracy,
    "balanced accuracy": metrics.balanced_accuracy,
    "confusion": lambda p, y: metrics.confusion_matrix(p, y).tolist(),
    "reliability": lambda p, y: metrics.reliability_curve(p, y).ece,
    "all": lambda p, y: metrics.evaluate(
        p, y, resamples=20, ordered=True, groups=[i // 2 for i in range(42)]
    ),
    "of one class": lambda p, y: metrics.evaluate(p, y, intervals=False, positive="b"),
    "difference": lambda p, y: metrics.paired_difference(p, SAID, y, resamples=20),
    "net benefit": lambda p, y: net_benefit(p, y, [0.2, 0.5], positive=1).model.tolist(),
    "net benefit of probabilities": lambda p, y: net_benefit(
        p.probabilities[:, 1], y == 1 if isinstance(y, torch.Tensor) else [int(c == 1) for c in y], 0.3
    ).model.tolist(),
    "sets": lambda p, y: calibrate(p, y, coverage=0.8).sets(p).answers,
    "sets by class": lambda p, y: calibrate(p, y, coverage=0.8, by_class=True, score="aps").sets(p).answers,
    "sets of patients": lambda p, y: (
        calibrate(p, y, coverage=0.8, score="raps", groups=[i // 2 for i in range(42)]).sets(p).mean_size
    ),
    "coverage": lambda p, y: evaluate_sets(calibrate(p, y, coverage=0.8).sets(p), y).coverage,
    "coverage of patients": lambda p, y: (
        evaluate_sets(calibrate(p, y, coverage=0.8).sets(p), y, groups=[i // 2 for i in range(42)]).coverage
    ),
    "coverage in turn": lambda p, y: cross_coverage(p, y, coverage=0.75).coverage,
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("what", METRICS)
def test_a_metric_takes_labels_of_any_device(what, kind):
    labels = moved(LABELS[kind]) if kind == "device" else LABELS[kind]
    same(METRICS[what](moved(SAID), labels), METRICS[what](SAID, LABELS[kind]))
    if kind == "device":
        same(METRICS[what](SAID, labels), METRICS[what](SAID, TRUTH))


def test_sets_calibrated_on_the_cpu_are_made_on_the_device():
    made_here = calibrate(SAID, TRUTH, coverage=0.8)
    assert torch.equal(made_here.sets(moved(SAID)).sets.cpu(), made_here.sets(SAID).sets)
