"""Connections to engines: one request at a time on each, kept for the next while they are surely alive.

An engine closes an idle connection after five seconds, so one that was idle for four is not used again. It
may still close in the moment of reuse: a request that a reused connection lost before a single byte came back
is sent again on a fresh one, without counting as an attempt. TCP keep-alive notices a dead node
under a silent, long answer, because a time-out would cut healthy ones.
"""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from torpor_gateway.files import OUT_OF_FILES, Files
from torpor_gateway.response import BadResponse, Heads, ResponseHead, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_IDLE = 256
_WRITE_HIGH_WATER = 1 << 20


class Receiver(Protocol):
    """Whoever waits for the answer on a connection."""

    def connected(self, connection: "UpstreamConnection") -> None:
        """A fresh connection is there."""

    def not_connected(self, error: str) -> None:
        """There will be none."""

    def no_file(self) -> None:
        """There will be none, and the engine is not to blame: this process has too many open files."""

    def upstream_data(self, connection: "UpstreamConnection", response: ResponseReader) -> None:
        """The response has grown."""

    def upstream_whole(self, connection: "UpstreamConnection", head: ResponseHead, content: bytes) -> None:
        """The response came in one piece, and is no stream."""

    def upstream_lost(self, connection: "UpstreamConnection", error: str) -> None:
        """The connection is gone and the response was not complete."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an engine."""

    __slots__ = (
        "_got_bytes",
        "_keeps",
        "_pool",
        "_response",
        "counted",
        "idle_since",
        "pass_on",
        "paused",
        "receiver",
        "reused",
        "transport",
    )

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._response: ResponseReader | None = None
        self._got_bytes = False
        self._keeps = False  # the answer was whole, and the engine keeps the connection after it
        self.transport: asyncio.Transport | None = None
        self.receiver: Receiver | None = None
        self.pass_on: Callable[[bytes], bool] | None = None  # asked before the response's reader
        self.reused = False
        self.paused = False
        self.idle_since = 0.0
        self.counted = False  # among the open files

    @property
    def virgin(self) -> bool:
        """Whether no byte of the current response has come."""
        return not self._got_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options; uvloop has switched Nagle off already."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, only by behaviour
        self.transport = transport
        transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send one request; its answer goes to `receiver`."""
        assert self.transport is not None
        self.receiver = receiver
        self._response = None
        self._keeps = False
        self._got_bytes = False
        if len(body) < 65536:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def data_received(self, data: bytes) -> None:
        """Read on, and tell the receiver."""
        pass_on = self.pass_on
        if pass_on is not None and pass_on(data):
            return
        receiver, response = self.receiver, self._response
        if receiver is None:
            self.abort()  # an engine that speaks unasked
            return
        self._got_bytes = True
        if response is None:
            known = self._pool.heads.recall(data)
            if known is not None:
                self._keeps = known[0].keep_alive
                receiver.upstream_whole(self, *known)
                return
            response = self._response = ResponseReader(self._pool.heads)
        try:
            response.feed(data)
        except BadResponse as error:
            self._end(f"the engine's answer is not HTTP: {error}")
            return
        receiver.upstream_data(self, response)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, who decides what the end means."""
        self._pool.forget(self)
        self._pool.give_file(self)
        receiver, response = self.receiver, self._response
        if receiver is None:
            return
        if response is not None and response.eof():
            receiver.upstream_data(self, response)
            return
        self._end(f"the engine closed the connection ({exc})" if exc else "the engine closed the connection")

    def _end(self, error: str) -> None:
        receiver = self.receiver
        self.abort()
        if receiver is not None:
            receiver.upstream_lost(self, error)

    def pause(self) -> None:
        """Stop reading: the client is slower than the engine."""
        if not self.paused and self.transport is not None and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.paused and self.transport is not None and not self.transport.is_closing():
            self.paused = False
            self.transport.resume_reading()

    def done(self) -> None:
        """The answer is complete: keep the connection if both sides can."""
        response, transport = self._response, self.transport
        self.receiver = self._response = self.pass_on = None
        if self.paused:
            self.resume()
        keeps = self._keeps
        if response is not None:
            keeps = response.keep_alive
            response.close()
        if not keeps or transport is None or transport.is_closing():
            self.abort()
        elif transport.get_write_buffer_size():
            self.abort()  # it answered before it had read the request
        else:
            self._pool.put(self)

    def abort(self) -> None:
        """Close at once; an engine takes that as the end of the request."""
        self.receiver = self.pass_on = None
        if self.transport is not None:
            self.transport.abort()


class Pool:
    """The connections to one address."""

    __slots__ = (
        "_connect_seconds",
        "_files",
        "_host",
        "_idle",
        "_idle_seconds",
        "_loop",
        "_port",
        "closed",
        "heads",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        idle_seconds: float,
        connect_seconds: float,
        *,
        files: Files | None = None,
    ) -> None:
        self._loop = loop
        self._files = files or Files()
        self._host, self._port = host, port
        self._idle: list[UpstreamConnection] = []
        self._idle_seconds = idle_seconds
        self._connect_seconds = connect_seconds
        self.closed = False
        self.heads = Heads()

    def take(self) -> UpstreamConnection | None:
        """Return a connection that is surely alive, the most recently used first."""
        oldest = self._loop.time() - self._idle_seconds
        while self._idle:
            connection = self._idle.pop()
            if (
                connection.idle_since >= oldest
                and connection.transport
                and not connection.transport.is_closing()
            ):
                connection.reused = True
                return connection
            connection.abort()
        return None

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection."""
        if self.closed or len(self._idle) >= _MAX_IDLE or self._idle_seconds <= 0:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a connection that closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self) -> None:
        """Close what was idle for too long."""
        oldest = self._loop.time() - self._idle_seconds
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).abort()

    def close(self) -> None:
        """Close what is idle and keep nothing from now on."""
        self.closed = True
        self.shrink()

    def shrink(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().abort()

    def give_file(self, connection: UpstreamConnection) -> None:
        """A connection is gone, or was never made."""
        if connection.counted:
            connection.counted = False
            self._files.give()

    def connect(self, receiver: Receiver) -> asyncio.Task[None]:
        """Open a connection for `receiver`. Cancelling the task leaves nothing open."""
        connection = UpstreamConnection(self)
        connection.counted = self._files.take()
        task = self._loop.create_task(self._connect(connection, receiver))
        task.add_done_callback(partial(self._connected, connection))
        return task

    def _connected(self, connection: UpstreamConnection, task: asyncio.Task[None]) -> None:
        if connection.transport is None:  # else it is there, or tells when it is gone
            self.give_file(connection)

    async def _connect(self, connection: UpstreamConnection, receiver: Receiver) -> None:
        if not connection.counted:
            receiver.no_file()
            return
        try:
            async with asyncio.timeout(self._connect_seconds):
                await self._loop.create_connection(lambda: connection, self._host, self._port)
        except TimeoutError:
            receiver.not_connected(f"no connection within {self._connect_seconds:g} s")
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                self._files.refused(self._loop.time())
                receiver.no_file()
            else:
                receiver.not_connected(error.strerror or str(error))
        except asyncio.CancelledError:
            connection.abort()
            raise
        else:
            if connection.transport is None or connection.transport.is_closing():
                receiver.not_connected("the connection was closed as soon as it was made")
            else:
                receiver.connected(connection)
