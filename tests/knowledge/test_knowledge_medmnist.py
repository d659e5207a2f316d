"""The MedMNIST knowledge bases: form, order, and facts by their words."""

import itertools
import json
import re
from functools import cache
from pathlib import Path

import open_clip
import pytest
import snowballstemmer
from medmnist_facts import CLASSES, ONLY, SAYS

from kpl_lib.knowledge import KnowledgeBase

FOLDER = Path(__file__).resolve().parents[2] / "data" / "knowledge"
TAGS = {"location", "colour", "shape", "texture", "count", "absence"}
STOP = frozenset(
    re.findall(r"\w+", "a an the of in on at to and or with without no not by from for is are as that than")
)
stem = cache(snowballstemmer.stemmer("english").stemWord)
DENIED = re.compile(r"\b(no|not|without|never|nothing|free of|fewer|scarce)\b")


def read(task):
    return json.loads((FOLDER / f"medmnist-{task}.json").read_text(encoding="utf-8"))


@cache
def stems(text):
    """Stems of the words that carry content."""
    return frozenset(stem(word) for word in re.findall(r"\w+", text.casefold()) if word not in STOP)


@cache
def spelled(text):
    """Stems of all words in order, with blanks around, so that a phrase can be looked for."""
    return f" {' '.join(stem(word) for word in re.findall(r'[a-z0-9]+', text.casefold()))} "


def form(items):
    """(kind, text) of what is wrong with single descriptions."""
    for item in items:
        text, tags = item["text"], item["tags"]
        if not (1 <= len(tags) <= 3 and set(tags) <= TAGS and len(set(tags)) == len(tags)):
            yield "tags", text
        if not isinstance(item["visual"], bool):
            yield "visual", text
        if not 3 <= len(text.split()) <= 14 or text != text.strip() or text[-1] in ".,;":
            yield "phrase", text


def words(base):
    """(kind, text) of texts that stand twice, nearly repeat an earlier one, or say the name of a class."""
    texts = {name: [item["text"] for item in entry["descriptions"]] for name, entry in base.items()}
    everything = list(itertools.chain.from_iterable(texts.values()))
    keys = [spelled(text) for text in everything]
    yield from (("twice", text) for text, key in zip(everything, keys, strict=True) if keys.count(key) > 1)
    yield from (("name", text) for text in everything for name in base if spelled(name) in spelled(text))
    for found in texts.values():
        for a, b in itertools.combinations(found, 2):
            if len(stems(a) & stems(b)) > 0.6 * len(stems(a) | stems(b)):
                yield "overlap", b


def facts(task, base):
    """(kind, text) of words under a class that they do not belong to, and of signs that are missing."""
    for label, entry in enumerate(base.values()):
        for item in entry["descriptions"]:
            text = item["text"].casefold()
            denied = "absence" in item["tags"] and DENIED.search(text)
            breaches = [p for p, labels in ONLY[task] if re.search(p, text) and str(label) not in labels]
            if breaches and not denied:
                yield "fact", item["text"]
        whole = "\n".join(item["text"] for item in entry["descriptions"])
        patterns = SAYS.get(task, {}).get(str(label), ())
        yield from (("missing", pattern) for pattern in patterns if not re.search(pattern, whole))


def problems(task, base):
    """(kind, text) of everything that is wrong with the classes of one base."""
    if list(base) != [name or label for label, name in CLASSES[task].items()]:
        yield "order", task
    for name, entry in base.items():
        items = entry["descriptions"]
        if len(items) != 30 or not 1 <= sum(item["visual"] is False for item in items) <= 2:
            yield "count", name
        yield from form(items)
    yield from words(base)
    yield from facts(task, base)


@pytest.mark.parametrize("task", CLASSES)
def test_nothing_is_wrong(task):
    assert list(problems(task, read(task)["classes"])) == []


@pytest.mark.parametrize("task", CLASSES)
def test_header_and_references(task):
    base = read(task)
    assert base["name"] == f"medmnist-{task}"
    assert base["modality"]
    for needed in (
        "language model",
        "2026",
        "not reviewed by a clinician",
        "not for clinical use",
        "CC BY 4.0",
    ):
        assert needed in base["origin"]
    assert base["template"].endswith(" {class}, which has {description}")
    assert base["template"].startswith(base["name_template"].removesuffix("."))
    for entry in base["classes"].values():
        assert 2 <= len(entry["references"]) <= 3
        assert all(re.search(r"\b(19|20)\d\d\b", reference) for reference in entry["references"])


def test_our_names_share_a_word_with_the_labels():
    pairs = [(label, name or label) for found in CLASSES.values() for label, name in found.items()]
    assert len(pairs) == 37
    assert all(stems(label) & stems(name) for label, name in pairs if not label.isdigit())


@pytest.mark.parametrize("task", CLASSES)
def test_sentences_fit_clip_and_the_check_is_clean(task):
    base = KnowledgeBase.load(FOLDER / f"medmnist-{task}.json")
    assert base.check().clean
    sentences = list(itertools.chain.from_iterable(base.sentences().values()))
    used = (open_clip.get_tokenizer("ViT-B-32")(sentences) != 0).sum(1)
    assert used.max() <= 70


PLANTED = [
    ("path", 4, "two parallel rows of crypts", "fact"),
    ("blood", 1, "a nucleus with four distinct lobes", "fact"),
    ("blood", 4, "the look of a red cell that still keeps its nucleus", "fact"),
    ("retina", 1, "dark blot haemorrhages near the fovea", "fact"),
    ("retina", 2, "beaded veins along two arcades", "fact"),
    ("retina", 3, "new vessels on the disc", "fact"),
    ("oct", 2, "a thin layer of subretinal fluid", "fact"),
    ("oct", 3, "small bumps on the outer band", "fact"),
    ("breast", 1, "a spiculated dark edge", "fact"),
    ("pneumonia", 0, "a patch of consolidation at the base", "fact"),
    ("derma", 5, "pseudopods around the rim", "fact"),
    ("derma", 4, "the outline of melanoma", "name"),
    ("blood", 7, "a body as large as two monocytes", "name"),
    ("path", 3, "small round dark nuclei that are densely packed", "overlap"),
    ("path", 3, "many mauve nuclei.", "phrase"),
    ("oct", 0, "two words", "phrase"),
]


@pytest.mark.parametrize(("task", "label", "text", "kind"), PLANTED)
def test_a_planted_text_is_found(task, label, text, kind):
    base = read(task)["classes"]
    items = list(base.values())[label]["descriptions"]
    item = next(i for i in reversed(items) if i["visual"])
    item["text"], item["tags"] = text, ["shape"]
    assert (kind, text) in list(problems(task, base))


FAULTS = {
    "tags": lambda base, first, second: first[0].update(tags=["sign"]),
    "visual": lambda base, first, second: first[0].update(visual="yes"),
    "count": lambda base, first, second: first.pop(),
    "twice": lambda base, first, second: second[0].update(text=first[0]["text"].upper()),
    "order": lambda base, first, second: base.update({name: base.pop(name) for name in [*base][:1]}),
    "missing": lambda base, first, second: second.clear(),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_of_form_is_found(kind):
    base = read("retina")["classes"]
    first, second = (entry["descriptions"] for entry in list(base.values())[1:3])
    FAULTS[kind](base, first, second)
    assert kind in {found for found, _ in problems("retina", base)}
