"""What an encoder and images say about a knowledge base; checked on vectors whose answer is plain."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_encoder import write_tiny_encoder

from kpl_lib.common.errors import InputError
from kpl_lib.encoders import load_encoder
from kpl_lib.features import Features, TextBank
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.coverage import coverage_of, findings_of, spread_of
from kpl_lib.plots import figure_words, knowledge_figure, save_figure


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def world(counts=(12, 9, 20), images=40, size=6, seed=0):
    """A base, its bank and images, all at random; flags go round true, false, unsaid."""
    flags = (True, False, None)
    records = {
        f"class {c}": [Description(f"text {c} {m}", (), flags[m % 3]) for m in range(count)]
        for c, count in enumerate(counts)
    }
    base = KnowledgeBase("made up", records)
    rows = [unit(count, size, seed=seed + 1 + c) for c, count in enumerate(counts)]
    bank = TextBank(base.class_names, rows, unit(len(counts), size), tuple(map(tuple, base.classes.values())))
    return base, bank, F.normalize(unit(images, size, seed=seed + 99) + 0.4, dim=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny"))


def test_coverage_is_the_mean_of_the_best_cosines():
    base, bank, images = world()
    found = coverage_of(base, bank, images, k=3)
    best = torch.stack([(images @ rows.T).max(dim=1).values for rows in bank.descriptions], dim=1)
    for c in range(3):
        rest = [other for other in range(3) if other != c]
        assert found.best[c] == pytest.approx(float(best[:, c].mean()), abs=1e-6)
        assert found.others[c] == pytest.approx(float(best[:, rest].max(dim=1).values.mean()), abs=1e-6)
        assert found.nearest[c] == pytest.approx(float((best.argmax(dim=1) == c).float().mean()))
    assert sum(found.nearest) == pytest.approx(1)


def test_blocks_of_images_change_nothing(monkeypatch):
    whole = coverage_of(*world())
    monkeypatch.setattr("kpl_lib.knowledge.coverage.BLOCK", 7)
    assert coverage_of(*world()).best == pytest.approx(whole.best)
    assert coverage_of(*world()).others == pytest.approx(whole.others)


def test_kept_are_the_k_nearest_to_the_mean_image_as_in_the_method():
    from kpl_lib.text_proxies import text_proxies

    base, bank, images = world()
    found = coverage_of(base, bank, images, k=4)
    for flags, chosen, values, cosine in zip(
        found.kept,
        *[getattr(text_proxies(bank, images, 4), key) for key in ("chosen", "similarity")],
        found.cosine,
        strict=True,
    ):
        assert {i for i, kept in enumerate(flags) if kept} == set(chosen.tolist())
        assert sorted(cosine)[::-1][:4] == pytest.approx(values.tolist(), abs=1e-6)


def test_a_description_that_few_halves_like_survives_and_a_hopeless_one_does_not():
    mixed = F.normalize(torch.cat([torch.eye(3)[:2].repeat(20, 1), torch.eye(3)[:2]]), dim=1)
    rows = F.normalize(torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]), dim=1)
    texts = ("first", "second", "both", "none")
    base = KnowledgeBase("x", {"a": [Description(t) for t in texts], "b": [Description("t")]})
    bank = TextBank(("a", "b"), [rows, rows[:1]], rows[:2], (texts, ("t",)))
    found = coverage_of(base, bank, mixed, k=1)
    assert found.kept[0] == (False, False, True, False)
    assert found.survives[0] == (True, True, True, False)
    assert [row[:2] for row in found.never] == [("a", "none")] and found.never[0][2] == pytest.approx(0)
    assert found.survives == coverage_of(base, bank, mixed, k=1, seed=0).survives


def test_labels_change_nothing():
    base, bank, images = world()
    first = coverage_of(base, bank, Features(images, [0] * 40, ("p", "q")))
    second = coverage_of(base, bank, Features(images))
    assert first.text(None) == second.text(None) and first == second


def test_spread_of_plain_vectors():
    step = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0]])
    bank = TextBank(
        ("a", "b", "c", "d"), [torch.eye(3), torch.eye(3)[:1].repeat(4, 1), step, step[:1]], unit(4, 3)
    )
    found = spread_of(bank, "demo")
    assert found.cosine[:3] == pytest.approx((0, 1, 0.6), abs=1e-6) and found.cosine[3] != found.cosine[3]
    assert found.rank == pytest.approx((2, 0, 1, 0), abs=1e-6)
    lines = found.text().splitlines()
    assert "encoder demo" in lines[0] and next(line.split()[0] for line in lines[2:]) == "b"
    assert "-" in next(line for line in lines if line.split()[0] == "d").split()


def test_descriptions_that_an_encoder_cannot_tell_apart_are_worth_knowing():
    rows = F.normalize(torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [1, 0.4, 0], [0, 0, 1]]), dim=1)
    bank = TextBank(("a",), [rows], rows[:1], (("one", "two", "three", "four"),))
    (found,) = findings_of(bank, {})
    assert (found.class_name, found.grave) == ("a", False)
    assert "'two' like 'one' (cosine 0.995)" in found.message


def test_an_encoded_base_meets_images(encoder):
    base, _, _ = world((5, 4))
    bank = encoder.encode_knowledge(base, progress=False)
    found = coverage_of(base, bank, Features(unit(30, 16), meta={"encoder": encoder.name}))
    assert found.spread == spread_of(bank, encoder.name)
    assert "Spread with encoder" in found.spread.text() and "Coverage of 30 images" in found.text()
    assert found.images == 30 and found.k == 8 and all(map(all, found.kept))


def test_sentences_that_the_encoder_cuts_are_grave(encoder):
    base = KnowledgeBase("x", {"p": [Description("qx " * 30)], "q": [Description("short")]})
    with pytest.warns(UserWarning, match="are cut"):
        bank = encoder.encode_knowledge(base)
    found = findings_of(bank, base.sentences(), encoder.tokenizer, encoder.context_length, encoder.name)
    assert [(f.kind, f.class_name) for f in found if f.grave] == [("tokens", "p")]
    assert f"at most {encoder.context_length} with encoder" in found[0].message


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (Features(unit(30, 7)), "differ in D"),
        (Features(unit(3, 16)), "give at least 4"),
        (Features(unit(30, 16), meta={"encoder": "other"}), "come from encoder 'other'"),
    ],
)
def test_images_that_do_not_fit_are_one_line(encoder, images, said):
    base, _, _ = world((2, 2))
    bank = encoder.encode_knowledge(base, progress=False)
    with pytest.raises(InputError, match=said) as caught:
        coverage_of(base, bank, images, encoder=encoder.name)
    assert "\n" not in str(caught.value)


def test_one_class_has_no_rivals():
    found = coverage_of(*world((4,)))
    assert found.others[0] != found.others[0] and found.nearest == (1,)
    assert " - " in found.text()


def test_the_text_is_one_page_for_a_thousand_classes():
    found = coverage_of(*world((3,) * 1000, images=5))
    assert len(found.text().splitlines()) < 60 and "and 960 more classes" in found.text()
    assert len(found.text(None).splitlines()) > 1000


@pytest.mark.slow
def test_a_thousand_classes_of_fifty_are_encoded_with_a_bar(capsys):
    rng = random.Random(0)
    words = sorted(
        {
            w
            for texts in KnowledgeBase.load("phantom-chest").classes.values()
            for t in texts
            for w in t.split()
        }
    )
    base = KnowledgeBase(
        "large",
        {
            f"class {c}": [Description(" ".join(rng.choices(words, k=rng.randint(8, 12)))) for _ in range(50)]
            for c in range(1000)
        },
    )
    bank = load_encoder("phantom").encode_knowledge(base)
    assert bank.counts == (50,) * 1000
    assert "encode texts" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2, 5, 20, 37])
def test_the_figure_shows_every_description_once(count):
    found = coverage_of(*world((11,) * count), k=3)
    figure = knowledge_figure(found, "made up")
    assert [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes] == list(found.texts)
    for axis, cosine, kept, survives in zip(
        figure.axes, found.cosine, found.kept, found.survives, strict=True
    ):
        marks = [line for line in axis.lines if len(line.get_xdata())]
        points = {(x, round(y, 9)) for m in marks for x, y in zip(m.get_xdata(), m.get_ydata(), strict=True)}
        assert points == {(i + 1, round(y, 9)) for i, y in enumerate(sorted(cosine, reverse=True))}
        full = [m for m in marks if m.get_markerfacecolor() == m.get_color()]
        assert sum(len(m.get_xdata()) for m in full) == sum(kept) == 3
        sizes = {m.get_markersize() for m in marks}
        small = [m for m in marks if m.get_markersize() < max(sizes)]
        assert sum(len(m.get_xdata()) for m in small) == survives.count(False)
    shapes = {line.get_marker() for axis in figure.axes for line in axis.lines if len(line.get_xdata())}
    assert shapes == {"o", "^", "D"}
    figure.canvas.draw()


def test_the_figure_is_written_whole_with_its_words(tmp_path):
    found = coverage_of(*world((6, 5)), k=2)
    save_figure(found, tmp_path / "f.png", "made up")
    with Image.open(tmp_path / "f.png") as image:
        assert image.info["Description"] == figure_words(found) and np.asarray(image).std() > 5
    assert "class 0: 2 of 6 kept" in figure_words(found)
    save_figure(found, tmp_path / "f.svg")
    assert "<svg" in (tmp_path / "f.svg").read_text()
    for wrong, said in (("f.pdf", "ends in .png or .svg"), ("no/f.png", "does not exist")):
        with pytest.raises(InputError, match=said):
            save_figure(found, tmp_path / wrong)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.png", "f.svg"]
