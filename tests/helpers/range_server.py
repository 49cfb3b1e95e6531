"""A local HTTP server of some bytes that gives ranges of them and counts what it gave."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RangeServer(ThreadingHTTPServer):
    """Serves files from memory at ``url(name)``.

    Parameters
    ----------
    files : dict of str to bytes
        Contents by name.
    ranges : bool
        Whether ranges are given; without, a request for one gets the whole file.
    latency : float
        Seconds before each answer.
    """

    daemon_threads = True

    def __init__(
        self, files: dict[str, bytes], *, ranges: bool = True, latency: float = 0.0
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.ranges = ranges
        self.latency = latency
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        self.requests: list[tuple[int, int]] = []

    @property
    def bytes_sent(self) -> int:
        """Bytes of files that were sent."""
        return sum(length for _, length in self.requests)

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        time.sleep(self.server.latency)
        whole = self.server.files.get(self.path.lstrip("/"))
        if whole is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, len(whole)
        if match and self.server.ranges:
            start = int(match[1])
            stop = max(min(int(match[2]) + 1, stop) if match[2] else stop, start)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(whole)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if body:
            with self.server.lock:
                self.server.requests.append((start, stop - start))
            self.wfile.write(whole[start:stop])

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(
    files: dict[str, bytes], *, ranges: bool = True, latency: float = 0.0
) -> Iterator[RangeServer]:
    """Run a server while the block lasts."""
    with RangeServer(files, ranges=ranges, latency=latency) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
