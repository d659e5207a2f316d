"""A small file server on this machine: ranges, and every way to fail in the middle."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files:
    """What the server has, what it was asked for, and how it misbehaves.

    Args:
        content: path -> bytes.
        ranges: whether it goes on in the middle of a file.
        stop: bytes after which it hangs up; None sends all.
        stops: the same for one answer each, before `stop` counts.
        hang: cleared, it keeps silent instead of hanging up.
        status: answer with this status instead.
    """

    def __init__(self, content):
        self.content, self.ranges, self.stop, self.status = content, True, None, None
        self.stops = []
        self.hang = threading.Event()
        self.hang.set()
        self.asked = []
        self.address = ""


@contextmanager
def serving(content):
    """Serve these files while the block runs."""
    files = Files(content)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            files.asked.append((self.path, wanted))
            if files.status or self.path not in files.content:
                self.send_error(files.status or 404)
                return
            whole, start = files.content[self.path], 0
            if wanted and files.ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(whole):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            self.send_header("Content-Length", str(len(whole) - start))
            self.end_headers()
            stop = files.stops.pop(0) if files.stops else files.stop
            self.wfile.write(whole[start:][:stop])
            files.hang.wait(30)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that hangs up is no news
    files.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
