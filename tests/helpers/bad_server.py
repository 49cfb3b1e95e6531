"""A local HTTP server that behaves badly as told: slow, cut off, busy, missing, or changed."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


class BadServer(ThreadingHTTPServer):
    """Serves what ``answer(path_with_query)`` gives, and spoils the first answers by `faults`.

    Each fault is taken once: ("cut", n) sends n bytes of the body and closes; ("status", code,
    headers) answers so; ("slow", seconds) waits before each byte of the body.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[str], bytes | None], ranges: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.ranges = ranges
        self.tag = '"one"'
        self.faults: list[tuple[Any, ...]] = []
        self.asked: list[tuple[str, str]] = []  # path and range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        fault = self.server.faults.pop(0) if self.server.faults else ("none",)
        self.close_connection = True
        body = self.server.answer(self.path)
        if fault[0] == "status" or body is None:
            self.send_response(fault[1] if fault[0] == "status" else 404)
            for name, value in (fault[2] if len(fault) > 2 else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        same = self.headers.get("If-Range", "") == self.server.tag
        start = int(match[1]) if match and same and self.server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", self.server.tag)
        self.end_headers()
        rest = body[start:]
        with contextlib.suppress(OSError):
            if fault[0] == "slow":
                for place in range(len(rest)):
                    time.sleep(fault[1])
                    self.wfile.write(rest[place : place + 1])
            else:
                self.wfile.write(rest[: fault[1]] if fault[0] == "cut" else rest)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def misbehaving(answer: Callable[[str], bytes | None], ranges: bool = True) -> Iterator[BadServer]:
    """Run a server while the block lasts."""
    with BadServer(answer, ranges) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
