"""Each peer against its formula, written as plain loops in NumPy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peer_world import C, N, make_world
from published_loop import published_loop
from scipy.optimize import linprog

from kpl_lib.classifiers import create
from kpl_lib.transport import greenkhorn, sinkhorn
from kpl_lib.vision_proxies import ridge_proxies


@pytest.fixture(scope="module")
def world():
    return make_world((20, 12, 8))


@pytest.fixture(scope="module")
def arrays(world):
    """X, T and the cosines, float64."""
    x, t = world[0].double().numpy(), world[1].names.double().numpy()
    return x, t, x @ t.T


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sweeps(logits, q, count):
    """Rows of sum 1 after `count` sweeps: columns to N q, then rows to 1."""
    plan = softmax(logits)
    for _ in range(count):
        for j in range(plan.shape[1]):
            plan[:, j] *= len(plan) * q[j] / plan[:, j].sum()
        for i in range(len(plan)):
            plan[i] /= plan[i].sum()
    return plan


def same(prediction, expected, atol=1e-5):
    np.testing.assert_allclose(prediction.probabilities.double().numpy(), expected, atol=atol, rtol=0)


def test_description_vote_is_the_mean_cosine(world):
    images, bank, _ = world
    expected = np.zeros((N, C))
    for i in range(N):
        for c in range(C):
            expected[i, c] = sum(float(images[i] @ t) for t in bank.descriptions[c]) / 4
    found = create("description-vote").fit_predict(images, bank)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    same(found, softmax(expected / 0.01))
    assert create("description-vote").fit(images, bank).chosen == ((0, 1, 2, 3),) * 3
    averaged = create("cupl").fit_predict(images, bank)  # the same means, scaled to length 1
    assert (found.scores - averaged.scores).abs().max() > 1e-2


def test_a_vote_of_the_nearest_k_and_of_the_names(world):
    images, bank, _ = world
    top = create("description-vote", text="top-k", k=2).fit(images, bank)
    rows = torch.stack([bank.descriptions[c][list(top.chosen[c])].mean(dim=0) for c in range(C)])
    torch.testing.assert_close(top.predict(images).scores, images @ rows.T)
    by_name = create("description-vote", text="names").fit_predict(images, bank)
    assert torch.equal(by_name.scores, create("clip").fit_predict(images, bank).scores)


def test_waffle_votes_with_the_random_words_of_the_bank(world):
    images, bank, _ = world
    means = torch.stack([rows.mean(dim=0) for rows in bank.controls["random"]])
    torch.testing.assert_close(create("waffle").fit_predict(images, bank).scores, images @ means.T)


@pytest.mark.parametrize("name", ("inmap", "inmap-sinkhorn", "kpl-released"))
def test_gradient_methods_are_the_published_loop_on_their_plan(world, arrays, name):
    images, bank, _ = world
    cosines = arrays[2] / 0.01
    plan = {
        "inmap": lambda: softmax(cosines),
        "inmap-sinkhorn": lambda: sweeps(cosines, np.full(C, 1 / C), 20),
        "kpl-released": lambda: greenkhorn(images @ bank.names.T, start="released").pseudo_labels,
    }[name]()
    proxies = published_loop(images.double(), bank.names.double(), torch.as_tensor(plan).double())
    found = create(name, text="names").fit_predict(images, bank)
    assert torch.equal(found.labels, (images.double() @ proxies.T).argmax(dim=1))


def test_inmap_takes_a_prior_into_its_softmax(world, arrays):
    images, bank, _ = world
    q = np.array([0.7, 0.2, 0.1])
    plan = torch.from_numpy(softmax(arrays[2] / 0.2 + np.log(q)))  # soft: where all is sure, no prior shows
    proxies = published_loop(images.double(), bank.names.double(), plan)
    found = create("inmap", text_temperature=0.2).fit(images.double(), bank, prior=q)
    torch.testing.assert_close(found.model.weights, proxies, atol=1e-6, rtol=0)
    even = create("inmap", text_temperature=0.2).fit(images.double(), bank)
    assert (even.model.weights - proxies).abs().max() > 1e-2


def test_kpl_on_names_is_inmap_with_transport_run_to_convergence(world):
    images, bank, _ = world
    kpl = create("kpl", text="names", tolerance=1e-12, steps=300).fit_predict(images, bank)
    inmap = create("inmap-sinkhorn", sweeps=3000, steps=300).fit_predict(images, bank)
    torch.testing.assert_close(kpl.probabilities, inmap.probabilities, atol=1e-5, rtol=0)
    short = create("inmap-sinkhorn", sweeps=1, steps=300).fit_predict(images, bank)
    assert (kpl.probabilities - short.probabilities).abs().max() > 1e-3


def test_the_two_plans_of_the_closed_form():
    images, bank, _ = make_world((60, 60, 60))
    cosines = images @ bank.names.T
    released = greenkhorn(cosines, start="released").pseudo_labels
    converged = sinkhorn(cosines, iterations=10_000, tolerance=1e-4).pseudo_labels / len(images)
    for plan, labels in (("released", released), ("converged", converged)):
        for intercept in (False, True):
            found = create("kpl-closed-form", text="names", plan=plan, intercept=intercept)
            expected = ridge_proxies(images, labels, intercept=intercept).scores(images)
            torch.testing.assert_close(found.fit_predict(images, bank).scores, expected)
    assert create("kpl-closed-form").plan == "released"


def test_sinkhorn_labels_have_the_shares_of_the_prior(world, arrays):
    images, bank, _ = world
    for q in (np.full(C, 1 / C), np.array([0.5, 0.3, 0.2])):
        found = create("sinkhorn", tolerance=1e-8).fit_predict(images, bank, prior=q)
        same(found, sweeps(arrays[2] / 0.01, q, 1000), 1e-3)
        np.testing.assert_allclose(found.probabilities.mean(dim=0), q, atol=1e-4)


def test_sinkhorn_places_a_new_image_with_the_fitted_potentials(world):
    images, bank, _ = world
    fitted = create("sinkhorn").fit(images, bank)
    new = F.normalize(images[:4] + 0.3, dim=1)
    ratio = fitted.predict(new).probabilities.log() - (new @ bank.names.T / 0.01).log_softmax(dim=1)
    known = fitted.predict(images).probabilities.log() - (images @ bank.names.T / 0.01).log_softmax(dim=1)
    steps = [
        x[:, 1:] - x[:, :1] for x in (ratio, known)
    ]  # differences of potentials: the same for all images
    torch.testing.assert_close(steps[0], steps[1][:1].expand(4, -1), atol=5e-3, rtol=0)


@pytest.mark.parametrize("q", ([0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]))
def test_otter_is_the_cheapest_plan(world, arrays, q):
    images, bank, _ = world
    cost = -np.log(softmax(arrays[2] / 0.01))
    rows = np.kron(np.eye(N), np.ones(C))
    columns = np.kron(np.ones(N), np.eye(C))
    solved = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([np.ones(N) / N, q]))
    plan = solved.x.reshape(N, C) * N
    found = create("otter").fit_predict(images, bank, prior=q)
    whole = plan.max(axis=1) > 1 - 1e-6
    assert (~whole).sum() <= C - 1
    assert np.array_equal(found.labels.numpy()[whole], plan.argmax(axis=1)[whole])


def test_otter_gives_each_class_its_share_and_places_new_images_by_potentials():
    images, bank, _ = make_world((30, 20, 10))
    fitted = create("otter").fit(images, bank, prior=[1 / 2, 1 / 3, 1 / 6])
    assert torch.bincount(fitted.predict(images).labels).tolist() == [30, 20, 10]
    nudged = F.normalize(images + 1e-4, dim=1)
    assert (fitted.predict(nudged).labels == fitted.predict(images).labels).double().mean() > 0.95


def sure_means(x, y):
    """Sums of the 8 most confident images of each class, weighed by their probability, at unit length."""
    means = []
    for c in range(y.shape[1]):
        first = sorted(range(len(x)), key=lambda i: -y[i, c])[:8]
        means.append(sum(y[i, c] * x[i] for i in first))
    return unit(np.stack(means))


def naive_gaussians(x, t, stata, soft_counts, initial_means, rounds, temperature, softness):
    """TransCLIP, or StatA, image by image: the rounds, and a last z with the last means alone."""
    n, d = x.shape
    classes = range(len(t))
    log_y = np.log(softmax(x @ t.T / temperature))
    y = z = np.exp(log_y)
    near = np.zeros((n, n))
    for i in range(n):
        cosines = x @ x[i]
        others = sorted((j for j in range(n) if j != i), key=lambda j: -cosines[j])[:3]
        near[i, others] = cosines[others]
    mu = t.copy() if stata and initial_means == "text" else sure_means(x, y)
    opened = np.full(d, 1 / d)
    if stata:
        opened = sum(y[i, c] * (x[i] - t[c]) ** 2 for i in range(n) for c in classes) / n
    sigma = np.tile(opened, (len(t), 1))
    for turn in range(rounds + 1):
        density = np.zeros((n, len(t)))
        for i in range(n):
            for c in classes:
                density[i, c] = -0.5 * ((x[i] - mu[c]) ** 2 / sigma[c]).sum()
                density[i, c] -= 0.5 * np.log(sigma[c]).sum() if stata else 0
        for _ in range(5):
            z = softmax(log_y + density / softness + (near.T @ z + near @ z) / 6)
        if turn == rounds:
            return z, mu, sigma
        shares = []
        for c in classes:
            count = z[:, c].sum() if soft_counts else (z.argmax(axis=1) == c).sum()
            shares.append(count / (1 + count) if stata else 1.0)
            mean = (z[:, c : c + 1] * x).sum(axis=0)
            mu[c] = shares[c] * mean / np.linalg.norm(mean) + (1 - shares[c]) * t[c]
            mu[c] /= np.linalg.norm(mu[c])
        if turn == rounds - 1:
            continue
        for c in classes:
            if stata:
                spread = (z[:, c : c + 1] * (x - mu[c]) ** 2).sum(axis=0) / z[:, c].sum()
                sigma[c] = shares[c] * spread + (1 - shares[c]) * (opened + (t[c] - mu[c]) ** 2)
            else:
                sigma[c] = sum(z[i, k] * (x[i] - mu[k]) ** 2 for i in range(n) for k in classes) / n


OPTIONS = [
    ("transclip", {}),
    ("stata", {}),
    ("stata", {"soft_counts": True}),
    ("stata", {"initial_means": "confident"}),
]


SETTINGS = [
    {"rounds": 10, "temperature": 0.01, "softness": 50.0},
    {"rounds": 2, "temperature": 0.3, "softness": 5.0},  # too few and too soft to forget how it began
]


@pytest.mark.parametrize("settings", SETTINGS, ids=("released", "soft"))
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_transclip_and_stata_are_their_loops(world, arrays, name, options, settings):
    images, bank, _ = world
    x, t, _ = arrays
    told = {"soft_counts": False, "initial_means": "text", **options, **settings}
    z, mu, sigma = naive_gaussians(x, t, name == "stata", **told)
    fitted = create(name, **options, **settings)
    same(fitted.fit_predict(images, bank), z)
    new = unit(x[:3] + 0.2)
    density = -0.5 * ((new[:, None] - mu) ** 2 / sigma + np.log(sigma)).sum(axis=2)
    text = new @ t.T / settings["temperature"]
    same(fitted.predict(torch.from_numpy(new)), softmax(text + density / settings["softness"]))
    for key in settings:
        assert create(name).parameters_with(bank)[key] == SETTINGS[0][key]


def test_options_of_stata_are_other_methods(world):
    found = [create(name, **SETTINGS[1], **options).fit_predict(*world[:2]) for name, options in OPTIONS]
    for other in (found[0], *found[2:]):
        assert (found[1].probabilities - other.probabilities).abs().max() > 0.01


def test_a_class_of_stata_without_images_falls_back_to_its_text_unless_counts_are_soft(world):
    images, bank, _ = world
    hard, soft = (
        create("stata", temperature=0.3, soft_counts=soft).fit(images, bank) for soft in (False, True)
    )
    assert 0 not in hard.joint.argmax(dim=1)
    torch.testing.assert_close(hard.model.means[0], bank.names[0].double())
    assert soft.model.means[0] @ bank.names[0].double() < 0.999


def naive_zlap(x, t):
    """Rows of `(I − 0.3 S)⁻¹` at the class nodes, by the inverse; also `W` with the degrees."""
    n, c = len(x), len(t)
    w = np.zeros((c + n, c + n))
    for i in range(n):
        cosines, texts = x @ x[i], t @ x[i]
        for j in sorted((j for j in range(n) if j != i), key=lambda j: -cosines[j])[:4]:
            w[c + i, c + j] = max(cosines[j], 0)
        for j in np.argsort(-texts)[:5]:
            w[c + i, j] = max(texts[j], 0) ** 5
    w = w + w.T
    degree = w.sum(axis=1)
    inverse = np.linalg.inv(np.eye(c + n) - 0.3 * w / np.sqrt(np.outer(degree, degree)))
    return inverse[:c].T, degree


def test_zlap_is_the_inverse_and_new_images_take_one_step(world, arrays):
    images, bank, _ = world
    x, t, _ = arrays
    values, degree = naive_zlap(x, t)
    fitted = create("zlap")
    same(fitted.fit_predict(images, bank), values[C:] / values[C:].sum(axis=1, keepdims=True))
    with pytest.warns(UserWarning, match="zlap knows no prior"):
        tilted = create("zlap").fit_predict(images, bank, prior=[0.5, 0.3, 0.2])
    same(tilted, values[C:] / values[C:].sum(axis=1, keepdims=True))
    create("zlap").fit(images, bank, prior=[1 / 3, 1 / 3, 1 / 3])
    new = unit(x[:1] + 0.2)
    cosines, score = (x @ new[0]), np.zeros(C)
    for j in np.argsort(-cosines)[:5]:
        score += cosines[j] * values[C + j] / np.sqrt(degree[C + j])
    for j in range(C):
        score += max(t[j] @ new[0], 0) ** 5 * values[j] / np.sqrt(degree[j])
    same(fitted.predict(torch.from_numpy(new)), score[None] / score.sum())


def whole_sweeps(logits, q, count):
    """As `sweeps`, from `exp(logits)` over the whole matrix."""
    plan = np.exp(logits - logits.max())
    for _ in range(count):
        for j in range(plan.shape[1]):
            plan[:, j] *= len(plan) * q[j] / plan[:, j].sum()
        for i in range(len(plan)):
            plan[i] /= plan[i].sum()
    return plan


def test_ss_text_is_three_rounds(world, arrays):
    images, bank, _ = world
    x, t, _ = arrays
    q, w = np.array([0.5, 0.3, 0.2]), t
    for _ in range(3):
        z = whole_sweeps(x @ w.T / 0.01, q, 10)
        w = np.stack([t[c] + sum(z[i, c] * x[i] for i in range(N)) / (0.01 * N) for c in range(C)])
        w = unit(w)
    same(create("ss-text").fit_predict(images, bank, prior=q), softmax(x @ w.T / 0.01), 1e-4)
