"""Servers on this machine that speak the protocols of the real ones: archives of images, and a hub of models.

Every request is noted with the bytes that were sent, so that a test can count what was sent twice.
"""

import fcntl
import hashlib
import json
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

PIECE = 1 << 14  # bytes written at a time
LONGEST = 60.0  # seconds that a held answer waits
PAGE = b"<!DOCTYPE html><html><title>Sign in</title><p>Your quota is exceeded.</html>"
COMMIT = "5" * 40
LARGE = (".safetensors", ".bin")  # what a hub keeps on another host


@dataclass
class File:
    """One file of a server, and how it misbehaves; a test may change that while it is served.

    Args:
        content: its bytes.
        moved: answer 302 with this address.
        ranges: whether it goes on in the middle; without, a wish for a range is answered with all of it.
        status: answer with this status instead, such as 503.
        page: answer with a web page instead, status 200.
        stop: hang up after this many bytes.
        resets: reset the connection after so many bytes, one for each answer until none is left.
        hold: keep silent after this many bytes, until `go` is set; `held` is set then.
        late: seconds before the answer.
        headers: what else the answer says.
    """

    content: bytes = b""
    moved: str = ""
    ranges: bool = True
    status: int = 0
    page: bool = False
    stop: int | None = None
    resets: list[int] = field(default_factory=list)
    hold: int | None = None
    late: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    go: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)


@dataclass
class Asked:
    """One request: where the answer begins in the file, its status, and how many bytes of the file were sent."""

    method: str
    path: str
    start: int
    status: int = 0
    sent: int = 0


class Server:
    """What a server has, by path without the query, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[Asked] = []
        self.address = ""

    def find(self, path: str) -> File:
        """The file of a path; a hub makes its answers here."""
        return self.files.get(path) or File(status=404)

    def add(self, path: str, content: bytes = b"", **how) -> str:
        """Serve a file; return its address."""
        self.files[path] = File(content, **how)
        return self.address + path

    def fetched(self) -> list[str]:
        """The path of each request that was answered with bytes of a file; lists that a hub makes are none."""
        return [a.path for a in self.asked if a.sent and not a.path.startswith("/api/models/")]

    def sent(self, path: str) -> list[tuple[int, int]]:
        """First and last byte + 1 of every piece of a file that was sent."""
        return [(a.start, a.start + a.sent) for a in self.asked if a.path == path and a.sent]

    def twice(self, path: str) -> int:
        """How many bytes of a file were sent more than once."""
        pieces, reached, again = sorted(self.sent(path)), 0, 0
        for start, end in pieces:
            again += max(0, min(end, reached) - start)
            reached = max(reached, end)
        return again


class _Handler(BaseHTTPRequestHandler):
    """Answers for the server that its class names."""

    protocol_version = "HTTP/1.1"
    house: Server

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = urlsplit(self.path).path
        file, wanted = self.house.find(path), self.headers.get("Range", "")
        content = PAGE if file.page else file.content
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and file.ranges else 0
        asked = Asked(self.command, path, start)
        self.house.asked.append(asked)
        if file.late:
            threading.Event().wait(file.late)
        self.close_connection = True
        if file.page:
            start = asked.start = 0
        kind = "text/html; charset=utf-8" if file.page else "application/octet-stream"
        said = {"Content-Type": kind, "Connection": "close", **file.headers}
        beyond = start > 0 and start >= len(content)
        asked.status = file.status or (302 if file.moved else 416 if beyond else 206 if start else 200)
        if file.moved:
            said["Location"] = file.moved
        if asked.status == 416:
            said["Content-Range"] = f"bytes */{len(content)}"
        elif start:
            said["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = b"" if file.moved or beyond or file.status else content[start:]
        if file.ranges:
            said["Accept-Ranges"] = "bytes"
        self.send_response(asked.status)
        for name, value in {"Content-Length": str(len(body)), **said}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self._send(file, body, asked)

    def _send(self, file: File, body: bytes, asked: Asked) -> None:
        end = file.resets[0] if file.resets else file.stop
        stop = len(body) if end is None else end - asked.start
        hold = len(body) if file.hold is None else file.hold - asked.start
        for first, last in ((0, hold), (hold, len(body))):
            for place in range(max(first, 0), min(last, stop), PIECE):
                piece = body[place : min(place + PIECE, last, stop)]
                self.wfile.write(piece)
                asked.sent += 0 if file.page else len(piece)
            if last == hold < min(len(body), stop):
                self.wfile.flush()
                file.held.set()
                file.go.wait(LONGEST)
        if file.resets:
            file.resets.pop(0)
            self._reset()

    def _reset(self) -> None:
        """Break the connection off, once the other side has all that was sent."""
        while struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4)))[0]:
            threading.Event().wait(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()  # it keeps the connection open
        self.connection.close()


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve while the block runs."""
    handler = type("Handler", (_Handler,), {"house": server})
    web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web.daemon_threads, web.block_on_close = True, False
    web.handle_error = lambda *_: None  # a client that is killed is no news
    server.address = f"http://127.0.0.1:{web.server_address[1]}"
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        for file in list(server.files.values()):
            file.go.set()
        web.shutdown()
        web.server_close()


class Hub(Server):
    """A hub with repositories of models; their large files lie on another server.

    Args:
        store: the other server.
    """

    def __init__(self, store: Server) -> None:
        super().__init__()
        self.store, self.repositories = store, {}

    def publish(self, repository: str, folder: Path) -> None:
        """Make the files of a folder a repository."""
        found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        self.repositories[repository] = found
        for name, content in found.items():
            if name.endswith(LARGE):
                self.store.add(self.stored(repository, name), content)

    def stored(self, repository: str, name: str) -> str:
        """The path of a large file on the other server."""
        return f"/{hashlib.sha256(self.repositories[repository][name]).hexdigest()}"

    def find(self, path: str) -> File:
        """`/ORG/NAME/resolve/REVISION/FILE`, `/api/resolve-cache/models/...`, `/api/models/ORG/NAME...`."""
        if path in self.files:  # a fault that a test wants
            return self.files[path]
        words = path.strip("/").split("/")
        if words[:3] == ["api", "resolve-cache", "models"]:
            return self._small("/".join(words[3:5]), "/".join(words[6:]))
        if words[:2] == ["api", "models"]:
            return self._listed("/".join(words[2:4]), words[4:])
        repository, name = "/".join(words[:2]), "/".join(words[4:])
        if repository not in self.repositories:
            return _missing("RepoNotFound", 401)
        if name not in self.repositories[repository] or words[2] != "resolve":
            return _missing("EntryNotFound", 404)
        content = self.repositories[repository][name]
        if not name.endswith(LARGE):  # one more step on the same host
            place = f"/api/resolve-cache/models/{repository}/{COMMIT}/{name}"
            return File(status=307, headers={"Location": place, **_named(content, small=True)})
        facts = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": _named(content)["ETag"]}
        return File(
            moved=f"{self.store.address}{self.stored(repository, name)}?Expires=9&Signature=abc",
            headers={**facts, "X-Repo-Commit": COMMIT},
        )

    def _small(self, repository: str, name: str) -> File:
        content = self.repositories[repository][name]
        return File(content, headers=_named(content, small=True))

    def _listed(self, repository: str, words: list[str]) -> File:
        """Facts of a repository, or the list of its files."""
        if repository not in self.repositories:
            return _missing("RepoNotFound", 401)
        found = self.repositories[repository]
        if words[:1] == ["tree"]:
            start = "".join(f"{word}/" for word in words[2:])
            inside = {name: content for name, content in found.items() if name.startswith(start)}
            if not inside:
                return _missing("EntryNotFound", 404)
            answer = [
                {"type": "file", "path": name, "size": len(content), "oid": _git(content)}
                for name, content in inside.items()
            ]
        else:
            answer = {"id": repository, "modelId": repository, "sha": COMMIT, "private": False, "tags": []}
            answer["siblings"] = [{"rfilename": name} for name in found]
        headers = {"Content-Type": "application/json; charset=utf-8", "X-Repo-Commit": COMMIT}
        return File(json.dumps(answer).encode(), headers=headers)


def _git(content: bytes) -> str:
    """What git calls a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _named(content: bytes, small: bool = False) -> dict[str, str]:
    name = _git(content) if small else hashlib.sha256(content).hexdigest()
    return {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}


def _missing(code: str, status: int) -> File:
    said = {"EntryNotFound": "Entry not found", "RepoNotFound": "Repository not found"}[code]
    return File(
        status=status, headers={"X-Error-Code": code, "X-Error-Message": said, "X-Repo-Commit": COMMIT}
    )
