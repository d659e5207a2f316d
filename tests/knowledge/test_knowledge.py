"""Knowledge bases: strict reading, sentences, foreign formats, checks."""

import json
import time

import pytest

from kpl_lib.common import files
from kpl_lib.common.errors import InputError
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.files import known_names

GOOD = {
    "name": "pets",
    "modality": "photograph",
    "origin": "Written by a language model for a test; not reviewed by a clinician.",
    "template": "a {class} with {description}",
    "classes": {
        "cat": {
            "references": ["A book"],
            "descriptions": [{"text": "whiskers", "tags": ["shape"], "visual": True}],
        },
        "dog": {"descriptions": ["a wet nose", {"text": "loyalty", "visual": False}]},
    },
}


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "pets.json"
        raw = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        return path

    return write


def test_a_file_is_read_as_it_stands(written):
    kb = KnowledgeBase.load(written(GOOD))
    assert kb.classes == {"cat": ["whiskers"], "dog": ["a wet nose", "loyalty"]}
    assert kb.records["cat"] == [Description("whiskers", ("shape",), True)]
    assert kb.records["dog"] == [Description("a wet nose"), Description("loyalty", (), False)]
    assert (kb.references["cat"], kb.references["dog"], kb.modality) == (["A book"], [], "photograph")
    assert "not reviewed by a clinician" in kb.origin


def test_saving_and_loading_changes_nothing(written, tmp_path):
    kb = KnowledgeBase.load(written(GOOD))
    kb.save(tmp_path / "again.json")
    assert KnowledgeBase.load(tmp_path / "again.json") == kb
    with pytest.raises(InputError, match="does not exist"):
        kb.save(tmp_path / "nowhere" / "x.json")


def test_sentences_and_prompts(written):
    kb = KnowledgeBase.load(written(GOOD))
    assert kb.sentences()["dog"] == ["a dog with a wet nose", "a dog with loyalty"]
    assert kb.sentences("{description}!")["cat"] == ["whiskers!"]
    assert kb.prompts() == ["a photo of a cat.", "a photo of a dog."]
    with pytest.raises(InputError, match=r"must hold {description}"):
        kb.sentences("a photo of a {class}")


def test_braces_in_names_and_descriptions_stay_as_they_are():
    kb = KnowledgeBase("x", {"{description}": [Description("{class} {0.__class__}")]})
    assert kb.sentences() == {
        "{description}": ["a photo of a {description}, which has {class} {0.__class__}"]
    }


def classes(value):
    return {"classes": {"cat": {"descriptions": ["whiskers"]}, "dog": value}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"classes": {\n "cat": ["a"],\n "dog": ["b",]}}', "line 3, column"),
        ('{"classes": {"cat": ["a"]}', "broken JSON at line 1"),
        (
            '{"classes": {"cat": ["a"],\n"dog": ["b"],\n"cat": ["c"]}}',
            r"'cat' stands twice \(again in line 3\)",
        ),
        (
            '{"classes": {"cat": {"descriptions": ["a"], "descriptions": ["b"]}}}',
            "'descriptions' stands twice",
        ),
        (classes({"descriptions": []}), "class 'dog' has no descriptions"),
        (classes([]), "class 'dog' has no descriptions"),
        (classes({}), "class 'dog' must hold a list of descriptions, not nothing"),
        (classes("a wet nose"), "class 'dog' must hold a list of descriptions"),
        (classes(["a wet nose", 7]), "class 'dog', description 2 must be text, not 7"),
        (classes(["a wet nose", None]), "class 'dog', description 2 must be text, not nothing"),
        (classes(["  "]), "class 'dog', description 1 is empty"),
        (classes([{"text": ["a"]}]), "class 'dog', description 1 must be text"),
        (classes([{"text": "a", "visual": 1}]), "'visual' that is neither true nor false"),
        (classes([{"text": "a", "tags": "colour"}]), "'tags' that are no list of texts"),
        (classes([{"text": "a", "visaul": True}]), "unknown key 'visaul': did you mean 'visual'"),
        (classes({"descriptions": ["a"], "references": "b"}), "'references' must be a list of texts"),
        ({"classes": {"Cat": ["a"], "cat ": ["b"]}}, "differ only in case or spaces"),
        ({"classes": {" ": ["a"]}}, "empty name"),
        ({"classes": {}}, "no classes"),
        ({"class": {"cat": ["a"]}}, "unknown key 'class': did you mean 'classes'"),
        ({"name": "x"}, "no 'classes'"),
        ({**GOOD, "template": "no place"}, "must hold {description}"),
        ({**GOOD, "origin": 3}, "'origin' must be text"),
        ([1], "one JSON object"),
        ("[" * 100_000, "broken JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"classes":\n{"Röntgen": ["a"]}}'.encode("latin-1"), "line 2, byte 4 is not UTF-8"),
        (b"", "broken JSON at line 1"),
    ],
)
def test_every_fault_is_one_line_with_the_file_and_the_place(written, content, said):
    path = written(content)
    with pytest.raises(InputError, match=said) as caught:
        KnowledgeBase.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path, written, monkeypatch):
    with pytest.raises(InputError, match=r"nowhere\.json: no such file"):
        KnowledgeBase.load(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="a folder, not a file"):
        KnowledgeBase.load(tmp_path)
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="larger than"):
        KnowledgeBase.load(written(GOOD))


def test_shipped_bases_are_found_by_name_and_unknown_names_say_the_nearest():
    assert "phantom-chest" in known_names()
    assert len(KnowledgeBase.load("phantom-chest").class_names) == 2
    with pytest.raises(InputError, match="did you mean 'phantom-chest'"):
        KnowledgeBase.load("phantom-chset")


def test_subset_keeps_what_passes_and_refuses_an_empty_class(written):
    kb = KnowledgeBase.load(written(GOOD))
    assert kb.subset(lambda d: d.text in ("whiskers", "a wet nose")).classes == {
        "cat": ["whiskers"],
        "dog": ["a wet nose"],
    }
    with pytest.raises(InputError, match="no description of 'dog' is left"):
        kb.subset(lambda d: d.visual)


def test_foreign_files(written):
    path = written({"cat": ["A cat has whiskers."], "dog": ["A dog has a wet nose."]})
    assert KnowledgeBase.read(path, "cupl").sentences()["cat"] == ["A cat has whiskers."]
    path = written({"cat": ["whiskers"], "dog": ["a wet nose"]})
    assert KnowledgeBase.read(path, "descriptors").sentences()["dog"] == ["dog, which has a wet nose"]
    path = written({"pets": {"cat": [{"feature": "whiskers"}], "dog": [{"feature": "a wet nose"}]}})
    kb = KnowledgeBase.read(path, "kpl", "pets")
    assert kb.sentences()["cat"] == ["a photo of a cat, which has whiskers"]
    assert "feature" not in kb.origin and "pets.json" in kb.origin
    with pytest.raises(InputError, match="no section 'cars'; it has 'pets'"):
        KnowledgeBase.read(path, "kpl", "cars")
    with pytest.raises(InputError, match="class 'cat', description 1"):
        KnowledgeBase.read(written({"pets": {"cat": [{"text": "whiskers"}]}}), "kpl", "pets")


def test_check_finds_duplicates_leaks_shared_texts_and_uneven_counts():
    texts = {
        "house cat": ["a tail", "A Tail!", "the HOUSE cat look", "a house"],
        "dog": ["a tail", "dogged looks"],
    }
    made = KnowledgeBase("pets", {name: list(map(Description, found)) for name, found in texts.items()})
    report = made.check()
    assert [(f.kind, f.class_name, f.grave) for f in report.findings] == [
        ("duplicate", "house cat", True),
        ("class name", "house cat", True),
        ("shared", "house cat", True),
        ("uneven", "", False),
    ]
    assert not report.clean and "3 to correct" in str(report)
    assert KnowledgeBase("pets", {"cat": [Description("a")], "dog": [Description("b")]}).check().clean


def test_a_thousand_classes_of_fifty_load_fast(written):
    texts = [{"text": f"a sign number {i}", "tags": ["shape"], "visual": True} for i in range(50)]
    path = written({"classes": {f"class {c}": {"descriptions": texts} for c in range(1000)}})

    def plain():
        json.loads(path.read_text(encoding="utf-8"))

    def seconds(call):
        start = time.process_time()
        call()
        return time.process_time() - start

    assert sum(map(len, KnowledgeBase.load(path).records.values())) == 50_000
    pairs = [(seconds(lambda: KnowledgeBase.load(path)), seconds(plain)) for _ in range(3)]
    ours, theirs = (min(column) for column in zip(*pairs, strict=True))
    assert ours < 6 * theirs, f"{ours:.3f} s against {theirs:.3f} s"  # bound: 0.2 s on a quiet machine
