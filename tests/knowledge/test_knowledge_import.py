"""Foreign knowledge files, there and back, and their faults."""

import json
import os
import tracemalloc

import pytest

from kpl_lib.common.errors import InputError
from kpl_lib.knowledge import Description, KnowledgeBase
from kpl_lib.knowledge.files import FORMATS

PETS = KnowledgeBase(
    "pets",
    {
        "cat, tabby": [
            Description('a "necklace", twice', ("shape", "colour"), True),
            Description("pride", (), False),
        ],
        "Dög": [Description("a wet nose\nand a tongue"), Description("one tail", ("count",))],
    },
)


@pytest.fixture
def written(tmp_path):
    def write(content, name="pets.json"):
        path = tmp_path / name
        raw = json.dumps(content) if isinstance(content, dict | list) else content
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        return path

    return write


@pytest.mark.parametrize("format", ["descriptors", "kpl", "csv"])
def test_there_and_back_keeps_classes_order_and_texts(tmp_path, format):
    PETS.export(tmp_path / "pets.x", format)
    back = KnowledgeBase.read(tmp_path / "pets.x", format)
    assert list(back.classes.items()) == list(PETS.classes.items())
    assert (back.records == PETS.records) is (format == "csv")  # only the table holds tags and visual
    assert back.name == "pets" and "pets.x" in back.origin


def test_cupl_carries_the_sentences(tmp_path):
    PETS.export(tmp_path / "pets.json", "cupl")
    back = KnowledgeBase.read(tmp_path / "pets.json", "cupl")
    assert back.sentences() == PETS.sentences() == back.classes
    assert back.classes["Dög"][1] == "a photo of a Dög, which has one tail"


def test_what_is_written_has_the_published_shape(tmp_path):
    for format in FORMATS:
        PETS.export(tmp_path / format, format)
    assert json.loads((tmp_path / "descriptors").read_text())["Dög"][1] == "one tail"
    assert json.loads((tmp_path / "kpl").read_text())["pets"]["Dög"][1] == {"feature": "one tail"}
    table = (tmp_path / "csv").read_bytes().decode().split("\n")
    assert table[:2] == [
        "class,description,tags,visual",
        '"cat, tabby","a ""necklace"", twice",shape;colour,true',
    ]
    PETS.export(tmp_path / "kpl", "kpl", section="animals")
    assert list(json.loads((tmp_path / "kpl").read_text())) == ["animals"]


def test_a_table_may_lack_columns_and_order_them_freely(written):
    path = written(
        "Visual,description,CLASS\r\nTRUE,whiskers,cat\r\n\r\n,a wet nose,dog\r\n,a tail,cat\r\n", "p.csv"
    )
    assert KnowledgeBase.read(path, "csv").records == {
        "cat": [Description("whiskers", (), True), Description("a tail")],
        "dog": [Description("a wet nose")],
    }


def test_sections_of_a_kpl_file(written):
    one, two = {"cat": [{"feature": "whiskers"}]}, {"dog": [{"feature": "a wet nose"}]}
    assert KnowledgeBase.read(written({"pets": one}), "kpl").class_names == ("cat",)
    path = written({"cats": one, "dogs": two})
    assert KnowledgeBase.read(path, "kpl", "dogs").class_names == ("dog",)
    with pytest.raises(InputError, match="which section\\? It has 'cats', 'dogs'"):
        KnowledgeBase.read(path, "kpl")
    with pytest.raises(InputError, match="only the kpl format has sections"):
        KnowledgeBase.read(path, "cupl", "dogs")
    with pytest.raises(InputError, match="unknown format 'cvs': did you mean 'csv'"):
        KnowledgeBase.read(path, "cvs")


def test_nothing_half_written(tmp_path):
    bad = KnowledgeBase("x", {"cat": [Description("whiskers", ("shape; colour",))]})
    with pytest.raises(InputError, match="class 'cat', description 1: a tag holds ';'"):
        bad.export(tmp_path / "x.csv", "csv")
    with pytest.raises(InputError, match="only the kpl format"):
        PETS.export(tmp_path / "x.json", "cupl", section="pets")
    assert list(tmp_path.iterdir()) == []


LATIN = '{"cat": ["whiskers"],\n"dog": ["tail", "Käse"]}'.encode("latin-1")
FAULTS = [
    ("cupl", LATIN, "line 2, byte 19 is not UTF-8"),
    ("cupl", '{"cat": ["whiskers"]}'.encode("utf-16"), "line 1, byte 1 is not UTF-8"),
    ("cupl", b"\xef\xbb\xbf{}", "line 1, column 1 is a byte order mark"),
    ("descriptors", '{"cat": ["a"],\n "dog": ["b",]}', "broken JSON at line 2, column"),
    ("descriptors", '{"cat": ["a"],}', "broken JSON at line 1, column"),
    ("descriptors", '{"cat": ["a"]', "broken JSON at line 1, column 14"),
    ("descriptors", '{"cat":\n["\\ud83d\\ude00", "\\ud83d"]}', r"holds half a character, '\\ud83d';"),
    ("cupl", {"cat": {"dog": ["a"]}}, "class 'cat' must hold a list, not an object; is it another format"),
    ("cupl", {"cat": ["a", ["b"]]}, r"class 'cat', description 2 must be text, not \[\"b\"\]"),
    ("cupl", {"cat": ["a"], "dog": ["b", 7]}, "class 'dog', description 2 must be text, not 7"),
    ("cupl", {"cat": ["a", {"text": "b"}]}, "class 'cat', description 2 must be text"),
    ("cupl", {"cat": "a"}, "class 'cat' must hold a list of descriptions, not \"a\""),
    ("cupl", {"cat": []}, "class 'cat' has no descriptions"),
    ("cupl", {"cat": ["a"], "CAT": ["b"]}, "classes 'cat' and 'CAT' differ only in case"),
    ("cupl", '{"cat": ["a"],\n"cat": ["b"]}', r"'cat' stands twice \(again in line 2\)"),
    ("cupl", {}, "no classes"),
    ("cupl", [["cat", "a"]], "one JSON object"),
    ("kpl", {"pets": ["a"]}, "section 'pets' must map classes to descriptions"),
    ("kpl", {"pets": {"cat": [{"feature": 7}]}}, "class 'cat', description 1 must be text, not 7"),
    ("kpl", {"pets": {"cat": [7]}}, "class 'cat', description 1 must be text, not 7"),
    ("kpl", {"pets": {"cat": [{"feature_": "a"}]}}, "unknown key 'feature_': did you mean 'feature'"),
    ("kpl", {"pets": {"cat": {"descriptions": ["a"]}}}, "must hold a list, not an object"),
    ("csv", "class,description\ncat,Käse\n".encode("latin-1"), "line 2, byte 6 is not UTF-8"),
    ("csv", b"\xef\xbb\xbfclass,description\ncat,a\n", "line 1, column 1 is a byte order mark"),
    ("csv", "class,description\ncat,a,\n", "line 2 has 3 fields, the header has 2"),
    ("csv", "class,description,\ncat,a,\n", "line 1, column 3 '' is unknown"),
    ("csv", 'class,description\ncat,"a\nb"\ndog,"b\n\n', "broken CSV in the record that begins in line 4"),
    ("csv", 'class,description\ncat,"a" b\n', "broken CSV in the record that begins in line 2"),
    ("csv", "class,description\ncat," + "a" * 200_000 + "\n", "begins in line 2: field larger than"),
    ("csv", "class;description\ncat;a\n", "separate the columns by commas"),
    ("csv", "name,description\ncat,a\n", "line 1 must name the column 'class'"),
    ("csv", "class,description,class\ncat,a,b\n", "column 3 'class' is twice"),
    ("csv", "class,description\n,a\n", "line 2 has no class"),
    ("csv", 'class,description\n\ncat,"  "\n', "line 3 has no description"),
    (
        "csv",
        "class,description,visual\ncat,a,yes\n",
        "line 2: 'visual' must be true, false or empty, not 'yes'",
    ),
    ("csv", "class,description\ncat,a\nCat,b\n", "classes 'cat' and 'Cat' differ only in case"),
    ("csv", "class,description\n", "no classes"),
    ("csv", "", "line 1 must name the column 'class'"),
]


@pytest.mark.parametrize(("format", "content", "said"), FAULTS)
def test_every_fault_is_one_line_with_file_and_place(written, format, content, said):
    path = written(content, "pets.csv" if format == "csv" else "pets.json")
    with pytest.raises(InputError, match=said) as caught:
        KnowledgeBase.read(path, format)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_100_mb_is_refused_unread(tmp_path, format):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 100_000_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="large: larger than 64 MB"):
        KnowledgeBase.read(path, format)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10_000_000


def test_a_device_is_refused_unread():
    with pytest.raises(InputError, match="device or pipe"):
        KnowledgeBase.load("/dev/zero")
