"""Answers of language models: what is read, what is repaired, what is refused; prompts and class lists as data."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kpl_lib.cli.knowledge import read_classes
from kpl_lib.common.errors import InputError
from kpl_lib.knowledge.check import token_counts
from kpl_lib.knowledge.generate.answers import parse_answer, screen
from kpl_lib.knowledge.generate.prompts import Prompt, known_prompts, load_prompt

LIST = ["a long tail", 'a "sharp" beak, thin', "wings [wide]", "eyes: two"]
TEXT = json.dumps(LIST)
GOOD = {
    "a list": TEXT,
    "an object": json.dumps({"descriptions": LIST}),
    "an object with other things": json.dumps({"notes": ["no"], "n": 4, "descriptions": LIST}),
    "an object with one list": json.dumps({"cat": LIST}),
    "a fence": f"```json\n{TEXT}\n```",
    "a fence without a name": f"```\n{TEXT}\n```",
    "prose": f"Sure [as asked], here you go:\n{TEXT}\nShall I [or you] add more?",
    "prose and a fence": f"Here {{they}} are:\n```json\n{TEXT}\n```\nDone.",
    "trailing commas": TEXT[:-1] + ",\n ]",
    "trailing commas in an object": '{"descriptions": ' + TEXT[:-1] + ",],}",
    "prose and trailing commas": f"[1] Here: {TEXT[:-1]},] [2]",
    "thoughts first": f'<think>Maybe ["no", "never", "not", "nor", "none"]?</think>{TEXT}',
    "a byte order mark": "\ufeff" + TEXT,
    "cut off in a string": TEXT[:-1] + ', "a half sen',
    "cut off after a comma": TEXT[:-1] + ",",
    "raw line ends": "[\n" + ",\n".join(map(json.dumps, LIST)) + "\n]\n",
    "numbers": "Here they are:\n" + "\n".join(f"{i}. {text}" for i, text in enumerate(LIST, 1)),
    "brackets": "\n".join(f"({i}) {text}" for i, text in enumerate(LIST, 1)),
    "bullets": "\n".join(f"- {text}" for text in LIST),
    "stars": "\n".join(f"  * {text},  " for text in LIST),
}


@pytest.mark.parametrize("case", GOOD)
def test_the_list_is_found(case):
    assert parse_answer(GOOD[case]) == LIST


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "I am sorry, I cannot help.",
        "[]",
        "{}",
        "null",
        "3",
        '"whiskers"',
        "[1, 2]",
        '{"error": "busy"}',
        "[" * 100_000,
        '{"a":' * 50_000,
        "<think>[1]",
        "```json\n```",
        "a" * 200_000,
    ],
)
def test_where_there_is_no_list_none_is_made_up(text):
    assert parse_answer(text) == []


@settings(max_examples=150)
@given(st.text(alphabet=st.sampled_from('[]{}",:\\\n`- 1.ab<>'), max_size=80))
@example('["a\\')
def test_no_answer_breaks_the_reader(text):
    assert isinstance(parse_answer(text), list)


@settings(max_examples=80)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=8), st.integers(0, 3))
def test_every_list_comes_back_in_any_wrapping(texts, wrapping):
    said = json.dumps(texts)
    wrapped = [said, f"```json\n{said}\n```", f"Well: {said}", json.dumps({"descriptions": texts})]
    assert parse_answer(wrapped[wrapping]) == texts


REFUSED = {
    "no text": 3,
    "empty": "…",
    "unprintable": "a tail\u202e liat",
    "too long": "word " * 31,
    "class name": "the eye of a house cat",
    "duplicate": "A long tail.",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_no_base_should_hold_is_refused(reason):
    found = screen([REFUSED[reason], "a wet nose"], "house cat", "{class}: {description}", ["a long tail"])
    assert found.accepted == ("a wet nose",)
    assert dict(found.refused) == {reason: 1}


def test_nearly_the_same_and_inflected_names_are_refused():
    texts = ["small red dots", "a small red dot", "small red stripes on white", "many house cats"]
    found = screen(texts, "house cat", "{description}")
    assert found.accepted == ("small red dots", "small red stripes on white")
    assert dict(found.refused) == {"duplicate": 1, "class name": 1}


def test_tokens_are_counted_in_the_sentence():
    long = " ".join(["unbelievably-interwoven"] * 20)
    assert len(long.split()) <= 30 and token_counts([long])[0] > 70
    assert screen([long], "cat", "{description}").refused == {"too long": 1}
    middle = " ".join(["feather"] * 28)
    assert token_counts([middle]) == [30] and screen([middle], "cat", "{description}").accepted
    assert screen([middle], "cat", "plume " * 45 + "{description}").refused == {"too long": 1}


def test_texts_are_tidied_and_stay_in_order():
    found = screen(['  "a  long\n tail" ', "**a wet nose**", "it's striped"], "cat", "{description}")
    assert found.accepted == ("a long tail", "a wet nose", "it's striped")


# Prompts.


@pytest.mark.parametrize("name", known_prompts())
def test_prompts_that_ship_ask_for_the_class_and_the_number(name):
    prompt = load_prompt(name)
    system, user = prompt.messages("red {count} fox", 7, "drawing", ["a long tail"])
    assert prompt.name == name and prompt.about and system["role"] == "system" and user["role"] == "user"
    for word in ("Class: red {count} fox\n", "Number: 7\n", "Kind of picture: drawing\n", "- a long tail\n"):
        assert word in user["content"]
    assert "- a long tail" not in prompt.messages("fox", 7, "drawing")[1]["content"]


def test_the_prompts_that_the_command_names_are_there():
    assert {"visual", "cupl-like", "kpl-like"} <= set(known_prompts())
    assert len({load_prompt(name).checksum for name in known_prompts()}) == len(known_prompts())


def test_each_word_of_a_prompt_changes_its_checksum():
    base = {"name": "p", "system": "s", "user": "{class_name} {count}"}
    change = {
        "system": "S",
        "user": "{class_name}: {count}",
        "again": "{known} {count}",
        "template": "{description}",
    }
    sums = {Prompt(**base).checksum} | {
        Prompt(**{**base, key: text}).checksum for key, text in change.items()
    }
    assert len(sums) == 5 and Prompt(**{**base, "about": "x"}).checksum in sums


BAD_PROMPTS = {
    '{"name": "p", "system": "s"}': "the prompt has no 'user'",
    '{"name": "p", "system": "s", "usr": "x"}': "has the unknown key 'usr': did you mean 'user'?",
    '{"name": "p", "system": "s", "user": "{class_name}"}': "'user' must hold {count}",
    '{"name": "p", "system": "s", "user": "{class_name} {count} {modalty}"}': "holds {modalty}, which nothing",
    '{"name": "p", "system": "s", "user": "{ class_name } {count}"}': "'user' must hold {class_name}",
    '{"name": "p", "system": "{known}", "user": "{class_name} {count}"}': "'system' holds {known}",
    '{"name": "p", "system": "s", "user": "{class_name} {count} {}"}': "holds {}, which nothing fills",
    '{"name": "p", "system": "s", "user": "{class_name} {count}", "again": "{known}"}': "'again' must hold {count}",
    '{"name": "p", "system": "s", "user": "{class_name} {count}", "template": "x"}': "must hold {description}",
    '{"name": "p", "system": 3, "user": "{class_name} {count}"}': "'system' must be text, not 3",
    '{"name": "", "system": "s", "user": "{class_name} {count}"}': "'name' is empty",
    "[1]": "must hold one JSON object",
    "{": "broken JSON at line 1",
}


@pytest.mark.parametrize("text", BAD_PROMPTS)
def test_a_bad_prompt_file_is_one_line(text, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"p\.json: ") as caught:
        load_prompt(path)
    assert BAD_PROMPTS[text] in str(caught.value) and "\n" not in str(caught.value)


def test_braces_of_json_in_a_prompt_are_no_placeholders():
    prompt = Prompt("p", "", 'Answer {"descriptions": [...]} for {class_name}, {count} times.')
    (user,) = prompt.messages("cat", 2)
    assert user["content"] == 'Answer {"descriptions": [...]} for cat, 2 times.'


# Class lists.


def test_classes_come_from_names_files_and_bases(tmp_path):
    (tmp_path / "a.txt").write_text("house  cat\n\n dog \r\n")
    (tmp_path / "c.json").write_text('{"modality": "drawing", "classes": {"dog": ["x"], "cat": ["y"]}}')
    assert read_classes(tmp_path / "a.txt") == (("house cat", "dog"), "")
    assert read_classes(tmp_path / "c.json") == (("dog", "cat"), "drawing")
    assert read_classes("phantom-chest")[1] == "chest radiograph"


@pytest.mark.parametrize(("name", "count"), [("cub", 200), ("places365", 365), ("imagenet", 1000)])
def test_the_lists_that_ship_are_usable_as_they_are(name, count):
    names, _ = read_classes(name)
    assert len(names) == count
    assert all(
        screen(["a thin pale stripe on dark zzyzx"], name, "{class} {description}").accepted for name in names
    )


BAD_LISTS = {
    "empty.txt": (b"\n \n", "no classes"),
    "twice.txt": (b"cat\n\nCAT\n", "line 3: class 'CAT' stands in line 1 already"),
    "coded.txt": (b"cat\n\xff\n", "line 2, byte 1 is not UTF-8"),
    "control.txt": (b"cat\x00\n", "line 1 is no class name"),
    "long.txt": (b"x" * 201, "line 1 has 201 letters"),
    "list.json": (b'["cat", "dog"]', "must hold one JSON object"),
    "broken.json": (b'["cat",', "broken JSON"),
    "deep.json": (b"[" * 100_000, "broken JSON"),
    "object.json": (b'{"cat": 1}', "unknown key 'cat'"),
}


@pytest.mark.parametrize("file", BAD_LISTS)
def test_a_bad_class_list_is_one_line_with_the_place(file, tmp_path):
    raw, said = BAD_LISTS[file]
    (tmp_path / file).write_bytes(raw)
    with pytest.raises(InputError, match=file) as caught:
        read_classes(tmp_path / file)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_classes_name_the_nearest():
    with pytest.raises(InputError, match=r"unknown classes 'place365': did you mean 'places365'\?"):
        read_classes("place365")
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        read_classes("nowhere.txt")
