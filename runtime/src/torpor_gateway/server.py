"""The data port: takes requests from connections, finds their fleet, answers what the gateway itself knows.

Everything that can be judged by the head is judged there: a path that does not exist, a method it does not
have. The fleet is the one of the Host header where that names one, else the owner of the body's `model`.
"""

import asyncio
import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import orjson

from torpor_gateway import surface
from torpor_gateway.affinity import Affinity
from torpor_gateway.answers import Refusal
from torpor_gateway.bounds import UNBOUNDED, bounded, time_limit
from torpor_gateway.certificate import Certificate
from torpor_gateway.client import ClientConnection
from torpor_gateway.cors import Cors
from torpor_gateway.exchange import Exchange
from torpor_gateway.fleet import Fleet
from torpor_gateway.gate import UNMEASURED_ANSWER, Gate, unknown_model
from torpor_gateway.heads import KnownHeads
from torpor_gateway.later import soon
from torpor_gateway.peek import look
from torpor_gateway.registry import Registry
from torpor_gateway.request import RequestHead
from torpor_gateway.settings import Settings
from torpor_gateway.tls import TlsConnection
from torpor_gateway.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor_gateway.trail import Recorder

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0  # how exactly deadlines of connections are kept


class Server:
    """The gateway's data plane in one process."""

    def __init__(self, settings: Settings, registry: Registry, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.registry = registry
        self.loop = loop
        self.gate = Gate(loop.time)
        self.turns = Turns(loop)
        self.draining = False
        self.cors = Cors(settings.cors_origins)
        self.heads = KnownHeads(settings.max_body_bytes)
        self.connections: set[ClientConnection] = set()
        self.buffered_bytes = 0
        self.refusals: Counter[tuple[int, str]] = Counter()
        self.recorder: Recorder | None = None  # for the access log and for traces
        self.certificate: Certificate | None = None  # of the port that speaks TLS
        self._listeners: list[asyncio.Server] = []
        self._id_prefix = secrets.token_hex(6).encode()
        self._id = 0
        self._affinity = Affinity(settings.session_header)
        self._sweeper: asyncio.TimerHandle | None = None
        self._crowded = False  # since the last sweep

    async def listen(self, host: str, port: int, *, shared: bool = False) -> int:
        """Accept connections; return the port. `shared` with other processes. Raises OSError."""
        return await self._listen(lambda: ClientConnection(self), host, port, shared=shared)

    async def listen_tls(
        self, host: str, port: int, certificate: Certificate, *, shared: bool = False
    ) -> int:
        """Accept connections that speak TLS, with the pair that `certificate` holds when they begin."""
        self.certificate = certificate
        return await self._listen(
            lambda: TlsConnection(self, certificate.pair.context), host, port, shared=shared
        )

    async def _listen(
        self, connection: "Callable[[], asyncio.Protocol]", host: str, port: int, *, shared: bool
    ) -> int:
        listener = await self.loop.create_server(
            connection, host, port, backlog=2048, reuse_port=shared or None
        )
        self._listeners.append(listener)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        return int(cast("Any", listener).sockets[0].getsockname()[1])  # uvloop's is a list

    def stop_accepting(self) -> None:
        """Refuse new connections; those that are open go on."""
        for listener in self._listeners:
            listener.close()

    def close_idle(self) -> None:
        """Close the connections on which no request is under way."""
        for connection in list(self.connections):
            connection.close_idle()

    def not_ready(self) -> str | None:
        """Return why no new traffic should come here; None when it may."""
        if self.draining:
            return "draining"
        return None if self.registry.complete else "the fleets have not been listed yet"

    def dismiss(self, refusal: Refusal) -> None:
        """Refuse whatever waits, and end with an event whatever streams."""
        for connection in list(self.connections):
            exchange = connection.exchange
            if exchange is None:
                continue
            if exchange.data_sent:
                exchange.break_off(refusal.message, "gateway")
            else:
                exchange.fleet.leave(exchange)
                exchange.refuse(refusal)

    def abort(self) -> None:
        """Cut off everything."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.stop_accepting()
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()

    @property
    def busy(self) -> int:
        """Requests under way."""
        return sum(connection.exchange is not None for connection in self.connections)

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self.loop.time()
        for connection in list(self.connections):
            connection.sweep(now)
        if self._crowded:
            self._make_room(now)
        shortages = self.registry.files.shortages
        self.registry.sweep()
        if (more := self.registry.files.shortages - shortages) > 0:
            self.refusals[0, "no_file_left"] += more

    def _make_room(self, now: float) -> None:
        """Close connections that were kept for a next request for a second or more, while others are refused.

        Not those on which nothing was asked yet: they are closed after `header_seconds` anyway.
        """
        self._crowded = False
        settings = self.settings
        idle = [
            connection
            for connection in self.connections
            if connection.idle
            and settings.header_seconds < connection.wait_until - now < settings.idle_seconds - 1
        ]
        idle.sort(key=lambda connection: connection.wait_until)
        for connection in idle[: max(1, self.registry.files.reserve)]:
            connection.close_idle()

    # --- for connections ---

    def opened(self, connection: ClientConnection) -> Refusal | None:
        """Register a connection; return why it is one too many, if it is."""
        self.connections.add(connection)
        files, most = self.registry.files, self.settings.max_connections
        files.clients += 1
        if files.crowded:
            return self._out_of_files(connection)
        if len(self.connections) > most:
            message = f"the gateway has {most} connections, its limit"
            return Refusal(503, "too_many_connections", message, retry_after=soon(2.0))
        return None

    def _out_of_files(self, connection: ClientConnection) -> Refusal | None:
        """Tell a client that there is no file for it, or cut it off where many are being told."""
        files = self.registry.files
        files.say(self.loop.time())
        self._crowded = True
        if files.overrun and connection.transport is not None:
            self.refusals[0, "out_of_files"] += 1
            connection.transport.abort()
            return None
        message = "the gateway has as many open files as it may, and each connection is one"
        return Refusal(503, "out_of_files", message, retry_after=soon(2.0))

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        connection.forget_body()
        self.connections.discard(connection)
        self.registry.files.client_closed()

    def refused(self, refusal: Refusal) -> None:
        """Count an error of ours."""
        self.refusals[refusal.status, refusal.code] += 1

    @property
    def out_of_memory(self) -> Refusal:
        """The answer to a body for which there is no room."""
        limit = self.settings.max_buffered_bytes
        return Refusal(
            503, "out_of_memory", f"the gateway keeps {limit} bytes of requests", retry_after=soon(5)
        )

    def next_id(self) -> bytes:
        """Make up a request id: unique to this process and the request, not a secret."""
        self._id += 1
        return b"%b-%x" % (self._id_prefix, self._id)

    def check(self, head: RequestHead) -> None:
        """Judge a request by its head. Raises Refusal."""
        method = surface.allowed_method(head.path)
        if head.method == "OPTIONS" and (method or head.path == "/"):
            return
        if method is None:
            raise Refusal(404, "not_found", f"there is no {_printable(head.path)} here")
        if head.method != method and not (head.method == "HEAD" and method == "GET"):
            message = f"{head.path}: use {method}"
            raise Refusal(405, "method_not_allowed", message, allow=surface.allow(method))
        if method == "POST" and head.content_length is None and not head.chunked:
            raise Refusal(411, "length_required", "the body needs a Content-Length, or to be chunked")
        self.admit(head)

    def learn(self, raw: bytes, head: RequestHead) -> None:
        """Remember a head that was checked."""
        self._affinity.session(head)
        self.heads.learn(raw, head)

    def admit(self, head: RequestHead) -> None:
        """Judge what may be otherwise for the next request with the same head. Raises Refusal."""
        if self.buffered_bytes + (head.content_length or 0) > self.settings.max_buffered_bytes:
            raise self.out_of_memory
        if not self.gate.open and head.path not in surface.PROBES:
            head.key = self.gate.identify(head)

    def handle(self, client: ClientConnection, head: RequestHead, body: bytes) -> None:
        """Answer a complete request, or start its exchange. Raises Refusal."""
        operation = surface.OPERATIONS.get(head.path)
        if head.method == "OPTIONS":
            self._options(client, head)
            return
        if operation is None:
            self._local(client, head)
            return
        model, stream, asked = look(body, operation.body, head.content_type, head.content_encoding)
        fleet = self._fleet(head, model)
        stream = stream and bool(operation.ends)  # where nothing streams the word means nothing to the engine
        bounds, key = fleet.spec.policy.bounds, fleet.spec.key
        if bounds is not UNBOUNDED:
            body = bounded(body, head.path, bounds, key)
        exchange = Exchange(client, fleet, operation, head, body, stream=stream)
        if bounds is not UNBOUNDED:
            exchange.time_limit = time_limit(head.forward, bounds, key)
        if head.key is not None:
            exchange.lane = head.key.lane
            exchange.lease = self.gate.admit(head.key, _expected_tokens(exchange))
        if fleet.by_prefix:
            exchange.identity = self._affinity.of(head, asked, fleet.spec.models[0])
        if self.recorder is not None:
            exchange.trail = self.recorder.begin(exchange)
        client.exchange = exchange
        fleet.arrive(exchange)

    def _fleet(self, head: RequestHead, model: str | None) -> Fleet:
        """Find the request's fleet. To a key that may not use every model, all others do not exist."""
        key = head.key
        if key is None or key.key.models is None:
            return self.registry.resolve(head.host, model)
        try:
            fleet = self.registry.resolve(head.host, model)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
            raise unknown_model() from None
        if not key.key.may_use(self.registry.names(fleet)):
            self.gate.refused(key, "model")
            raise unknown_model()
        return fleet

    # --- what the gateway answers itself ---

    def _options(self, client: ClientConnection, head: RequestHead) -> None:
        method = surface.allowed_method(head.path)
        methods = surface.allow(method) if method else "GET, HEAD, POST, OPTIONS"
        lines = b"Allow: %b\r\n" % methods.encode()
        client.no_content(lines + self.cors.preflight(head.origin, methods, head.requested_headers))

    def _local(self, client: ClientConnection, head: RequestHead) -> None:
        if head.path == "/healthz":
            client.answer(200, b"ok\n", b"text/plain")
        elif head.path == "/readyz":
            reason = self.not_ready()
            client.answer(503 if reason else 200, (reason or "ok").encode() + b"\n", b"text/plain")
        else:
            client.answer(200, self._models(head))

    def _models(self, head: RequestHead) -> bytes:
        models = [
            {"id": name, "object": "model", "created": created, "owned_by": "torpor"}
            for name, created in self.registry.models(head.host, head.key.key if head.key else None)
        ]
        if head.path == surface.MODELS:
            return orjson.dumps({"object": "list", "data": models})
        wanted = unquote(head.path.removeprefix(surface.MODELS + "/"))
        for model in models:
            if model["id"] == wanted:
                return orjson.dumps(model)
        if head.key is not None and head.key.key.models is not None:
            raise unknown_model()
        raise Refusal(404, "model_not_found", f"the model {_printable(wanted)} does not exist", param="model")


def _expected_tokens(exchange: Exchange) -> int:
    """Estimate what a request will cost: its prompt by its bytes, and the fleet's mean answer."""
    if not exchange.operation.works:
        return 0
    fleet = exchange.fleet
    answer = fleet.output_tokens // fleet.completed if fleet.completed else UNMEASURED_ANSWER
    return fleet.ratios.prompt(exchange.work_size) + answer


def _printable(text: str) -> str:
    return "`" + "".join(char if char.isprintable() else "?" for char in text[:128]) + "`"
