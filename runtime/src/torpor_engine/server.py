"""The launcher's HTTP server: small, read-only, and never waiting for the engine.

Gateways hold one stream each, the kubelet and Prometheus ask now and then. Everything is answered from the
board, so an answer takes microseconds however busy the engine is. Only GET and HEAD exist: nobody can make
the launcher do anything over the network. A connection carries one request, its head is bounded in bytes and
time, connections are bounded in number, and a stream whose reader does not keep up is cut off instead of
buffered: it reconnects and gets the present, which is all it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Optional, cast
from urllib.parse import parse_qs, urlsplit

from torpor_engine.exporter import exposition
from torpor_engine.waiting import within

if TYPE_CHECKING:
    from torpor_engine.stats import Board

HEAD_LIMIT_BYTES = 8192
HEAD_SECONDS = 10.0
# An answer may be megabytes of metrics; who does not take it in this time takes up a connection for nothing.
ANSWER_SECONDS = 30.0
CONNECTION_LIMIT = 512
# Probes and Prometheus must get through when gateways are many, so streams may not take every connection.
STREAM_LIMIT = 384
# A line is about 800 bytes: a reader this far behind is a minute late even under load.
BACKLOG_LIMIT_BYTES = 256 << 10
PHRASES = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


class _Connection(asyncio.Protocol):
    """One connection: a request head, an answer, and for a stream all lines after it."""

    def __init__(self, server: StatsServer) -> None:
        self._server = server
        self._head = b""
        self._answered = False
        self._chunked = True
        self._timer: Optional[asyncio.TimerHandle] = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._answer(503, b"too many connections\n")
            return
        self._timer = asyncio.get_running_loop().call_later(
            HEAD_SECONDS, self._answer, 408, b"no request in time\n"
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return  # nothing a client says after its request matters
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._request(self._head.split(b"\r\n", 1)[0].decode("latin-1").split(" "))
        elif len(self._head) > HEAD_LIMIT_BYTES:
            self._answer(431, b"request head larger than 8 KiB\n")

    def _request(self, words: list[str]) -> None:
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            self._answer(400, b"not an HTTP/1 request\n")
            return
        method, target = words[0], urlsplit(words[1])
        self._chunked = words[2] != "HTTP/1.0"
        if method not in ("GET", "HEAD"):
            self._answer(405, b"only GET and HEAD\n", extra="Allow: GET, HEAD\r\n")
            return
        status, kind, body = self._server.content(target.path, parse_qs(target.query))
        if body is None and method == "GET":
            self._stream()
        else:
            self._answer(status, body or b"", kind, head_only=method == "HEAD")

    def _answer(
        self,
        status: int,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        extra: str = "",
        head_only: bool = False,
    ) -> None:
        if self._answered or self.transport.is_closing():
            return
        self._answered = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self.transport.abort)
        head = (
            f"HTTP/1.1 {status} {PHRASES[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n{extra}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + (b"" if head_only else body))
        self.transport.close()

    def _stream(self) -> None:
        if not self._server.join(self):
            self._answer(503, b"too many streams\n")
            return
        self._answered = True
        if self._timer is not None:
            self._timer.cancel()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
            + (b"Transfer-Encoding: chunked\r\n" if self._chunked else b"")
            + b"Connection: close\r\n\r\n"
        )
        self.send(self._server.line())

    def send(self, line: bytes) -> None:
        """Send one line of a stream, or cut the stream off when its reader is too far behind."""
        if self.transport.get_write_buffer_size() > BACKLOG_LIMIT_BYTES:
            self._server.dropped += 1
            self.transport.abort()
        else:
            self.transport.write(b"%x\r\n%s\r\n" % (len(line), line) if self._chunked else line)

    def finish(self) -> None:
        """End a stream properly, so that its reader knows that nothing was lost on the way."""
        self.transport.write(b"0\r\n\r\n" if self._chunked else b"")
        self.transport.close()


class StatsServer:
    """Serves a board: `/v1/stats`, `/metrics`, `/healthz`, `/readyz`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._connections: set[_Connection] = set()
        self._streams: set[_Connection] = set()
        self._listener: Optional[asyncio.AbstractServer] = None
        self._wakeup = asyncio.Event()
        board.pacer.on_change = self._wakeup.set
        self.dropped = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the address is taken or not allowed."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), host, port, backlog=512)

    async def publish(self) -> None:
        """Send lines when they are due, for ever; every change of the board makes it look again."""
        pacer = self._board.pacer
        while True:
            wait = pacer.due() - time.monotonic()
            if wait <= 0:
                line = self.line()
                pacer.sent(time.monotonic())
                for stream in list(self._streams):
                    stream.send(line)
                continue
            self._wakeup.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(wait, self._wakeup.wait())

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def line(self) -> bytes:
        """A fresh line about this moment."""
        return self._board.line(time.monotonic())

    async def close(self) -> None:
        """Say the last word to every stream and stop listening."""
        line = self.line()
        for stream in list(self._streams):
            stream.send(line)
            stream.finish()
        if self._listener is not None:
            self._listener.close()
        for _ in range(20):  # one second at most for what is still in the buffers
            if not self._connections:
                return
            await asyncio.sleep(0.05)
        for connection in list(self._connections):
            connection.transport.abort()

    def admit(self, connection: _Connection) -> bool:
        """Count a new connection; False when there are too many."""
        if len(self._connections) >= CONNECTION_LIMIT:
            return False
        self._connections.add(connection)
        return True

    def join(self, connection: _Connection) -> bool:
        """Make a connection a stream; False when there are too many."""
        if len(self._streams) >= STREAM_LIMIT:
            return False
        self._streams.add(connection)
        return True

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._streams.discard(connection)

    def content(self, path: str, query: dict[str, list[str]]) -> tuple[int, str, bytes | None]:
        """Status, content type and body for a path; a body of None is the endless stream."""
        text, board = "text/plain; charset=utf-8", self._board
        if path == "/v1/stats":
            once = query.get("once", ["0"])[-1] not in ("", "0", "false")
            return 200, "application/x-ndjson", self.line() if once else None
        if path == "/metrics":
            body = exposition(board, len(self._streams), self.dropped, time.monotonic())
            return 200, "text/plain; version=0.0.4; charset=utf-8", body
        if path == "/healthz":
            return (503 if board.state == "Failed" else 200), text, board.state.encode() + b"\n"
        if path == "/readyz":
            return (200 if board.ready(time.monotonic()) else 503), text, board.state.encode() + b"\n"
        return 404, text, b"there are /v1/stats, /metrics, /healthz and /readyz\n"
