"""A local HTTP server that speaks the chat protocol of OpenAI and misbehaves as it is told, by seed or by script.

It reads `Class: NAME` and `Number: N` in the question, and answers with made-up phrases that never come twice.
"""

import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("429", "500", "time-out", "cut", "malformed", "prose", "long")
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


def phrases(name: str, start: int, count: int) -> list[str]:
    """Phrases `start` to `start + count` of a class: four made-up words each."""
    made = []
    for i in range(start, start + count):
        rng = random.Random(f"{name} {i}")
        made.append(" ".join("".join(rng.choices(SYLLABLES, k=3)) for _ in range(4)))
    return made


class ChatServer:
    """Answers on a free port of this machine, in threads of this process.

    Args:
        fault_rate: share of the requests that fail; which and how is fixed by `seed`, class and attempt.
        script: (class, attempt counted from 0) -> a fault, "" for a good answer, or a function of the handler.
        hang: seconds that a time-out lasts.
        delay: seconds that a good answer takes.
        key: the bearer token that is wanted; None takes any.
        models: the models it has; empty has any.
    """

    def __init__(
        self,
        fault_rate: float = 0.0,
        seed: int = 0,
        script: Callable[[str, int], object] | None = None,
        hang: float = 1.0,
        delay: float = 0.0,
        key: str | None = None,
        models: tuple[str, ...] = (),
    ) -> None:
        self.fault_rate, self.seed, self.script = fault_rate, seed, script
        self.hang, self.delay, self.key, self.models = hang, delay, key, models
        self.asked: Counter[str] = Counter()  # requests for a class
        self.answered: Counter[str] = Counter()  # good answers sent whole
        self.faults: Counter[str] = Counter()
        self.bodies: list[dict] = []
        self.headers: list[list[tuple[str, str]]] = []
        self.paths: list[str] = []
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.http = _Server(("127.0.0.1", 0), _Handler)
        self.http.owner = self
        self.host = f"127.0.0.1:{self.http.server_address[1]}"
        self.url = f"http://{self.host}/v1"

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def fault(self, name: str, attempt: int) -> object:
        """What goes wrong with this request; empty for nothing."""
        if self.script:
            return self.script(name, attempt)
        rng = random.Random(f"{self.seed} {name} {attempt}")
        return rng.choice(FAULTS) if rng.random() < self.fault_rate else ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: ChatServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        with owner.lock:
            owner.bodies.append(body)
            owner.headers.append(self.headers.items())
            owner.paths.append(self.path)
            owner.busy += 1
            owner.most_busy = max(owner.most_busy, owner.busy)
        try:
            self.answer(owner, body)
        finally:
            with owner.lock:
                owner.busy -= 1

    def answer(self, owner: ChatServer, body: dict) -> None:
        if owner.key and self.headers.get("Authorization") != f"Bearer {owner.key}":
            return self.error(401, f"Incorrect key: {self.headers.get('Authorization')}")
        if owner.models and body["model"] not in owner.models:
            return self.error(404, f"model {body['model']} not found")
        question = body["messages"][-1]["content"]
        name = re.search(r"^Class: (.*)$", question, re.MULTILINE)[1]
        count = int(re.search(r"^Number: (\d+)", question, re.MULTILINE)[1])
        with owner.lock:
            attempt = owner.asked[name]
            owner.asked[name] += 1
        fault, good = owner.fault(name, attempt), phrases(name, 1000 * attempt, count)
        with owner.lock:
            owner.faults[fault if isinstance(fault, str) else "script"] += 1
        if callable(fault):
            return fault(self, good)
        self.misbehave(fault, good)
        if not fault:
            with owner.lock:
                owner.answered[name] += 1

    def misbehave(self, fault: str, good: list[str]) -> None:
        """Answer well, or with one fault."""
        text = json.dumps(good)
        if fault == "429":
            self.error(429, "slow down", {"Retry-After": "0.05"})
        elif fault == "500":
            self.error(500, "out of order")
        elif fault == "time-out":
            self.server.owner.over.wait(self.server.owner.hang)
            self.close_connection = True
        elif fault == "cut":
            self.cut()
        elif fault == "malformed":
            self.chat(text.replace('", "', '" "')[: len(text) // 2])
        elif fault == "prose":
            self.chat(
                f"Sure, here [as you asked] they are:\n```json\n{text[:-1]},]\n```\nAnything else {{today}}?"
            )
        elif fault == "long":
            self.chat(
                json.dumps([*good, *(f"{word} and so on" for word in phrases("long", 0, 3000))]), 10_000
            )
        else:
            self.server.owner.over.wait(self.server.owner.delay)
            self.chat(text)

    def cut(self) -> None:
        """Promise a body, send a part, and hang up."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b'{"id": "x", "choices": [{"mess')
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def chat(self, text: str, tokens: int = 100, finish: str = "stop") -> None:
        """A chat completion with this text."""
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 200, "completion_tokens": tokens, "total_tokens": 200 + tokens}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        head = {"id": "x", "object": "chat.completion", "created": int(time.time()), "model": "local"}
        self.reply(200, {**head, "choices": choices, "usage": usage})

    def error(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        """An error in the form of the protocol."""
        self.reply(code, {"error": {"message": message, "type": "error", "code": code}}, headers)

    def reply(self, code: int, body: object, headers: dict[str, str] | None = None) -> None:
        """Any body, JSON unless it is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
