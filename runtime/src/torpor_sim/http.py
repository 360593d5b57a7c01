"""An HTTP/1.1 server of one screen: what uvicorn shows to a client of vLLM, and no more.

httptools parses, uvloop carries. Answers look like uvicorn's (lower-case header names, `server: uvicorn`,
chunked streams), connections that idle after an answer are closed as vLLM's are, and a client that leaves is
noticed at once because reading never stops. Pipelined requests are answered in order. It has no TLS, no
HTTP/2 and no WebSockets.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PIPELINED = 64
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One parsed request. Header names are lower-case; of repeated headers the last wins."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


@dataclass(slots=True)
class Server:
    """What all connections share."""

    handle: Callable[[Request, Exchange], None]
    keep_alive_seconds: float
    connections: set[Connection] = field(default_factory=set)
    date: bytes = b""
    date_at: float = -1.0
    closing: bool = False

    def date_header(self, now: float) -> bytes:
        """The Date header's value, formatted once a second."""
        if now - self.date_at >= 1:
            self.date, self.date_at = formatdate(usegmt=True).encode(), now
        return self.date


class Exchange:
    """The answer to one request. Nothing is written after the connection has gone or the answer has ended."""

    __slots__ = ("_bodiless", "_connection", "ended", "on_gone", "on_head", "on_writable")

    def __init__(self, connection: Connection, *, bodiless: bool = False) -> None:
        self._connection = connection
        self._bodiless = bodiless  # the answer to a HEAD
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_head: Callable[[int], None] | None = None
        self.ended = False

    @property
    def writable(self) -> bool:
        """False while the client reads too slowly; on_writable is called when that ends."""
        return not self._connection.write_paused

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: bytes = b"application/json",
        extra: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Send a whole answer."""
        headers = [(b"content-length", b"%d" % len(body)), *extra]
        if content_type:
            headers.append((b"content-type", content_type))
        self._head(status, headers)
        if not self._bodiless:
            self._write(body)
        self._finish()

    def start_stream(self, content_type: bytes = b"text/event-stream; charset=utf-8") -> None:
        """Send the head of a chunked answer."""
        self._head(200, [(b"content-type", content_type), (b"transfer-encoding", b"chunked")])

    def send(self, data: bytes) -> None:
        """Send one chunk."""
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """Send the last chunk."""
        self._write(b"0\r\n\r\n")
        self._finish()

    def cut(self) -> None:
        """Close the connection in the middle of the answer, what was written before being sent."""
        self.ended = True
        self._connection.shut()

    def shut(self) -> None:
        """Close the connection after the answer, without having announced it."""
        self._connection.shut()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self.ended = True
        self._connection.reset()

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        connection = self._connection
        if self.on_head is not None:
            self.on_head(status)
        lines = [
            b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b"")),
            b"date: " + connection.server.date_header(connection.loop.time()),
            b"server: uvicorn",
            b"vary: Origin",
            *(b"%b: %b" % header for header in headers),
        ]
        if not connection.current_keep_alive:
            lines.append(b"connection: close")
        self._write(b"\r\n".join(lines) + b"\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if not self.ended:
            self._connection.write(data)

    def _finish(self) -> None:
        if not self.ended:
            self.ended = True
            self._connection.answered()


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.write_paused = False
        self.current_keep_alive = True
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Request] = deque()
        self._current: Exchange | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    # asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the server."""
        self._transport = cast("asyncio.Transport", transport)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever answers that nobody listens."""
        del exc
        self.server.connections.discard(self)
        self._cancel_idle()
        self._transport = None
        self._queue.clear()
        current, self._current = self._current, None
        if current is not None and not current.ended:
            current.ended = True
            if current.on_gone is not None:
                current.on_gone()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._cancel_idle()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not asked; uvicorn does the same, WebSockets apart
        except httptools.HttpParserError:
            self._refuse()

    def eof_received(self) -> bool:
        """A client that half-closes has left, as for uvicorn."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        if self._current is not None and self._current.on_writable is not None:
            self._current.on_writable()

    # httptools
    def on_message_begin(self) -> None:
        """A new request starts."""
        self._url, self._headers, self._body = b"", {}, []

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Invite the body of clients that ask first."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request is there."""
        path = self._url.split(b"?", 1)[0].decode("latin-1")
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, self._headers, b"".join(self._body), self._parser.should_keep_alive())
        if len(self._queue) >= MAX_PIPELINED:
            self._refuse()
            return
        self._queue.append(request)
        if self._current is None:
            self._next()

    # the connection's own
    def write(self, data: bytes) -> None:
        """Write bytes while there is a connection."""
        if self._transport is not None:
            self._transport.write(data)

    def shut(self) -> None:
        """Close after what is buffered."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with RST: linger of zero."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """An answer is under way."""
        return self._current is not None

    def answered(self) -> None:
        """The current answer is complete."""
        self._current = None
        if not self.current_keep_alive or self.server.closing:
            self.shut()
        elif self._queue:
            self.loop.call_soon(self._next)
        else:
            self._wait_idle()

    def _next(self) -> None:
        if self._current is not None or not self._queue or self._transport is None:
            return
        request = self._queue.popleft()
        self.current_keep_alive = request.keep_alive
        self._current = exchange = Exchange(self, bodiless=request.method == "HEAD")
        self.server.handle(request, exchange)

    def _refuse(self) -> None:
        self.current_keep_alive = False
        self.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"connection: close\r\n\r\nInvalid HTTP request received."
        )
        self.shut()

    def _wait_idle(self) -> None:
        self._idle_timer = self.loop.call_later(self.server.keep_alive_seconds, self.shut)

    def _cancel_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
