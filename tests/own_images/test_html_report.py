"""The report: one page that loads nothing, escapes everything, and says what speaks against it."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from own_world import write_images, write_knowledge, write_table
from PIL import Image
from tiny_encoder import write_tiny_encoder

from kpl_lib.classifiers.agreement import TextAgreement
from kpl_lib.classifiers.base import create
from kpl_lib.common.pictures import thumbnail
from kpl_lib.datasets import ImageDataset, load_dataset
from kpl_lib.features import Features, TextBank
from kpl_lib.knowledge.description import Description
from kpl_lib.own_images.classify import classify_folder
from kpl_lib.own_images.facts import Groups, find_concerns, find_gap, find_groups, report_facts
from kpl_lib.own_images.report import LONGEST, render, shown
from kpl_lib.prediction import Prediction

HOSTILE = (
    "<script>alert(1)<.png",
    '"onerror="alert(1).png',
    "&amp;.png",
    "a\u202egnp.png",
    "line\nbreak.png",
    "{{ 7 * 7 }}.png",
)
FINE = Groups(0.5, (0.5, 0.5), TextAgreement(0.9, 0.9))


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    write_tiny_encoder(base / "tiny")
    write_knowledge(base / "pets.json")
    images = write_images(base / "images")
    for path, name in zip(sorted(images.iterdir()), HOSTILE, strict=False):
        path.rename(images / name)
    write_table(
        base / "labels.csv", write_images(base / "plain"), "label", lambda i: ("dog", "house cat")[i // 4 % 2]
    )
    return base


def run_of(base, folder="images", **options):
    named = {"encoder": f"path:{base / 'tiny'}", "k": 2, "progress": False, **options}
    return classify_folder(base / folder, base / "pets.json", **named)


@pytest.fixture(scope="module")
def run(base):
    return run_of(base)


@pytest.fixture(scope="module")
def labelled(base):
    return run_of(base, "plain", labels=base / "labels.csv", group_pattern="^p[0-9]+")


def test_names_cannot_become_code(run):
    page = Page(render(run))
    assert not page.all("script")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)<.png" in page.text and '"onerror="alert(1).png' in page.text
    assert "&amp;.png" in page.text and "{{ 7 * 7 }}.png" in page.text
    assert r"a\u202egnp.png" in page.text and r"line\nbreak.png" in page.text


def test_hostile_knowledge_and_patients_are_escaped_too(labelled):
    evil = "<img src=x onerror=alert(1)>"
    kb = replace(labelled.knowledge, name=evil, origin=evil)
    result = replace(labelled.result, groups=(evil,) * len(labelled.result.paths), descriptions=(evil,) * 24)
    page = Page(render(replace(labelled, knowledge=kb, result=result), report_facts(labelled)))
    assert all(
        attributes.get("src", "").startswith("data:image/jpeg;base64,") for attributes in page.all("img")
    )
    assert page.text.count(evil) >= 4


def test_it_loads_nothing_and_is_one_file(run):
    html = render(run)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base", "form")]
    sources = [a[key] for _, a in page.tags for key in ("src", "href", "srcset", "action") if key in a]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in html and "@import" not in html
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_it_says_first_that_it_is_not_for_clinical_use_and_what_is_not_reviewed(run):
    text = Page(render(run)).text
    assert text.index("Not for clinical use") < text.index("24 images in 2 classes")
    assert "Take the texts as not reviewed by a clinician unless" in text
    assert "Origin as stated: “written for a test; not reviewed by a clinician”" in text


def test_a_reader_without_eyes_finds_the_way(labelled):
    page = Page(render(labelled, report_facts(labelled)))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in page.all("svg"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert page.all("html") == [{"lang": "en"}]


def test_figures_against_labels_only_where_there_are_labels(run, labelled):
    blind, measured = Page(render(run)).text, report_facts(labelled)
    page = Page(render(labelled, measured))
    text = page.text
    assert report_facts(run) is None
    for word in ("Measured against the labels", "expected calibration error", "Reliability:", "12 patients"):
        assert word in text and word not in blind
    assert str(measured.images["accuracy"]) in text and str(measured.patients["accuracy"]) in text
    verdicts = [a["class"] for a in page.all("span") if a.get("class") in ("right", "wrong")]
    assert len(verdicts) == 2 * 24 + 12  # cards, rows, patients
    right = sum(a == b for a, b in zip(labelled.result.labels, labelled.result.truth, strict=True))
    assert measured.images["accuracy"].value == pytest.approx(right / 24)


def test_long_lists_are_cut_and_say_so(labelled, monkeypatch):
    for name in ("ROWS", "PATIENT_ROWS"):
        monkeypatch.setattr(f"kpl_lib.own_images.report.{name}", 5)
    text = Page(render(labelled, report_facts(labelled), thumbnails=0)).text
    assert "The first 5 of 24 images (all are in the CSV table)" in text
    assert "The first 5 of 12 patients" in text and "p04" in text and "p05" not in text


def test_patients_without_labels_and_methods_without_descriptions(base):
    run = run_of(base, "plain", k=None, classifier="clip", group_pattern="^p[0-9]+")
    text = Page(render(run)).text
    assert "12 patients" in text and "true class" not in text and ", wrong" not in text
    assert "None: this method reads class names" in text


def test_images_that_were_skipped_are_named_and_not_measured(base, tmp_path):
    shutil.copytree(base / "plain", tmp_path / "plain")
    (tmp_path / "plain" / "p00_01.png").write_bytes(b"no image")
    for name in ("tiny", "pets.json", "labels.csv"):
        (tmp_path / name).symlink_to(base / name)
    with pytest.warns(UserWarning, match="cannot be read"):
        run = run_of(tmp_path, "plain", labels=base / "labels.csv", skip_unreadable=True)
    page = Page(render(run, report_facts(run)))
    assert "Left out, as they cannot be read" in page.text and "p00_01.png: not an image" in page.text
    assert len(page.all("img")) == 23
    assert run.result.truth[:3] == ("dog", "dog", "dog") and run.result.paths[1].endswith("p01_02.png")


def test_patients_of_several_classes_are_not_measured_by_patient(labelled):
    mixed = replace(labelled.result, groups=("one",) * 24)
    assert report_facts(replace(labelled, result=mixed)).patients is None


def titles(run, groups=FINE):
    return [concern.title for concern in find_concerns(run, groups)]


@pytest.fixture
def sound(run):
    """A run that nothing speaks against: eight different descriptions a class, both classes predicted."""
    cat = ("alder", "birch", "cedar", "elder", "fir", "hazel", "juniper", "larch")
    dog = ("maple", "oak", "pine", "rowan", "spruce", "thuja", "willow", "yew")
    halves = {"house cat": cat, "dog": dog}
    records = {name: [Description(word) for word in found] for name, found in halves.items()}
    result = replace(run.result, labels=("house cat", "dog") * 12)
    return replace(run, knowledge=replace(run.knowledge, records=records), result=result, notes=())


def test_a_sound_run_raises_no_concern(sound, monkeypatch):
    assert titles(sound) == []
    monkeypatch.setattr("kpl_lib.own_images.report.find_groups", lambda run: FINE)
    assert "None of the checks found anything" in Page(render(sound)).text


def test_skew_is_told_with_the_way_out(sound):
    skewed = replace(FINE, shares=(0.8, 0.2))
    (concern,) = find_concerns(sound, skewed)
    assert (
        concern.title == "The classes look skewed" and "assumes" not in concern.text
    )  # kpl-adaptive reads the shares
    (concern,) = find_concerns(replace(sound, classifier=create("kpl")), skewed)
    assert "house cat 80 %, dog 20 %" in concern.text and "'kpl-adaptive'" in concern.text
    assert titles(sound, replace(FINE, shares=(0.7, 0.3))) == []


def test_unsupported_classes_wrong_text_and_weak_knowledge_are_told(sound, run):
    assert titles(sound, replace(FINE, support=-0.1, shares=None)) == [
        "The images do not support the classes"
    ]
    assert titles(sound, replace(FINE, agreement=TextAgreement(-0.4, 0.9))) == [
        "The text may point the wrong way"
    ]
    assert "The knowledge is thin" in titles(run)
    twice = {name: [*found, found[0]] for name, found in sound.knowledge.records.items()}
    faulty = replace(sound, knowledge=replace(sound.knowledge, records=twice))
    assert titles(faulty) == ["The knowledge has faults"]
    one = replace(sound, result=replace(sound.result, labels=("dog",) * 24))
    assert titles(one) == ["A class is never predicted"]
    assert titles(replace(sound, notes=("k = 8 is clipped",))) == ["Noted while it ran"]


def worlds(share, seed=0, swap=False):
    """Two clouds and texts at their centres: `share` of 200 images in the first; texts swapped if asked."""
    rng = torch.Generator().manual_seed(seed)
    first = int(200 * share)
    centres = torch.eye(16)[:2] * 0.5 + torch.eye(16)[2]
    x = centres[[0] * first + [1] * (200 - first)] + 0.05 * torch.randn(200, 16, generator=rng)
    texts = [centres[c] + 0.05 * torch.randn(8, 16, generator=rng) for c in ((1, 0) if swap else (0, 1))]
    return torch.nn.functional.normalize(x, dim=1), texts, torch.nn.functional.normalize(centres, dim=1)


def placed(run, x, texts, names):
    bank = TextBank(run.result.class_names, texts, names, normalize=True)
    return replace(run, features=Features(x, None, (), run.features.meta), bank=bank)


def test_groups_find_skew_and_swapped_texts_without_labels(run):
    skewed = find_groups(placed(run, *worlds(0.85)))
    assert skewed.support > 0 and skewed.shares[0] == pytest.approx(0.85, abs=0.03)
    assert skewed.agreement.doubts == ()
    even = find_groups(placed(run, *worlds(0.5)))
    assert max(even.shares) < 0.6
    swapped = find_groups(placed(run, *worlds(0.5, swap=True)))
    assert "wrong way" in swapped.agreement.doubts[0] and swapped.shares is None


def test_what_cannot_be_looked_at_is_said(run):
    x, texts, names = worlds(0.5)
    few = placed(run, x[:5], texts, names)
    assert "5 images for 2 classes are too few" in find_groups(few)
    assert "too few" in Page(render(replace(run, features=few.features))).text
    assert "5 images and 5 texts" in find_gap(placed(run, x[:4], texts, names))
    assert 0 <= find_gap(placed(run, x, texts, names)).distance <= 2


def test_a_thousand_images_are_less_than_3_megabytes(run):
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    image, paths = Image.fromarray(noise), [f"images/{'x' * 200}{i:04d}.png" for i in range(1000)]
    dataset = ImageDataset("noise", lambda i: image, paths)
    long = {"paths": tuple(paths), "labels": ("dog", "house cat") * 500, "descriptions": ("y" * 150,) * 1000}
    result = replace(run.result, probabilities=run.result.probabilities[:1].expand(1000, 2), **long)
    page = render(replace(run, dataset=dataset, result=result))
    assert len(page.encode()) < 3_000_000 and page.count("<img") == 60
    assert render(replace(run, dataset=dataset, result=result), thumbnails=0).count("<img") == 0


def test_pictures_are_small_and_an_unreadable_one_is_left_out(run):
    assert len(thumbnail(Image.new("RGB", (2000, 1000), "red"))) < 5000

    def broken(index):
        raise OSError("gone")

    page = Page(render(replace(run, dataset=ImageDataset("gone", broken, run.dataset.paths))))
    assert not page.all("img") and page.text.count("not shown") == 24


def test_galleries_show_the_least_sure_and_the_surest(run):
    p = torch.linspace(0.5, 1, 24)
    result = replace(run.result, probabilities=torch.stack([p, 1 - p], dim=1), labels=("house cat",) * 24)
    text = Page(render(replace(run, result=result), thumbnails=4)).text
    assert "Least sure house cat 0.500" in text and "Surest of each class house cat 1.000" in text


def test_long_names_lose_their_middle():
    assert shown("a" * 500).startswith("aaa") and len(shown("a" * 500)) == LONGEST
    assert shown("é 胸") == "é 胸" and shown("\udcff") == r"\udcff"


def test_the_figures_count_every_image(labelled):
    first = torch.linspace(0.5, 1, 24)
    p = torch.stack([first, 1 - first], dim=1)
    prediction = Prediction(p, p, p.argmax(dim=1), labelled.result.class_names)
    run = replace(labelled, prediction=prediction, result=replace(labelled.result, probabilities=p))
    html = render(run, report_facts(run), thumbnails=0)
    for shape, most in (("rect", 10), ("circle", 8)):
        counts = [int(n) for n in re.findall(rf"<{shape} [^>]+><title>[^<]+: (\d+) images?<", html)]
        assert sum(counts) == 24 and len(counts) == most, shape
    assert html.count('class="curve"') == 7 and "the highest bar counts 3." in html


@pytest.mark.slow
def test_the_page_of_a_thousand_images_is_less_than_three_megabytes(tmp_path):
    drawn = load_dataset("phantom-chest/unseen/skewed", n=1000)
    (tmp_path / "images").mkdir()
    for i in range(len(drawn)):
        drawn[i][0].save(tmp_path / "images" / f"{i:04d}.png")
    page = render(classify_folder(tmp_path / "images", "phantom-chest", encoder="phantom", progress=False))
    assert len(page.encode()) < 3_000_000
