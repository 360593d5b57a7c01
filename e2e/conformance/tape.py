"""An engine's answers, kept and given again: byte for byte, event by event.

The simulated engine has no tools, no `/v1/responses` and no `/v1/messages`, and words made up for them would
prove that a client reads what its tester made up. A tape holds what vLLM said. A request names its place on
the tape in the header `x-check`, which the gateway passes on like any other; the requests of one check are
answered in the order in which they came when it was recorded.

Two more headers make an engine of it that misbehaves: `x-pace` are the seconds before each part of an answer
(of a stream before each but the first), so that a client has time to leave, and `x-cut` the number of parts
after which the connection just closes.

With `upstream` it is the recorder: requests go on to that engine, and what it says is put on the tape. It
does not see a client leave before the engine says something.
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = Path(__file__).parents[2] / "tests" / "data" / "vllm-0.32" / "clients.json"
_NOT_KEPT = frozenset({"date", "server", "content-length", "transfer-encoding", "connection"})
Answer = dict[str, Any]  # status, headers, parts: texts in the order in which they came


class _Left(Exception):  # noqa: N818 - the client's choice, not an error
    """Whoever asked has closed the connection."""


class Tape:
    """A server on a free port of loopback. `answers` by check, in order."""

    def __init__(self, answers: dict[str, list[Answer]], upstream: str | None = None) -> None:
        self.answers = answers
        self.upstream = upstream
        self.running = self.finished = 0
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve at the HOST:PORT that is yielded, until the block ends."""
        handler = type("Handler", (_Handler,), {"tape": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()

    def answer(self, check: str) -> Answer | None:
        """The next answer of a check, after the last one the first again; of `CHECK:2` always the third.

        None: it has none.
        """
        name, colon, number = check.partition(":")
        with self._lock:
            found = self.answers.get(name)
            index = int(number) if colon else self._asked[name]
            self._asked[name] += not colon
        return found[index % len(found)] if found else None

    def record(self, check: str, answer: Answer) -> None:
        """Put an answer at the end of a check's."""
        with self._lock:
            self.answers.setdefault(check, []).append(answer)

    def count(self, running: int, finished: int = 0) -> None:
        """Requests that began or ended, and of these the ones that were answered to their end."""
        with self._lock:
            self.running += running
            self.finished += finished


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    tape: Tape

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""

    def do_POST(self) -> None:
        """Answer a request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        check = self.headers.get("x-check", "")
        self.tape.count(1)
        finished = 0
        try:
            if self.tape.upstream is None:
                self._replay(self.tape.answer(check))
            else:
                self._relay(self.tape.upstream, check, body)
            finished = 1
        except (_Left, OSError):
            self.close_connection = True
        finally:
            self.tape.count(-1, finished)

    def _replay(self, answer: Answer | None) -> None:
        if answer is None:
            answer = {"status": 501, "headers": {}, "parts": ["nothing on the tape"]}
        pace = float(self.headers.get("x-pace", "0"))
        cut = int(self.headers.get("x-cut", "-1"))
        parts = [part.encode() for part in answer["parts"]]
        streams = "event-stream" in answer["headers"].get("content-type", "")
        self.send_response(answer["status"])
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        if streams:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(sum(map(len, parts))))
        self.end_headers()
        for index, part in enumerate(parts):
            if index or not streams:
                self._wait(pace)
            if index == cut:
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if streams else part)
        if streams:
            self.wfile.write(b"0\r\n\r\n")

    def _wait(self, seconds: float) -> None:
        """Wait, but no longer than the client does."""
        if not seconds:
            return
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise _Left

    def _relay(self, upstream: str, check: str, body: bytes) -> None:
        connection = http.client.HTTPConnection(upstream)
        try:
            connection.request("POST", self.path, body, {"content-type": self.headers["content-type"]})
            response = connection.getresponse()
            headers = {
                name.lower(): value for name, value in response.getheaders() if name.lower() not in _NOT_KEPT
            }
            answer: Answer = {"status": response.status, "headers": headers, "parts": []}
            self.send_response(response.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while part := response.read1():
                answer["parts"].append(part.decode())
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            if check:
                self.tape.record(check, answer)
        finally:
            connection.close()
