"""A client's connection: reads requests one after the other, writes answers, notices when the client leaves.

Bytes that a client sends ahead (pipelining) wait their turn, up to a bound; then reading stops. No request is
taken up while the client leaves earlier answers unread, else it could make us write without end. While a
request is being answered, the closing of the client's side ends it. A refused upload is read and thrown away
for a moment, because closing a socket with unread bytes resets it and the client would never see why.

Deadlines are numbers that the server's sweep compares once a second, not timers: they change with every
request.
"""

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from torpor_gateway import answers
from torpor_gateway.answers import Refusal
from torpor_gateway.body import BodyWriter, persistence
from torpor_gateway.request import RequestHead, RequestReader
from torpor_gateway.surface import Shape, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor_gateway.exchange import Exchange
    from torpor_gateway.server import Server

NEVER = float("inf")
_MAX_AHEAD = 64 * 1024
_READ_THROUGH = 256 * 1024  # a refused body that is no larger is read, and the connection kept
_HIGH_WATER, _LOW_WATER = 256 * 1024, 64 * 1024


class ClientConnection(asyncio.Protocol):
    """One connection of a client."""

    __slots__ = (
        "_body",
        "_body_since",
        "_cors",
        "_counted",
        "_early",
        "_judged",
        "_keep",
        "_lingering",
        "_reader",
        "_server",
        "_stalled_since",
        "_started",
        "exchange",
        "settings",
        "transport",
        "wait_until",
    )

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.settings = server.settings
        self._reader = RequestReader(server.settings)
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.wait_until = server.loop.time() + server.settings.header_seconds
        self._body_since: float | None = None
        self._stalled_since: float | None = None
        self._early: Refusal | None = None
        self._judged = self._started = self._lingering = False
        self._keep = True
        self._body = BodyWriter()
        self._cors = b""
        self._counted = 0

    # --- the socket ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options; refuse one connection too many."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, only by behaviour
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER, low=_LOW_WATER)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        refusal = self._server.opened(self)
        if refusal is not None:
            self._keep = False
            self.refuse(refusal, Shape.OPENAI)
            self._linger()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or was sent away."""
        self._server.closed(self)
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.client_gone()
        self._reader = RequestReader(self.settings)  # whatever of a body it held

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._lingering:
            return
        reader = self._reader
        if self.exchange is not None or self._stalled_since is not None:
            reader.ahead += data
            if len(reader.ahead) > _MAX_AHEAD and self.transport is not None:
                self.transport.pause_reading()
            return
        if not self._started and self._server.turns.later(self):
            self._begin()
            reader.ahead += data
            return
        self._receive(data)

    def pause_writing(self) -> None:
        """The client is slower than its engine: stop the engine's side."""
        self._stalled_since = self._server.loop.time()
        if self.exchange is not None and self.exchange.connection is not None:
            self.exchange.connection.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stalled_since = None
        if self.exchange is None:
            self._read_on()
        elif self.exchange.connection is not None:
            self.exchange.connection.resume()

    # --- requests ---

    def _begin(self) -> None:
        self._started = True
        self.wait_until = self._server.loop.time() + self.settings.header_seconds

    def _receive(self, data: bytes) -> None:
        """Take up what came, the short way where it is a whole request whose head is known."""
        reader = self._reader
        if reader.head is None and not reader.ahead:
            known = self._server.heads.recall(data)
            if known is not None and self._take_known(*known):
                return
        self._feed(data)

    def _take_known(self, head: RequestHead, body: bytes) -> bool:
        """Take up a whole request whose head is known; False, and nothing done, if it has to be refused."""
        server = self._server
        try:
            server.admit(head)
        except Refusal:
            return False
        self._reader.took(head)
        self._started = self._judged = True
        self._keep = head.keep_alive and not server.draining
        self._cors = server.cors.lines(head.origin)
        head.request_id = server.next_id()
        self._counted = len(body)
        server.buffered_bytes += self._counted
        self._hand_over(head, body)
        return True

    def _feed(self, data: bytes) -> None:
        reader, server = self._reader, self._server
        if not self._started:
            self._begin()
        try:
            reader.feed(data)
            if reader.head is not None and not self._judged:
                self._judged = True
                self._judge(reader.head)
                if not reader.complete and self._early is None:
                    reader.feed(b"")
        except Refusal as refusal:
            self._refuse_now(refusal)
            return
        server.buffered_bytes += reader.received - self._counted
        self._counted = reader.received
        if server.buffered_bytes > self.settings.max_buffered_bytes and self._counted:
            self._refuse_now(server.out_of_memory)
        elif reader.complete:
            self._complete()

    def _judge(self, head: RequestHead) -> None:
        """Look at the head before the body comes."""
        self._keep = head.keep_alive and not self._server.draining
        named = bool(head.request_id)
        if not named:
            head.request_id = self._server.next_id()
        self._cors = self._server.cors.lines(head.origin)
        reader = self._reader
        try:
            self._server.check(head)
        except Refusal as refusal:
            length = head.content_length
            # Without a length what follows is a body or the next request: who knows.
            if (reader.complete and refusal.status != 411) or (
                length is not None and length <= _READ_THROUGH and not head.expects_continue
            ):
                self._early = refusal
                reader.feed(b"")
                return
            raise
        if not named:
            self._server.learn(reader.raw, head)
        if not reader.complete:
            self._body_since = self._server.loop.time()
            self.wait_until = NEVER
            if head.expects_continue and not reader.ahead and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _complete(self) -> None:
        head = self._reader.head
        assert head is not None
        self._body_since = None
        if self._early is not None:
            self.refuse(self._early, shape_of(head.path))
            self.over(keep=True)
            return
        self._hand_over(head, self._reader.take_body())

    def _hand_over(self, head: RequestHead, body: bytes) -> None:
        self.wait_until = NEVER
        try:
            self._server.handle(self, head, body)
        except Refusal as refusal:
            self.refuse(refusal, shape_of(head.path))
            self.over(keep=True)

    def _refuse_now(self, refusal: Refusal) -> None:
        """Refuse what cannot be read to its end: the connection cannot be used after it."""
        head = self._reader.head
        if head is not None and not head.request_id:  # refused before it was judged
            head.request_id = self._server.next_id()
        self._keep = False
        self.refuse(refusal, shape_of(head.path) if head else Shape.OPENAI)
        self._linger()

    def _linger(self) -> None:
        self._lingering = True
        self.forget_body()
        self._reader = RequestReader(self.settings)
        self._body_since = None
        self.wait_until = self._server.loop.time() + self.settings.linger_seconds
        if self.transport is not None and self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def misdirected(self, refusal: Refusal) -> None:
        """Refuse a client that speaks something else than this port does."""
        self._refuse_now(refusal)

    def forget_body(self) -> None:
        """Give the bytes of the request's body back to the process's account."""
        self._server.buffered_bytes -= self._counted
        self._counted = 0

    # --- answers ---

    def begin(self, head: bytes, length: int | None) -> None:
        """Begin a response: `head` without its framing; `length` None where it is not known."""
        keep = self._keep and not self._server.draining
        self._keep = self._body.begin(head + self._cors, length, self._reader.head, keep=keep)

    def respond(self, head: bytes, content: bytes) -> None:
        """Write a whole response; `head` is without its framing."""
        lines = self._last_lines()
        if self.transport is not None:
            self.transport.write(b"%bContent-Length: %d\r\n%b\r\n%b" % (head, len(content), lines, content))

    def write_body(self, data: bytes) -> None:
        """Write a part of the body, framed."""
        if self.transport is not None and data:
            self.transport.write(self._body.part(data))

    def chunk_writer(self) -> "Callable[[bytes], None] | None":
        """Return what writes chunks that are framed already; None where the client gets none, or not yet."""
        return self.transport.write if self.transport and self._body.chunks and self._body.begun else None

    def end(self, *, keep: bool) -> None:
        """The body is complete."""
        last = self._body.end()
        if self.transport is not None and last:
            self.transport.write(last)
        self.over(keep=keep)

    def cut(self) -> None:
        """Close without a proper end, so that nobody takes what came for all of it."""
        self._body.forget()
        self.exchange = None
        self._keep = False
        self.close()

    def refuse(self, refusal: Refusal, shape: Shape) -> None:
        """Write a whole error response."""
        head = self._reader.head
        self._server.refused(refusal)
        text = answers.refuse(
            refusal,
            shape,
            close=False,
            request_id=head.request_id if head else b"",
            head_only=self._head_only,
            extra=self._last_lines(),
        )
        self._write_own(text, refusal.status, refusal.code)

    def answer(self, status: int, content: bytes, kind: bytes = b"application/json") -> None:
        """Write a whole response of our own and go on."""
        extra, only = self._last_lines(), self._head_only
        text = answers.whole(status, content, kind=kind, extra=extra, close=False, head_only=only)
        self._write_own(text, status)
        self.over(keep=True)

    def no_content(self, extra: bytes) -> None:
        """Write a response of our own that has no body, with these header lines, and go on."""
        self._write_own(answers.no_content(extra + self._last_lines()), 204)
        self.over(keep=True)

    @property
    def _head_only(self) -> bool:
        head = self._reader.head
        return head is not None and head.method == "HEAD"

    def _last_lines(self) -> bytes:
        """Decide whether the connection is kept; return the lines that every answer of ours ends with."""
        self._keep = self._keep and not self._server.draining
        return self._cors + persistence(self._reader.head, keep=self._keep)

    def _write_own(self, text: bytes, status: int, code: str = "") -> None:
        """Write a whole response of our own."""
        if self._server.recorder is not None and self.exchange is None:
            self._server.recorder.local(self.transport, self._reader.head, status, code)
        if self.transport is not None:
            self.transport.write(text)

    def over(self, *, keep: bool) -> None:
        """The exchange has ended: make ready for the next, or close."""
        self.exchange = None
        if self._counted:
            self.forget_body()
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if not (keep and self._keep):
            self.close()
            return
        reader = self._reader
        reader.next()
        self._judged = self._started = False
        self._early = None
        self._cors = b""
        self.wait_until = self._server.loop.time() + self.settings.idle_seconds
        if reader.ahead:
            self._read_on()

    def _read_on(self) -> None:
        """Take up what the client sent ahead."""
        transport = self.transport
        if transport is not None and self._reader.ahead and not transport.is_closing():
            transport.resume_reading()
            self._server.loop.call_soon(self.take_up)

    def take_up(self) -> None:
        """Go on with what came ahead of its time, or in a turn that had enough of requests."""
        if (
            self.exchange is None
            and not self._lingering
            and not self.stalled
            and self._reader.ahead
            and self.transport is not None
            and not self.transport.is_closing()
        ):
            data, self._reader.ahead = self._reader.ahead, b""
            self._receive(data)

    def close(self) -> None:
        """Close once the client has taken what was written; if it does not, the sweep cuts it off."""
        if self.transport is not None and not self.transport.is_closing():
            self.wait_until = self._server.loop.time() + self.settings.slow_reader_seconds
            self.transport.close()

    @property
    def stalled(self) -> bool:
        """Whether the client takes less than it is sent."""
        return self._stalled_since is not None

    # --- the sweep ---

    def sweep(self, now: float) -> None:
        """Close what is past its time. Called about once a second."""
        transport = self.transport
        if transport is None:
            return
        if self._stalled_since is not None and now - self._stalled_since > self.settings.slow_reader_seconds:
            transport.abort()
        elif self._body_since is not None:
            passed = now - self._body_since
            slow = self._reader.received < passed * self.settings.min_body_bytes_per_second
            if passed > self.settings.body_grace_seconds and slow:
                self._refuse_now(Refusal(408, "body_too_slow", "the request's body comes too slowly"))
        elif now >= self.wait_until:
            if self._lingering or transport.is_closing():
                transport.abort()
            elif self._started and self._reader.ahead:
                self._refuse_now(Refusal(408, "header_too_slow", "the request's head did not come in time"))
            else:
                self.close()

    @property
    def idle(self) -> bool:
        """Whether nothing is going on here."""
        return self.exchange is None and not self._started

    def close_idle(self) -> None:
        """Close if no request is under way."""
        if self.idle:
            self.close()
