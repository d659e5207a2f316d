"""Generation against a real local server that misbehaves: all answered, each once, resumable, and no key shown."""

import json
import logging
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import as_completed
from pathlib import Path

import pytest
from chat_server import FAULTS, ChatServer, phrases

from kpl_lib import cli
from kpl_lib.common.errors import InputError
from kpl_lib.knowledge import KnowledgeBase
from kpl_lib.knowledge.generate.endpoint import Endpoint, EndpointError, read_access
from kpl_lib.knowledge.generate.prompts import load_prompt
from kpl_lib.knowledge.generate.rounds import Cache, Writer, WrittenClass
from kpl_lib.knowledge.generate.write import generate, write_all

SECRET = "sk-pßl".replace("ß", "s") + "-7hK2vQ9xW4mT1zB6"
QUICK = {"model": "local", "timeout": 10, "progress": False}


def here(server: ChatServer, **more: str) -> dict[str, str]:
    """The environment that points to the server."""
    return {"OPENAI_BASE_URL": server.url, **more}


def make(server: ChatServer, names, **change):
    return generate(names, **{**QUICK, "environment": here(server), **change})


def things(n: int) -> list[str]:
    return [f"thing {i}" for i in range(n)]


def assert_whole(base: KnowledgeBase, names: list[str], per_class: int, server: ChatServer) -> None:
    """Each class once, in order, with as many descriptions as asked for, and none of another class."""
    assert list(base.class_names) == names
    for name in names:
        texts = base.classes[name]
        assert len(texts) == len(set(texts)) == per_class
        attempts = range(server.asked[name])
        assert set(texts) <= {text for i in attempts for text in phrases(name, 1000 * i, per_class)}


# Failures of all kinds.


def test_sixty_classes_are_all_answered_whatever_fails(tmp_path):
    names = things(60)
    faults = [
        fault for fault in FAULTS if fault != "time-out"
    ]  # a short patience fails others on a busy machine
    bad = {names[4 * i]: fault for i, fault in enumerate(faults * 2)}
    script = lambda name, attempt: bad.get(name, "") if attempt == 0 else ""  # noqa: E731
    with ChatServer(script=script) as server:
        done = make(
            server, names, per_class=20, timeout=60, cache=tmp_path / "cache", out=tmp_path / "base.json"
        )
    assert_whole(done.base, names, 20, server)
    assert done.base.check().clean
    assert KnowledgeBase.load(tmp_path / "base.json").classes == done.base.classes
    assert server.faults == Counter({**dict.fromkeys(faults, 2), "": server.faults[""]})
    assert done.report.retries >= 2 * len(("429", "500", "cut"))
    assert all(server.asked[name] == 1 for name in names if bad.get(name) == "prose")
    assert done.report.refused == {"no list": 2, "answer too long": 2}
    assert len(list((tmp_path / "cache").iterdir())) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", "cache"]


@pytest.mark.slow
def test_a_thousand_classes_at_sixteen_calls_with_ten_percent_failures(tmp_path):
    names = things(1000)
    with ChatServer(0.1, seed=3, hang=2.5, delay=0.2) as server:
        options = {
            "cache": tmp_path / "cache",
            "out": tmp_path / "base.json",
            "timeout": 2.0,
            "concurrency": 16,
        }
        done = make(server, names, **options)
        assert_whole(done.base, names, 50, server)
        assert set(server.faults) == {"", *FAULTS} and sum(server.faults.values()) - server.faults[""] >= 60
        assert (
            10 <= server.most_busy <= 16 + server.faults["time-out"]
        )  # a time-out holds its thread a little longer
        asked, written = sum(server.asked.values()), (tmp_path / "base.json").read_bytes()
        again = make(server, names, **options)
    assert (again.report.calls, again.report.cached, sum(server.asked.values())) == (0, 1000, asked)
    assert (tmp_path / "base.json").read_bytes() == written
    assert KnowledgeBase.load(tmp_path / "base.json").classes == done.base.classes


def test_a_silent_server_is_asked_again():
    with ChatServer(script=lambda _, attempt: "" if attempt else "time-out", hang=1.2) as server:
        done = make(server, ["cat"], per_class=20, timeout=1, retries=20)
    assert_whole(done.base, ["cat"], 20, server)
    assert server.faults["time-out"] == 1 and done.report.retries >= 1 and done.report.calls == 1


BODIES = {
    "no JSON": lambda handler, good: handler.reply(200, b"<html>busy</html>"),
    "a page": lambda handler, good: handler.reply(200, b"<html>busy</html>", {"Content-Type": "text/html"}),
    "a list": lambda handler, good: handler.reply(200, [1, 2]),
    "null": lambda handler, good: handler.reply(200, b"null"),
    "no choices": lambda handler, good: handler.reply(200, {"choices": []}),
    "choices of numbers": lambda handler, good: handler.reply(200, {"choices": [3]}),
    "no content": lambda handler, good: handler.reply(200, {"choices": [{"message": {"content": None}}]}),
    "an empty body": lambda handler, good: handler.reply(200, b""),
    "a refusal": lambda handler, good: handler.chat("I am sorry, I cannot do that."),
    "too many tokens": lambda handler, good: handler.chat(json.dumps(good), 10_000),
}


@pytest.mark.parametrize("case", BODIES)
def test_an_answer_without_a_list_is_asked_for_again(case):
    script = lambda name, attempt: BODIES[case] if attempt == 0 else ""  # noqa: E731
    with ChatServer(script=script) as server:
        done = make(server, ["cat"], per_class=5)
    assert done.base.classes["cat"] == phrases("cat", 1000, 5)
    assert done.report.calls == 2 and sum(done.report.refused.values()) == 1


def test_an_answer_cut_at_the_bound_keeps_its_whole_phrases():
    def cut(handler, good):
        handler.chat(json.dumps(good)[:-6], finish="length")

    with ChatServer(script=lambda name, attempt: "" if attempt else cut) as server:
        done = make(server, ["cat"], per_class=5, max_tokens=300)
    assert done.base.classes["cat"] == phrases("cat", 0, 4) + phrases("cat", 1000, 1)
    assert (
        server.bodies[0]["max_tokens"] == 300 and "Number: 1\n" in server.bodies[1]["messages"][1]["content"]
    )


def test_the_server_says_how_long_to_wait():
    times = []

    def slow(handler, good):
        times.append(time.perf_counter())
        if len(times) == 1:
            handler.error(429, "slow down", {"Retry-After": "1"})
        else:
            handler.chat(json.dumps(good))

    with ChatServer(script=lambda *_: slow) as server:
        assert make(server, ["cat"], per_class=2).report.retries == 1
    assert times[1] - times[0] >= 1.0  # the client's own first pause is 0.5 s at most


def test_no_more_calls_at_once_than_asked_for():
    with ChatServer(delay=0.1) as server:
        make(server, things(12), per_class=2, concurrency=3)
        assert server.most_busy == 3


# Screening, and asking for what is missing.


def test_what_is_missing_is_asked_for_with_what_is_there():
    answers = [
        ["a long tail", "A long tail.", "the look of a cat", "word " * 40, " ", 3, "a wet nose"],
        ["a wet nose", "slit pupils", "soft paws", "one more than wanted"],
    ]
    script = lambda name, attempt: lambda handler, good: handler.chat(json.dumps(answers[attempt]))  # noqa: E731
    with ChatServer(script=script) as server:
        done = make(server, ["cat"], per_class=4, prompt="kpl-like")
    assert done.base.classes["cat"] == ["a long tail", "a wet nose", "slit pupils", "soft paws"]
    assert done.report.refused == {"duplicate": 2, "class name": 1, "too long": 1, "empty": 1, "no text": 1}
    question = server.bodies[1]["messages"][1]["content"]
    assert "Number: 2\n" in question and "- a long tail\n- a wet nose\n" in question
    assert [body["seed"] for body in server.bodies] == [0, 1]


def test_a_class_that_stays_short_is_reported_and_topped_up_later(tmp_path):
    few = lambda handler, good: handler.chat('["a long tail", "a wet nose"]')  # noqa: E731
    with ChatServer(script=lambda name, attempt: few if name == "cat" else "") as server:
        done = make(server, ["cat", "dog"], per_class=5, cache=tmp_path)
        assert done.report.short == {"cat": 3} and "'cat' lacks 3" in str(done.report)
        assert [len(texts) for texts in done.base.classes.values()] == [2, 5]
        assert server.asked == {"cat": 6, "dog": 1}
        server.script = None
        done = make(server, ["cat", "dog"], per_class=5, cache=tmp_path)
    assert done.report.short == {} and server.asked == {"cat": 7, "dog": 1}
    assert done.base.classes["cat"] == ["a long tail", "a wet nose", *phrases("cat", 6000, 3)]


# Failing, stopping, going on.


def test_classes_that_fail_are_named_and_the_others_kept(tmp_path):
    names, out = things(8), tmp_path / "base.json"
    out.write_text("old")
    with ChatServer(script=lambda name, attempt: "500" if name in names[2:4] else "") as server:
        with pytest.raises(InputError) as caught:
            make(server, names, per_class=3, retries=0, cache=tmp_path / "cache", out=out)
        said = str(caught.value)
        assert said.startswith(f"{server.host} kept failing (HTTP 500); 2 of 8 classes failed: ")
        assert "'thing 2'" in said and "'thing 3'" in said and "6 are finished and kept in" in said
        assert "\n" not in said and out.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
        server.script = None
        done = make(server, names, per_class=3, cache=tmp_path / "cache", out=out)
    assert_whole(done.base, names, 3, server)
    assert done.report.cached == 6 and done.report.calls == 2
    assert server.asked == {**dict.fromkeys(names, 1), names[2]: 2, names[3]: 2}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": SECRET}, "refused (HTTP 401): check OPENAI_API_KEY"),
        ({"models": ("other",)}, "refused (HTTP 404): check the model 'local'"),
        ({"script": lambda *_: "500"}, "kept failing (HTTP 500)"),
        ({"script": lambda *_: "429"}, "kept failing (HTTP 429)"),
        ({"script": lambda *_: "cut"}, "no connection to"),
        (
            {"script": lambda *_: lambda handler, good: handler.error(400, "too odd")},
            "(HTTP 400): Error code: 400",
        ),
        ({"script": lambda *_: lambda handler, good: handler.chat("no")}, "no usable answer in 6 rounds"),
    ],
)
def test_a_server_that_only_fails_is_given_up_soon(options, said):
    with ChatServer(**options) as server, pytest.raises(InputError) as caught:
        make(server, things(60), per_class=3, retries=0, concurrency=2)
    assert said in str(caught.value) and "0 are finished" in str(caught.value)
    assert len(server.bodies) <= 6 * 6


def test_it_is_given_up_in_time_even_where_the_report_lags_behind(monkeypatch):
    asked = []

    class Failing:
        def ask(self, messages, seed):
            asked.append(messages)
            raise EndpointError("failed")

    def slowly(futures):
        for future in as_completed(futures):
            time.sleep(0.01)
            yield future

    monkeypatch.setattr("kpl_lib.knowledge.generate.write.as_completed", slowly)
    writer = Writer(Failing(), load_prompt("visual"), "photograph", 0, Cache(None, {}))
    with pytest.raises(InputError, match=r"^failed; \d of 60 classes failed: "):
        write_all([WrittenClass(name, (), 2) for name in things(60)], writer, 2, 60, progress=False)
    assert 4 <= len(asked) <= 5  # four in a row, and one that was under way


def test_a_server_that_is_not_there_or_too_slow_is_one_line():
    with pytest.raises(InputError, match=r"^no connection to 127\.0\.0\.1:9; 1 of 1 classes failed: 'cat'"):
        generate(["cat"], retries=0, environment={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, **QUICK)
    with (
        ChatServer(script=lambda *_: "time-out") as server,
        pytest.raises(InputError, match="in time; 1 of 1"),
    ):
        make(server, ["cat"], retries=0, timeout=0.1)


CHANGES = {
    "prompt": "kpl-like",
    "model": "other",
    "seed": 1,
    "per_class": 4,
    "modality": "drawing",
    "temperature": 1.0,
}


def test_the_cache_knows_what_was_asked(tmp_path):
    with ChatServer() as server:
        first = make(server, ["cat"], per_class=3, cache=tmp_path)
        again = make(server, ["cat"], per_class=3, cache=tmp_path)
        assert again.base == first.base and again.report.calls == 0 and len(server.bodies) == 1
        for n, (key, value) in enumerate(CHANGES.items(), 2):
            make(server, ["cat"], **{"per_class": 3, "cache": tmp_path, key: value})
            assert len(server.bodies) == n, key


@pytest.mark.parametrize("spoil", ["", "{", "[]", "{}", '{"class_name": "cat"}', "\udcff", "other"])
def test_a_broken_file_in_the_cache_is_written_anew(spoil, tmp_path):
    with ChatServer() as server:
        make(server, ["cat"], per_class=3, cache=tmp_path)
        (path,) = tmp_path.iterdir()
        good = path.read_text()
        spoil = good.replace('"cat"', '"dog"') if spoil == "other" else spoil
        path.write_bytes(spoil.encode(errors="surrogateescape"))
        assert make(server, ["cat"], per_class=3, cache=tmp_path).report.calls == 1
    assert json.loads(path.read_text())["descriptions"] == phrases("cat", 1000, 3)


def test_two_runs_on_one_cache_do_not_harm_each_other(tmp_path):
    names, done = things(40), []
    with ChatServer(0.1, hang=0.7, delay=0.005) as server:

        def run():
            done.append(make(server, names, per_class=5, timeout=0.5, cache=tmp_path, concurrency=4))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(done) == 2 and len(list(tmp_path.iterdir())) == 40
    for path in tmp_path.iterdir():
        assert len(json.loads(path.read_text())["descriptions"]) == 5
    for found in done:
        assert_whole(found.base, names, 5, server)


def test_a_class_that_another_process_finished_is_taken_over_and_never_cut(tmp_path):
    whole = WrittenClass("cat", ("a long tail", "a wet nose"), 2, "2026-01-01", Counter(calls=1))
    cache = Cache(tmp_path, {"model": "local"})
    cache.store(whole)
    writer = Writer(None, load_prompt("visual"), "photograph", 0, cache)  # no endpoint: it must not ask
    assert writer.write(WrittenClass("cat", (), 2)) == whole
    assert not writer.spent  # nothing of it counts as work of this run
    cache.store(WrittenClass("cat", ("a long tail",), 2))
    assert cache.load("cat") == whole


def test_an_interrupted_run_keeps_what_was_under_way(tmp_path, monkeypatch):
    names = things(30)

    def interrupt(self, n=1):
        raise KeyboardInterrupt

    with ChatServer(delay=0.01) as server:
        monkeypatch.setattr("kpl_lib.knowledge.generate.write.tqdm.update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(server, names, per_class=3, cache=tmp_path, concurrency=4)
        monkeypatch.undo()
        kept = len(list(tmp_path.iterdir()))
        assert kept == sum(server.answered.values()) < 30
        done = make(server, names, per_class=3, cache=tmp_path)
    assert_whole(done.base, names, 3, server)
    assert max(server.asked.values()) == 1 and done.report.cached == kept


def command(server, *arguments, **more) -> tuple[list[str], dict]:
    """The real command on the server, and its environment."""
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2]), **here(server, **more)}
    call = [
        sys.executable,
        "-m",
        "kpl_lib",
        "knowledge",
        "generate",
        *map(str, arguments),
        "--model",
        "local",
    ]
    return call, {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def finished(folder: Path) -> dict[str, list[str]]:
    """What the cache holds whole."""
    found = [json.loads(path.read_text()) for path in folder.glob("[!.]*.json")] if folder.is_dir() else []
    return {
        item["class_name"]: item["descriptions"]
        for item in found
        if len(item["descriptions"]) == item["wanted"]
    }


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path):
    names = things(1000)
    (tmp_path / "names.txt").write_text("\n".join(names))
    cache, out = tmp_path / "cache", tmp_path / "base.json"
    options = ["--out", out, "--cache", cache, "--per-class", 50, "--timeout", 2]
    with ChatServer(0.1, hang=2.5, delay=0.01) as server:
        call, settings = command(server, tmp_path / "names.txt", *options)
        before = {}
        for wanted in (200, 500):
            killed = subprocess.Popen(call, **settings)
            while len(list(cache.glob("[!.]*.json"))) < wanted:
                time.sleep(0.02)
                assert killed.poll() is None, killed.stderr.read()
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
            assert not out.exists()
            kept, asked = finished(cache), server.asked.copy()
            assert before.items() <= kept.items() and wanted <= len(kept) + 20 and len(kept) < 1000
            before = kept
        done = subprocess.run(call, check=True, **settings)
        assert {name: server.asked[name] for name in kept} == {name: asked[name] for name in kept}
    base = KnowledgeBase.load(out)
    assert_whole(base, names, 50, server)
    assert all(base.classes[name] == texts for name, texts in kept.items())
    assert f"1000 classes, {len(kept)} of them from the cache" in done.stdout.decode()


@pytest.mark.slow
def test_two_processes_share_one_cache(tmp_path):
    names = things(200)
    (tmp_path / "names.txt").write_text("\n".join(names))
    with ChatServer(0.1, hang=2.5, delay=0.01) as server:
        runs = []
        for out in ("a.json", "b.json"):
            options = ["--out", tmp_path / out, "--cache", tmp_path / "cache", "--timeout", 2]
            call, settings = command(server, tmp_path / "names.txt", *options)
            runs.append(subprocess.Popen(call, **settings))
        assert [(run.communicate(), run.returncode)[1] for run in runs] == [0, 0]
    assert set(finished(tmp_path / "cache")) == set(names)
    for out in ("a.json", "b.json"):
        assert_whole(KnowledgeBase.load(tmp_path / out), names, 50, server)


# The protocol.


def test_options_that_a_server_does_not_take_are_left_out():
    def picky(handler, good):
        body = handler.server.owner.bodies[-1]
        for option in ("max_tokens", "temperature", "seed"):
            if option in body:
                cure = "; use max_completion_tokens" if option == "max_tokens" else ""
                return handler.error(400, f"unsupported: {option}{cure}")
        return handler.chat(json.dumps(good))

    with ChatServer(script=lambda *_: picky) as server:
        done = make(server, ["cat"], per_class=3)
    assert done.report.calls == 1 and len(server.bodies) == 4
    assert server.bodies[-1].keys() == {"messages", "model", "max_completion_tokens"}


def test_the_origin_says_who_when_and_how_and_the_report_what_it_cost():
    with ChatServer() as server:
        done = make(server, ["cat", "dog"], per_class=3, seed=5, prices=(1.0, 10.0))
    for said in (
        "Written by a language model, not reviewed",
        "Model: local.",
        f"Endpoint: {server.host}.",
        "Prompt: visual, sha256 ",
        "Seed: 5.",
        f"Date: {time.strftime('%Y-', time.gmtime())}",
        "Library: kpl_lib 0.",
        "Calls: 2, retries: 0.",
        "Tokens: 400 in, 200 out.",
    ):
        assert said in done.base.origin
    assert done.report.cost == pytest.approx((400 * 1 + 200 * 10) / 1e6)
    assert "cost about 0.0024" in str(done.report)


def test_calls_that_the_server_does_not_count_are_said():
    def uncounted(handler, good):
        handler.reply(200, {"choices": [{"message": {"content": json.dumps(good)}}]})

    with ChatServer(script=lambda *_: uncounted) as server:
        done = make(server, ["cat"], per_class=3)
    assert done.report.uncounted == 1 and "(1 calls not counted)" in str(done.report)
    assert "(1 calls not counted)" in done.base.origin and done.report.cost is None


def test_the_same_run_twice_gives_the_same_base():
    found = []
    for _ in range(2):
        with ChatServer() as server:
            found.append(make(server, things(6), per_class=4).base.classes)
    assert found[0] == found[1]


# Keys.

LOGIN, QUERY = "reader:p4ss%2Fw0rd-of-the-reader", "key=q-9dk20fk2lsd93kf"


def ways(server) -> dict[str, tuple[dict[str, str], list[str]]]:
    """Where a key may stand: the environment, and what must never be seen."""
    address = server.url.removeprefix("http://")
    basic = "cmVhZGVyOnA0c3MvdzByZC1vZi10aGUtcmVhZGVy"
    return {
        "key": ({"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": f" {SECRET}\n"}, [SECRET]),
        "login": (
            {"OPENAI_BASE_URL": f"http://{LOGIN}@{address}"},
            [LOGIN, "p4ss%2Fw0rd-of-the-reader", "p4ss/w0rd-of-the-reader", basic],
        ),
        "query": ({"OPENAI_BASE_URL": f"{server.url}?{QUERY}"}, [QUERY.removeprefix("key=")]),
    }


def echo(handler, good):
    """Repeat the whole request in an error, as some servers do."""
    sent = f"{handler.path} {dict(handler.headers)}"
    handler.error(400, sent)


ENDS = {
    "good": "",
    "echo": echo,
    "echo in the answer": lambda handler, good: handler.chat(
        json.dumps([*good[1:], f"{handler.path} {handler.headers['Authorization']}"])
    ),
    "refused": lambda handler, good: handler.error(401, f"Incorrect key {handler.headers['Authorization']}"),
    "broken": "cut",
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("way", ["key", "login", "query"])
def test_keys_are_sent_and_never_seen(way, end, tmp_path, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    with ChatServer(script=lambda *_: ENDS[end]) as server:
        environment, secrets = ways(server)[way]
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        options = {"retries": 1, "cache": tmp_path / "cache", "out": tmp_path / "o.json", "per_class": 3}
        said = ""
        try:
            made = make(server, ["cat"], **options | {"environment": None, "progress": True})
            said = f"{made!r} {made.report}"
        except InputError as error:
            assert error.__context__ is None
            frames = traceback.TracebackException.from_exception(error, capture_locals=True)
            said = "".join(str(frame.locals) for frame in frames.stack if "kpl_lib" in frame.filename)
            said += "".join(traceback.format_exception(error))
        sent = f"{server.headers[0]} {server.paths[0]}"
    assert any(secret in sent for secret in secrets)  # else there was nothing to hide
    assert (end == "good") == (tmp_path / "o.json").exists()
    assert "cat" in said
    seen = [said, caplog.text, *capfd.readouterr(), repr(read_access(environment))]
    seen += [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert [secret for secret in secrets for text in seen if secret in text] == []


def test_the_failing_command_shows_no_key_with_all_logs_on(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with ChatServer(script=lambda *_: echo) as server:
        environment, secrets = ways(server)["query"]
        options = {"OPENAI_API_KEY": SECRET, "OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "trace", **environment}
        call, settings = command(server, tmp_path / "names.txt", "--out", tmp_path / "o.json", **options)
        code = "import logging; logging.basicConfig(level=0); logging.debug(0); from kpl_lib.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code, *call[3:]], check=False, **settings)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 2 and "refused (HTTP 400): its message is withheld" in said
    assert SECRET in str(server.headers[0]) and secrets[0] in server.paths[0]
    assert "DEBUG:root:0" in said  # the logs are on
    found = [said, *(path.read_text() for path in tmp_path.rglob("*") if path.is_file())]
    assert [secret for secret in (SECRET, *secrets) for text in found if secret in text] == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "OPENAI_API_KEY is not set; set it, or point"),
        ({"OPENAI_BASE_URL": f"ftp://{LOGIN}@host"}, "OPENAI_BASE_URL is no address"),
        ({"OPENAI_BASE_URL": f"http://{LOGIN}@[host"}, "OPENAI_BASE_URL is no address"),
        ({"OPENAI_BASE_URL": f"http://{LOGIN}@host:port"}, "OPENAI_BASE_URL is no address"),
        ({"OPENAI_BASE_URL": f"{SECRET}"}, "OPENAI_BASE_URL is no address"),
        ({"OPENAI_BASE_URL": f"http://{LOGIN}@host", "OPENAI_API_KEY": SECRET}, "keep one of them"),
        ({"OPENAI_API_KEY": f"{SECRET}\nsecond"}, "OPENAI_API_KEY holds characters that no key has"),
        ({"OPENAI_API_KEY": f"{SECRET}ß"}, "OPENAI_API_KEY holds characters that no key has"),
    ],
)
def test_a_wrong_address_or_key_is_said_without_it(environment, said):
    with pytest.raises(InputError, match="OPENAI_") as caught:
        Endpoint("local", environment=environment)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value) and "p4ss" not in str(caught.value)


def test_a_wrong_proxy_is_said_without_it(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"nonsense://user:{SECRET}@proxy")
    with pytest.raises(InputError, match="check OPENAI_BASE_URL and the proxy variables") as caught:
        Endpoint("local", environment={"OPENAI_API_KEY": SECRET})
    assert caught.value.__context__ is None


def test_the_endpoint_shows_its_host_alone():
    with ChatServer(script=lambda *_: "500") as server:
        environment, secrets = ways(server)["login"]
        endpoint = Endpoint("local", environment=environment, retries=0)
        with pytest.raises(EndpointError) as caught:
            endpoint.ask([{"role": "user", "content": "Class: cat\nNumber: 1"}], 0)
        endpoint.close()
    assert endpoint.host == server.host and not any(secret in repr(endpoint) for secret in secrets)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert not any(secret in repr(caught.value) for secret in secrets)


def test_without_openai_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r'needs openai: pip install "kpl-lib\[generate\]"'):
        Endpoint("local", environment={"OPENAI_API_KEY": SECRET})


# Wrong input, and the command line.

BAD = {
    "no model": ({"model": ""}, "no model: pass --model NAME, or set KPL_LLM_MODEL"),
    "a text as classes": ({"class_names": "cub"}, "classes must be a list of names, not 'cub'"),
    "no classes": ({"class_names": []}, "classes: no classes"),
    "a class twice": ({"class_names": ["cat", "dog", "Cat"]}, "number 3: class 'Cat' stands in number 1"),
    "an empty class": ({"class_names": ["cat", " "]}, "number 2 is no class name"),
    "a number as class": ({"class_names": ["cat", 3]}, "number 2 is no class name (3)"),
    "none a class": ({"per_class": 0}, "per_class must be a whole number of at least 1, not 0"),
    "half a class": ({"per_class": 2.5}, "per_class must be a whole number"),
    "no calls": ({"concurrency": 0}, "concurrency must be a whole number of at least 1, not 0"),
    "seed": ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    "retries": ({"retries": -1}, "retries must be a whole number of at least 0, not -1"),
    "tokens": ({"max_tokens": 1}, "max_tokens must be a whole number of at least 16, not 1"),
    "temperature": ({"temperature": float("nan")}, "temperature between 0 and 2"),
    "time": ({"timeout": 0}, "timeout must be above 0"),
    "price below zero": ({"prices": (-1.0, 0.0)}, "prices must be 0 or more, not -1.0 and 0.0"),
    "no price": ({"prices": (0.0, float("nan"))}, "prices must be 0 or more"),
    "a price without end": ({"prices": (float("inf"), 0.0)}, "prices must be 0 or more"),
    "prompt": ({"prompt": "visua"}, "unknown prompt 'visua': did you mean 'visual'?"),
    "no folder": (
        {"out": "nowhere/o.json"},
        "cannot write nowhere/o.json: the folder nowhere does not exist",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_one_line_before_any_call(case, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KPL_LLM_MODEL", raising=False)
    change, said = BAD[case]
    with ChatServer() as server:
        given = {"class_names": ["cat"], "environment": here(server), "cache": "cache", **QUICK, **change}
        with pytest.raises(InputError) as caught:
            generate(given.pop("class_names"), **given)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert server.bodies == [] and list(tmp_path.iterdir()) == []


def kpl(monkeypatch, capsys, *arguments):
    """Run `kpl` in this process; return exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["kpl", "knowledge", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
    return code, *capsys.readouterr()


def test_the_command_writes_a_base_that_the_check_passes(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.txt").write_text("house cat\ndog\n")
    with ChatServer(key=SECRET, models=("from-env",)) as server:
        for key, value in here(server, OPENAI_API_KEY=SECRET, KPL_LLM_MODEL="from-env").items():
            monkeypatch.setenv(key, value)
        options = [
            "--per-class",
            6,
            "--prompt",
            "cupl-like",
            "--modality",
            "drawing",
            "--price-in",
            2,
            "--out",
            "o.json",
        ]
        code, out, err = kpl(monkeypatch, capsys, "generate", "pets.txt", *options)
        assert (code, out.splitlines()[-1]) == (0, "wrote o.json")
        assert "2 classes, 0 of them from the cache; 2 calls, 0 retries" in out and "cost about 0.0008" in out
        assert "2/2" in err
        assert kpl(monkeypatch, capsys, "check", "o.json")[0] == 0
        base = KnowledgeBase.load("o.json")
        assert (base.name, base.modality) == ("o", "drawing")
        assert base.template == "a photo of a {class}. {description}"
        code, out, _ = kpl(
            monkeypatch, capsys, "generate", "o.json", *options
        )  # a base as the list of its classes
        assert code == 0 and "2 of them from the cache; 0 calls" in out
    assert "Kind of picture: drawing" in server.bodies[0]["messages"][1]["content"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json", "o.json.cache", "pets.txt"]


def test_the_command_fails_in_one_line_with_code_2(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.txt").write_text("cat\ndog\n")
    with ChatServer(script=lambda name, attempt: "500" if name == "cat" else "") as server:
        for key, value in here(server, OPENAI_API_KEY="").items():
            monkeypatch.setenv(key, value)
        options = ["--model", "local", "--retries", 0, "--out", "o.json"]
        code, out, err = kpl(monkeypatch, capsys, "generate", "pets.txt", *options)
    last = err.splitlines()[-1]
    assert (code, out) == (2, "") and "Traceback" not in err
    assert last.startswith(
        f"kpl: {server.host} kept failing (HTTP 500); 1 of 2 classes failed: 'cat'; 1 are finished"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.json.cache", "pets.txt"]
