"""What a check of a knowledge base finds by words, on made-up bases and on every base that ships."""

import random
import time

import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.check import Finding, Report, capped, token_counts, too_long
from kpl_lib.knowledge.files import known_names
from kpl_lib.knowledge.words import Phrases, content_stems, near_pairs, word_list, words_of


def base(records, **head):
    """A knowledge base of texts or descriptions."""
    made = {
        name: [d if isinstance(d, Description) else Description(d) for d in found]
        for name, found in records.items()
    }
    return KnowledgeBase("made up", made, **head)


def kinds(report, grave=None):
    return [f.kind for f in report.findings if grave is None or f.grave is grave]


@pytest.mark.parametrize("name", known_names())
def test_every_base_that_ships_is_clean(name):
    report = KnowledgeBase.load(name).check()
    assert report.clean, report.text(None)
    assert "tags" not in kinds(report)


def test_pairs_are_exactly_those_of_the_slow_way():
    rng = random.Random(0)
    for _ in range(60):
        words = [f"w{i}" for i in range(rng.choice([5, 12, 30]))]
        sets = [frozenset(rng.sample(words, rng.randint(0, min(len(words), 9)))) for _ in range(40)]
        for above in (0.3, 0.5, 0.6, 0.75):
            slow = {
                (i, j): len(sets[i] & sets[j]) / len(sets[i] | sets[j])
                for i in range(40)
                for j in range(i)
                if sets[i] | sets[j] and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) > above
            }
            found = [row for block in near_pairs(sets, above) for row in zip(*block, strict=True)]
            assert {(int(i), int(j)): v for i, j, v in found} == slow
            assert len(found) == len(slow)


def test_pairs_meet_across_blocks(monkeypatch):
    monkeypatch.setattr("kpl_lib.knowledge.words.BLOCK", 2)
    sets = [frozenset(letters) for letters in ("xy", "abcd", "", "qr", "abcde", "qrs")]
    assert [(int(i), int(j)) for block in near_pairs(sets) for i, j, _ in zip(*block, strict=True)] == [
        (4, 1),
        (5, 3),
    ]
    assert list(near_pairs([])) == list(near_pairs([frozenset()])) == []


def test_overlap_reads_stems_and_leaves_denial_place_and_number_in():
    assert content_stems("scattered red dots") == content_stems("a red dot, scattering")
    assert len(content_stems("red dots")) == 2 and len(content_stems("no red dots")) == 3
    for word in ("no", "not", "without", "above", "left", "near", "two"):
        assert content_stems(word), word
    assert not content_stems("which has the")
    assert not content_stems("the")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("like house cats", ["house cat"]),
        ("the HOUSE-cat look", ["house cat"]),
        ("a house with a cat", []),
        ("dogs, then a Dog's nose", ["dog"]),
        ("dogged looks", []),
        ("hotdog", []),
    ],
)
def test_a_name_is_found_whole_and_in_its_inflections(text, said):
    assert Phrases(["house cat", "dog"]).inside(words_of(text)) == said


def test_near_duplicates_are_grave_within_a_class_and_worth_knowing_across():
    report = base(
        {
            "a": ["scattered small red dots", "small red dots, scattered widely", "pale disc"],
            "b": ["a scattering of large dark dots", "one pale round disc", "wide cup"],
        }
    ).check()
    within = [f for f in report.findings if f.kind == "near duplicate"]
    assert [(f.class_name, f.grave) for f in within] == [("a", True)]
    assert within[0].message.endswith("nearly repeats 'scattered small red dots' (overlap 0.80)")
    assert report.findings == tuple(within)
    across = base({"a": ["small red dots"], "b": ["small red dot here"]}).check()
    assert kinds(across) == ["close"] and across.clean


def test_a_text_on_the_bound_is_no_near_duplicate():
    report = base({"a": ["alpha beta gamma delta", "alpha beta gamma epsilon"]}).check()
    assert report.findings == ()


def test_repeats_and_shared_texts_are_said_once_each():
    report = base({"a": ["a tail", "A Tail!", "tail a"], "b": ["a tail."], "c": ["a coat"]}).check()
    assert kinds(report) == ["duplicate", "near duplicate", "shared", "uneven"]
    assert report.findings[2].message == "'a tail' stands under 'a', 'b'"
    (many,) = base({f"class {c}": ["a tail"] for c in range(9)}).check().findings
    assert many.message.endswith("'class 2', 'class 3', 5 more") and many.grave


def test_class_names_are_grave_in_their_own_class_alone():
    report = base({"cat": ["no dog at all", "two cats"], "dog": ["a wet nose", "a brown coat"]}).check()
    assert [(f.kind, f.class_name, f.grave) for f in report.findings] == [
        ("other name", "cat", False),
        ("class name", "cat", True),
    ]
    inside = base({"severe lesion": ["a severe lesion"], "lesion": ["a spot"]}).check()
    assert kinds(inside) == ["class name"]
    assert base({"A": ["a fist"], "it": ["it is flat"]}).check().findings == ()


def test_whole_sentences_may_say_their_class():
    records = {"cat": ["A cat has whiskers."], "dog": ["A dog has a wet nose."]}
    assert base(records, template="{description}").check().clean
    assert not base(records).check().clean


def test_tokens_are_clips_own():
    import open_clip

    texts = ["a photo of a cat", "hyperpigmentation, perifollicular; 12 µm", "  spaces   between  ", "é", ""]
    tokens = open_clip.get_tokenizer("ViT-B-32")(texts)
    assert token_counts(texts) == (tokens.argmax(dim=1) + 1).tolist()
    assert min(token_counts(["word"], enough=70)) >= token_counts(["word"])[0]


def test_sentences_of_more_than_70_tokens_are_grave():
    found = list(too_long({"cat": ["dot " * 68, "dot " * 69]}))
    assert [f.kind for f in found] == ["tokens"]
    assert "71 tokens, at most 70" in found[0].message
    report = base({"cat": ["dot " * 70], "dog": ["b"]}).check()
    assert [f.kind for f in report.findings if f.grave] == ["tokens"]
    assert "cat" in report.findings[0].message


def test_wording_counts_only_where_the_line_does_not_say_that_it_cannot_be_seen():
    found = {
        "a": [Description("painful to the touch"), Description("a family history", visual=True)],
        "b": [Description("treated with drugs", visual=False), Description("a round dot", visual=True)],
    }
    report = base(found).check()
    assert [(f.kind, f.class_name, f.grave) for f in report.findings] == [("wording", "a", False)] * 2
    assert "(family history)" in report.findings[1].message


def test_unknown_tags_are_said_once_with_the_nearest():
    found = {
        "a": [Description("x", ("color",)), Description("y", ("color", "shape"))],
        "b": [Description("z")],
    }
    (tag,) = [f for f in base(found).check().findings if f.kind == "tags"]
    assert "'color' on 2 descriptions: did you mean 'colour'" in tag.message and not tag.grave


def test_classes_are_compared_by_name():
    made = base({"Shiba Inu": ["a"], "pug": ["b"], "cat": ["c"]})
    assert made.check(["Shiba Inu", "pug", "cat"]).findings == ()
    report = made.check(["pug", "shiba_inu", "Poodle", "cats"])
    assert [(f.kind, f.class_name, f.grave) for f in report.findings] == [
        ("missing class", "Poodle", True),
        ("missing class", "cats", True),
        ("unknown class", "cat", True),
        ("order", "", False),
    ]
    with pytest.raises(InputError, match="a list of names, not 'cat'"):
        made.check("cat")
    assert "is it 'cat'?" in report.findings[1].message and "?" not in report.findings[0].message


def test_the_page_is_short_grave_first_and_whole_on_demand():
    findings = [Finding("wording", "a", f"soft {i}", grave=False) for i in range(20)]
    findings += [Finding("duplicate", "a", f"hard {i}") for i in range(9)]
    report = Report("x", {"a": 3}, tuple(findings))
    lines = str(report).splitlines()
    assert lines[1] == "  ! hard 0" and lines[-1] == "  9 to correct (!)"
    assert "    and 3 more of these (duplicate)" in lines and "    and 14 more of these (wording)" in lines
    assert len(lines) == 16 and len(report.text(None).splitlines()) == 31
    assert capped(["a"], 1, "x") == ["a"]


def test_the_lists_of_words_hold_each_word_once():
    for name in ("stop", "tags", "unseen"):
        words = word_list(name)
        assert len(words) > 10 and len(set(words)) == len(words), name
        assert all(word == word.casefold().strip() and not word.startswith("#") for word in words)


@pytest.mark.slow
def test_a_thousand_classes_of_fifty_are_checked_without_comparing_all_pairs():
    rng = random.Random(0)
    words = [f"word{int(rng.paretovariate(0.7)) % 3000}" for _ in range(4000)]

    def seconds(classes):
        texts = {
            f"class {c}": [" ".join(rng.choices(words, k=10)) for _ in range(50)] for c in range(classes)
        }
        made = base(texts)
        start = time.process_time()
        assert len(made.check(made.class_names).counts) == classes
        return time.process_time() - start

    seconds(10)  # loads the tokenizer
    assert seconds(1000) < 10 * seconds(250)  # all pairs would take sixteen times as long
    same = base({f"class {c}": [f"a sign number {i} of {c}" for i in range(50)] for c in range(1000)})
    assert "near duplicate" in kinds(same.check())
