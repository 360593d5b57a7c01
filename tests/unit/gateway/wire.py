"""The gateway's data plane without sockets: its real protocols, on a loop whose clock the test turns.

A connection of a client, the whole of what the server does with it, and an engine that counts. The engine
reads what the gateway sends it by the letter and keeps a complaint about every byte that it did not expect.
Deadlines pass in no time, so that the end of each connection can be waited for.
"""

import asyncio
import heapq
import itertools
import re
from collections.abc import Callable
from typing import Any

from torpor.api.names import FleetKey
from torpor_gateway.client import ClientConnection
from torpor_gateway.endpoint import Endpoint
from torpor_gateway.policy import FleetSpec
from torpor_gateway.registry import Registry
from torpor_gateway.request import RequestHead
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings
from torpor_gateway.upstream import Pool, UpstreamConnection

TOKEN = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
_HEAD = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#-'*+.^-z|~0-9A-Z-]+: ?[\t -~\x80-\xff]*\r\n)+)\r\n")


class Handle:
    """What `call_soon` and `call_later` return."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Calls in order, when `run` and `turn` say so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._soon: list[Handle] = []
        self._later: list[tuple[float, int, Handle]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, call: Callable[..., object], *arguments: object) -> Handle:
        self._soon.append(Handle(lambda: call(*arguments)))
        return self._soon[-1]

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: object) -> Handle:
        handle = Handle(lambda: call(*arguments))
        heapq.heappush(self._later, (self.now + seconds, next(self._numbers), handle))
        return handle

    def run(self) -> None:
        """Run until nothing is left for now."""
        while self._soon:
            calls, self._soon = self._soon, []
            for handle in calls:
                if handle.call is not None:
                    handle.call()

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.run()
        while self._later and self._later[0][0] <= self.now:
            handle = heapq.heappop(self._later)[2]
            if handle.call is not None:
                handle.call()
            self.run()


class Wire(asyncio.Transport):
    """One direction of a connection: what the protocol writes goes to `sink`."""

    def __init__(self, loop: Loop, protocol: Any, sink: Callable[[bytes], object]) -> None:
        super().__init__()
        self._loop, self._protocol, self._sink = loop, protocol, sink
        self._waiting: list[bytes] = []
        self.closing = self.lost = self.paused = self.ended = False
        protocol.connection_made(self)

    def deliver(self, data: bytes) -> None:
        """The other side sent something."""
        if self.paused:
            self._waiting.append(data)
        elif not self.closing:
            self._protocol.data_received(data)

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end was announced"
        if not self.closing:
            self._sink(bytes(data))

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        self.lost = True
        self._protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._loop.call_soon(self.deliver, data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class CountingEngine(Pool):
    """A pool and the engine behind it. `requests` are (target, body) in the order in which they came."""

    __slots__ = ("_memory", "complaints", "connections", "requests")

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop, "engine", 80, 4.0, 5.0)  # type: ignore[arg-type]
        self._memory = loop
        self.requests: list[tuple[bytes, bytes]] = []
        self.complaints: list[bytes] = []
        self.connections: list[Wire] = []

    def connect(self, receiver: Any) -> Any:
        return self._memory.call_soon(self._connected, receiver)

    def _connected(self, receiver: Any) -> None:
        connection, unread = UpstreamConnection(self), bytearray()
        wire = Wire(self._memory, connection, lambda data: self._read(wire, unread, data))
        self.connections.append(wire)
        receiver.connected(connection)

    def _read(self, wire: Wire, unread: bytearray, data: bytes) -> None:
        unread += data
        head = _HEAD.match(unread)
        if head is None:
            if b"\r\n\r\n" in unread:
                self.complaints.append(bytes(unread))
            return
        lines = [line.partition(b":") for line in head[2].lower().splitlines()]
        names = [name for name, _, _ in lines]
        lengths = [value.strip() for name, _, value in lines if name == b"content-length"]
        if len(lengths) != 1 or b"transfer-encoding" in names or names.count(b"host") != 1:
            self.complaints.append(head[0])
            return
        end = head.end() + int(lengths[0])
        if len(unread) < end:
            return
        body = bytes(unread[head.end() : end])
        self.requests.append((bytes(head[1]), body))
        if len(unread) > end:
            self.complaints.append(bytes(unread[end:]))
        unread.clear()
        for part in self._answer(body):
            self._memory.call_soon(wire.deliver, part)

    def _answer(self, body: bytes) -> list[bytes]:
        if b'"stream": true' in body:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            parts = [b"%x\r\n%b\r\n" % (len(part), part) for part in (TOKEN, TOKEN, b"data: [DONE]\n\n")]
            return [head, *parts, b"0\r\n\r\n"]
        text = b'{"n": %d}' % len(self.requests)
        return [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text), text]


class WatchedServer(Server):
    """Keeps the methods of the requests whose heads were accepted as HTTP."""

    def __init__(self, settings: Settings, registry: Registry, loop: Any) -> None:
        super().__init__(settings, registry, loop)
        self.methods: list[str] = []

    def check(self, head: RequestHead) -> None:
        self.methods.append(head.method)
        super().check(head)


class World:
    """A gateway with one awake fleet, `llm`, and one client."""

    def __init__(self, **settings: Any) -> None:
        self.loop = Loop()
        registry = Registry(Settings(**settings), self.loop)  # type: ignore[arg-type]
        registry.complete = True
        self.server = WatchedServer(registry.settings, registry, self.loop)
        self.fleet = registry.put(FleetSpec(FleetKey("static", "llm"), "llm", ("llm",)), managed=False)
        self.engine = CountingEngine(self.loop)
        registry.set_endpoints(self.fleet, [Endpoint("engine", 80, self.engine, self.fleet.ratios)])
        self.said = bytearray()
        self.client = ClientConnection(self.server)
        self.wire = Wire(self.loop, self.client, self.said.extend)

    def send(self, *pieces: bytes, together: bool = False) -> None:
        """Have the client send; `together`: faster than anything is answered."""
        for piece in pieces:
            self.wire.deliver(piece)
            if not together:
                self.loop.run()
        self.loop.run()

    def until_closed(self, seconds: int = 200) -> bool:
        """Let time pass until the connection is gone; False if it is still there."""
        for _ in range(seconds):
            if self.wire.lost:
                return True
            self.loop.turn(1.0)
            for connection in list(self.server.connections):
                connection.sweep(self.loop.now)
            self.loop.run()
        return self.wire.lost

    def leftovers(self) -> list[object]:
        """Return everything that should be nothing once the client is gone."""
        fleet = self.fleet
        load = [endpoint.load_state.in_flight for endpoint in fleet.endpoints.values()]
        open_ones = [wire for wire in self.engine.connections if not wire.closing]
        counts = [self.server.buffered_bytes, len(self.server.connections), fleet.in_flight, len(fleet.line)]
        return [*counts, *load, max(0, len(open_ones) - len(self.engine._idle)), *self.engine.complaints]
