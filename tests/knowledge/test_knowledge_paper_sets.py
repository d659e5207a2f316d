"""The knowledge bases of the paper's medical sets: complete, distinct, short, and true as far as words can tell."""

import itertools
import json
import re
from pathlib import Path

import open_clip
import pytest
from paper_set_facts import CLASSES, MILD, MODERATE, PLANTED, PROLIFERATIVE, SEVERE, wrong

from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge.words import content_stems, near_pairs, words_of

FOLDER = Path(__file__).resolve().parents[2] / "data" / "knowledge"
TAGS = {"location", "colour", "shape", "texture", "count", "absence"}


def entries(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["classes"]


def lines():
    """Yield (base, class, text, tags, visual)."""
    for base in CLASSES:
        for label, entry in entries(base).items():
            for row in entry["descriptions"]:
                yield base, label, row["text"], row["tags"], row["visual"]


@pytest.mark.parametrize("name", CLASSES)
def test_the_base_is_complete_and_checks_clean(name):
    base = KnowledgeBase.load(name)
    assert base.class_names == CLASSES[name]
    assert {label: len(texts) for label, texts in base.classes.items()} == dict.fromkeys(CLASSES[name], 50)
    assert base.name == name and base.modality and base.check().clean, str(base.check())
    assert all(2 <= len(set(base.references[label])) <= 4 for label in base.class_names)
    assert all(
        said in base.origin
        for said in ("language model", "not reviewed by a clinician", "not for clinical use")
    )
    assert "{class}" in base.template and "which has {description}" in base.template


def test_every_line_is_a_short_phrase_with_known_tags():
    for _, _, text, tags, visual in lines():
        assert 3 <= len(text.split()) <= 14 and text == text.strip(" .,"), text
        assert 1 <= len(tags) <= 3 and len(set(tags)) == len(tags) and set(tags) <= TAGS, text
        assert isinstance(visual, bool), text
        if re.match(r"no\b", text):
            assert "absence" in tags, text
        assert not re.search(r"\b(hemorrhage|edema|color|gray|center)", text), f"{text}: British spelling"


@pytest.mark.parametrize("name", CLASSES)
def test_few_lines_are_not_visual_and_they_stand_last(name):
    for label, entry in entries(name).items():
        flags = [row["visual"] for row in entry["descriptions"]]
        assert 1 <= flags.count(False) <= 3, label
        assert flags == sorted(flags, reverse=True), label


@pytest.mark.parametrize("name", CLASSES)
def test_no_line_repeats_another_or_says_a_class(name):
    rows = [(label, row["text"]) for label, entry in entries(name).items() for row in entry["descriptions"]]
    spelled = [" ".join(words_of(text)) for _, text in rows]
    assert len(set(spelled)) == len(spelled)
    for (_, text), words in zip(rows, spelled, strict=True):
        assert not [label for label in CLASSES[name] if f" {' '.join(words_of(label))} " in f" {words} "], (
            text
        )
    for (label, text), (other, again) in itertools.combinations(rows, 2):
        a, b = content_stems(text), content_stems(again)
        assert len(a & b) <= 0.6 * len(a | b), f"{label}: {text!r} is near {again!r} of {other}"


def test_the_two_chest_sets_are_not_copies_of_each_other():
    rows = [
        row["text"]
        for name in ("shenzhen", "montgomery")
        for e in entries(name).values()
        for row in e["descriptions"]
    ]
    pairs = [
        (rows[i], rows[j])
        for block in near_pairs([content_stems(t) for t in rows], 0.6)
        for i, j in zip(*block[:2], strict=True)
    ]
    assert not pairs
    assert len(set(rows)) == 200


@pytest.mark.parametrize("name", CLASSES)
def test_every_sentence_fits_the_encoder(name):
    sentences = [text for texts in KnowledgeBase.load(name).sentences().values() for text in texts]
    tokens = (open_clip.get_tokenizer("ViT-B-32")(sentences) != 0).sum(dim=1)
    assert tokens.min() > 8 and tokens.max() <= 70


def test_no_line_belongs_to_another_class():
    faults = [
        (base, label, text, why)
        for base, label, text, tags, _ in lines()
        if (why := wrong(base, label, text, tags))
    ]
    assert not faults


def test_the_facts_that_make_a_grade_are_said_there():
    texts = {
        label: " | ".join(row["text"] for row in entry["descriptions"])
        for label, entry in entries("idrid").items()
    }
    assert "more than twenty haemorrhages in each quadrant" in texts[SEVERE]
    assert "venous beading in two quadrants" in texts[SEVERE] and "prominent IRMA" in texts[SEVERE]
    assert "microaneurysms and no other change" in texts[MILD]
    assert all(
        sign in texts[MODERATE] for sign in ("blot haemorrhages", "hard exudates", "cotton wool spots")
    )
    assert all(
        sign in texts[PROLIFERATIVE]
        for sign in (
            "new vessels on the optic disc",
            "vitreous haemorrhage",
            "preretinal haemorrhage",
            "traction",
        )
    )


@pytest.mark.parametrize(("base", "label", "text"), PLANTED)
def test_a_wrong_line_would_be_found(base, label, text):
    assert wrong(base, label, text)
