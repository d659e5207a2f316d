"""Proxies and plans over several processes are those of one, whoever holds which rows."""

import os
import signal
import warnings

import pytest
import torch
import torch.nn.functional as F
from distributed_world import in_ranks

from kpl_lib import distributed, text_proxies, transport, vision_proxies
from kpl_lib.common.errors import InputError
from kpl_lib.distributed.group import Group
from kpl_lib.features import TextBank

N, D, C = 301, 24, 5  # 301 rows are not divisible by 2 or 3


def world(dtype=torch.float64, n=N):
    """Images `[N, D]` around class centres, text proxies `[C, D]` near them, and a bank of descriptions."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(C, D, generator=generator, dtype=torch.float64)
    cone = 2 * torch.ones(D, dtype=torch.float64)
    noise = torch.randn(n, D, generator=generator, dtype=torch.float64)
    images = F.normalize(cone + 0.7 * centres[torch.arange(n) % C] + 0.5 * noise, dim=1)
    text = F.normalize(centres + torch.randn(C, D, generator=generator, dtype=torch.float64), dim=1)
    rows = [F.normalize(text[c] + torch.randn(6, D, generator=generator).double(), dim=1) for c in range(C)]
    bank = TextBank(tuple("abcde"), rows, text)
    return images.to(dtype), text.to(dtype), bank


def solve(module, images, text, bank):
    """Everything that is made of the images, by the functions of one process or of many."""
    plan = module.sinkhorn(images @ text.T, iterations=500, tolerance=1e-9, temperature=0.2)
    labels = plan.pseudo_labels
    steps = module.fit_proxies(images, text, labels, steps=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ridge = module.ridge_proxies(images, labels / N)
    cut = module.ridge_proxies(images, labels / N, intercept=True)
    released = module.fit_proxies(images, text, labels / N, steps=300)
    chosen = module.text_proxies(bank, images.float(), k=3)
    return {"plan": plan, "steps": steps, "ridge": ridge, "cut": cut, "released": released, "text": chosen}


class One:
    """The functions of one process, under the same names."""

    sinkhorn = staticmethod(transport.sinkhorn)
    fit_proxies = staticmethod(vision_proxies.fit_proxies)
    ridge_proxies = staticmethod(vision_proxies.ridge_proxies)
    text_proxies = staticmethod(text_proxies.text_proxies)


def mine(rows):
    where = distributed.place()
    own = distributed.slice_of(len(rows), where.rank, where.world)
    return rows[own.start : own.stop]


def solve_here(dtype):
    images, text, bank = world(dtype)
    with distributed.joined("cpu", seconds=30):
        return solve(distributed, mine(images), text, bank)


@pytest.fixture(scope="module", params=[(2, torch.float64), (3, torch.float64), (2, torch.float32)], ids=str)
def solved(request, tmp_path_factory):
    """Results of one process, and of each of several."""
    count, dtype = request.param
    ended = in_ranks(tmp_path_factory.mktemp("ranks"), count, lambda: solve_here(dtype))
    assert [end.code for end in ended] == [0] * count, [end.said for end in ended]
    images, text, bank = world(dtype)
    return solve(One, images, text, bank), [end.result for end in ended], images


def test_proxies_equal_those_of_one_process(solved):
    one, ranks, images = solved
    for name in ("steps", "released", "ridge", "cut"):
        a, b = one[name], ranks[0][name]
        assert torch.equal(a.scores(images).argmax(dim=1), b.scores(images).argmax(dim=1)), name
        if images.dtype == torch.float64:
            assert (a.weights - b.weights).abs().max() <= 1e-9, name
            assert a.temperature == pytest.approx(b.temperature, rel=1e-5)
            assert a.converged == b.converged, name
    if images.dtype == torch.float64:
        assert (one["cut"].offset - ranks[0]["cut"].offset).abs().max() <= 1e-9


def test_every_process_has_the_same_proxies(solved):
    _, ranks, _ = solved
    for other in ranks[1:]:
        for name in ("steps", "released", "ridge", "cut", "text"):
            assert torch.equal(ranks[0][name].weights, other[name].weights), name
        assert ranks[0]["steps"].temperature == other["steps"].temperature
        assert torch.equal(ranks[0]["plan"].class_potentials, other["plan"].class_potentials)


def test_the_plans_of_all_processes_are_the_plan_of_one(solved):
    one, ranks, images = solved
    joined = torch.cat([rank["plan"].pseudo_labels for rank in ranks])
    assert joined.shape == (N, C)
    assert (joined - one["plan"].pseudo_labels).abs().max() <= (
        1e-9 if images.dtype == torch.float64 else 1e-5
    )
    assert all(rank["plan"].converged and rank["plan"].column_error <= 1e-9 for rank in ranks)
    assert one["plan"].iterations == ranks[0]["plan"].iterations


def test_the_same_descriptions_are_chosen(solved):
    one, ranks, _ = solved
    for a, b in zip(one["text"].chosen, ranks[0]["text"].chosen, strict=True):
        assert torch.equal(a, b)
    assert (one["text"].weights - ranks[0]["text"].weights).abs().max() <= 1e-6


def test_the_faster_order_of_large_float32_inputs_is_followed_too(monkeypatch):
    images, text, _ = world(torch.float32)
    labels = transport.sinkhorn(images @ text.T).pseudo_labels
    monkeypatch.setattr(vision_proxies, "SMALL", 0)
    one = vision_proxies.fit_proxies(images, text, labels, steps=100)
    alone = distributed.fit_proxies(images, text, labels, steps=100)
    assert torch.equal(one.weights, alone.weights) and one.residual == pytest.approx(alone.residual, rel=1e-5)


def test_the_closed_form_warns_as_one_process_does():
    images, text, _ = world()
    labels = transport.sinkhorn(images @ text.T).pseudo_labels
    with pytest.warns(UserWarning, match="not where the steps end") as one:
        vision_proxies.ridge_proxies(images, labels)
    with pytest.warns(UserWarning, match="not where the steps end") as many:
        distributed.ridge_proxies(images, labels)
    assert str(one[0].message) == str(many[0].message)


@pytest.mark.parametrize("step", (1, 4, 64))
@pytest.mark.parametrize(("n", "count"), [(10, 3), (1, 2), (301, 8), (64, 2)])
def test_slices_cover_all_rows_once_and_are_cut_at_whole_steps(n, count, step):
    slices = [distributed.slice_of(n, rank, count, step) for rank in range(count)]
    assert [row for part in slices for row in part] == list(range(n))
    assert all(part.start % step == 0 or not part for part in slices)
    sizes = [-(-len(part) // step) for part in slices]
    assert max(sizes) - min(sizes) <= 1


def one_bad_rank(kind):
    images, text, _ = world(n=4)
    images = mine(images)
    if distributed.place().rank == 1:
        images = {"empty": images[:0], "nan": images * torch.nan, "half": images.half()}[kind]
    with distributed.joined("cpu", seconds=30):
        return distributed.fit_proxies(images, text, torch.ones(len(images), C, dtype=images.dtype))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "rank 1 of 2: it has no image"),
        ("nan", "NaN or Inf in 2 rows"),
        ("half", "rank 1 (24, 'torch"),
    ],
)
def test_bad_rows_of_one_process_end_all_with_the_same_line(tmp_path, kind, said):
    ended = in_ranks(tmp_path, 2, lambda: one_bad_rank(kind))
    assert [end.code for end in ended] == [2, 2]
    assert ended[0].said == ended[1].said and said in ended[0].said and ended[0].said.count("\n") == 1


def killed_in_the_middle():
    images, text, _ = world()
    images = mine(images)

    def callback(step, *_):
        if step == 5 and distributed.place().rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with distributed.joined("cpu", seconds=600):
        return distributed.fit_proxies(
            images, text, torch.ones(len(images), C, dtype=images.dtype), callback=callback
        )


def test_a_process_killed_between_steps_ends_the_others_with_one_line(tmp_path):
    first, second = in_ranks(tmp_path, 2, killed_in_the_middle, seconds=40)
    assert second.code == -9
    assert first.code == 2  # at once: one that waits for the 600 s of a step is killed after 40
    lines = [line for line in first.said.splitlines() if line.startswith("kpl: ")]
    assert len(lines) == 1 and "rank 0 of 2: another process ended or is stuck" in lines[0]


def test_rows_on_the_cpu_under_nccl_are_told_by_their_own_cause(tmp_path):
    """Sent as they are, they would end in "another process ended or is stuck"."""

    def work():
        images, _, bank = world()
        with distributed.joined("cpu", seconds=20), pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.distributed, "get_backend", lambda group=None: "nccl")
            return distributed.text_proxies(bank, mine(images).float(), k=3)

    for ended in in_ranks(tmp_path, 2, work, seconds=40):
        said = "rank 0 of 2: rows on cpu, and NCCL sends from GPU to GPU: use joined's device"
        assert ended.code == 2 and said in ended.said


def test_a_process_that_never_comes_is_told(tmp_path):
    def work():
        if distributed.place().rank == 1:
            return None
        with distributed.joined("cpu", seconds=1):
            return Group().total(torch.ones(1))

    first, _ = in_ranks(tmp_path, 2, work, seconds=40)
    assert first.code == 2 and "cannot meet the others" in first.said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 is not below WORLD_SIZE=2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK=one: not a whole number"),
    ],
)
def test_a_wrong_place_is_refused(monkeypatch, facts, said):
    for key, value in facts.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(InputError, match=said):
        distributed.place()


def test_the_device_follows_the_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("kpl_lib.distributed.group.choose_device", lambda d: torch.device(d or "cuda"))
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert distributed.own_device() == distributed.own_device("cuda") == torch.device("cuda:3")
    assert distributed.own_device("cpu") == torch.device("cpu")
    assert distributed.own_device("cuda:1") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(InputError, match="this machine has 4 GPUs: start one process a GPU"):
        distributed.own_device()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
def test_real_features_give_the_proxies_of_one_process(natural7, tmp_path, dtype):
    images, text = (F.normalize(rows.double(), dim=1) for rows in natural7)
    plan = transport.greenkhorn(images @ text.T, start="released").pseudo_labels.to(dtype)
    images, text = images.to(dtype), text.to(dtype)

    def work():
        with distributed.joined("cpu", seconds=60):
            steps = distributed.fit_proxies(mine(images), text, mine(plan), steps=400)
            return steps, distributed.ridge_proxies(mine(images), mine(plan))

    first, _ = in_ranks(tmp_path, 2, work)
    one = (
        vision_proxies.fit_proxies(images, text, plan, steps=400),
        vision_proxies.ridge_proxies(images, plan),
    )
    for a, b in zip(one, first.result, strict=True):
        assert torch.equal(a.scores(images).argmax(dim=1), b.scores(images).argmax(dim=1))
        assert (a.weights - b.weights).abs().max() <= (1e-9 if dtype == torch.float64 else 1e-4)
